# SPDX-License-Identifier: Apache-2.0
"""Shrink: a network on which hardware and model differ, made as small as it gets while they still do.

Every round runs the networks that are one step smaller, the smallest first, some of them one after the other in the
engine, and goes on with the smallest that fails: fewer images, layers, sources, channels, pixels, weights; no pool,
stall, slices.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..hw.config import EngineConfig
from ..model.cost.external import ExternalMemory
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import map_network
from ..model.network import golden
from ..model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from .episode import Episode

ROUNDS = 60
TOGETHER = 20  # networks of a run, one over the other
FEW = 4  # of the first run of a round, where the first step often will do


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A network, its images and how they are run."""

    net: SpikeNet
    codes: np.ndarray
    config: EngineConfig
    slices: int = 1
    stall: tuple[float, float] = (0.0, 0.0)
    seed: int = 1
    serial: bool = True
    memory: ExternalMemory = field(default_factory=ExternalMemory)

    @property
    def size(self) -> float:
        """What is made small: integers, and a little for all that makes a network harder to look at."""
        arrays = [self.codes, *(array for layer in self.net.layers for array in (layer.bias, layer.shift))]
        arrays += [source.weights for layer in self.net.layers for source in layer.sources]
        odd = [self.slices > 1, *self.stall, not self.serial, self.memory != ExternalMemory()]
        odd += [layer.pool is not None for layer in self.net.layers]
        values = sum(min(1.0, abs(int(value)) / 256) for array in arrays for value in array.reshape(-1).tolist())
        return sum(array.size for array in arrays) + values + sum(map(bool, odd))

    def episode(self) -> Episode:
        """OneSpikeError where the engine cannot run it."""
        mapping = map_network(self.net, self.config, slices=self.slices)
        return Episode(mapping=mapping, codes=self.codes, through_load=True, stall=self.stall, seed=self.seed,
                       serial=self.serial, memory=self.memory)  # fmt: skip


def shrink(case: Case, problems: Callable[[list[Episode]], list[str]], rounds: int = ROUNDS) -> Case:
    """The smallest case found in so many rounds; problems: of episodes, how hardware and model differ, or ""."""
    for _ in range(rounds):
        left = sorted((each for each in steps(case) if each.size < case.size), key=lambda each: each.size)
        some = FEW
        while left:
            tried = list(_runnable(left[:some]))
            left, some = left[some:], TOGETHER
            found = problems([episode for _, episode in tried])
            failing = [each for (each, _), problem in zip(tried, found, strict=True) if problem]
            if failing:
                case = failing[0]
                break
        else:
            return case
    return case


def _runnable(cases: list[Case]) -> Iterator[tuple[Case, Episode]]:
    for case in cases:
        try:
            yield case, case.episode()
        except OneSpikeError:
            continue


def steps(case: Case) -> Iterator[Case]:
    """Cases that are one step smaller; a step that leaves no network is left out."""
    for index in range(len(case.codes)) if len(case.codes) > 1 else ():
        yield dataclasses.replace(case, codes=case.codes[index : index + 1])
    for change in ({"slices": 1}, {"stall": (0.0, 0.0)}, {"serial": True}, {"memory": ExternalMemory()}):
        yield dataclasses.replace(case, **change)  # type: ignore[arg-type]
    for make in _changes(case):
        try:
            made = make()
        except (OneSpikeError, ValueError):
            continue
        yield made if isinstance(made, Case) else dataclasses.replace(case, net=made)


def _changes(case: Case) -> Iterator[Callable[[], SpikeNet | Case]]:
    net = case.net

    def changed(index: int, **changes: object) -> Callable[[], SpikeNet]:
        return lambda: _rebuilt(net, _with(net, index, **changes))

    for index, layer in enumerate(net.layers):
        if layer.fires:
            yield partial(_ended_at, net, index)
            yield partial(_begun_at, case, index)
            yield changed(index, pool=None)
            yield changed(index, low=0, levels=None)
        yield partial(_halved, net, index, slice(None, layer.channels // 2))
        yield partial(_halved, net, index, slice(layer.channels // 2, None))
        yield changed(index, bias=np.zeros_like(layer.bias))
        yield changed(index, shift=np.full_like(layer.shift, layer.shift.max()))
        for place, source in enumerate(layer.sources):
            before, after = layer.sources[:place], layer.sources[place + 1 :]
            if before or after:
                yield changed(index, sources=(*before, *after))
            for fewer in _weights(source):
                yield changed(index, sources=(*before, fewer, *after))
    channels, height, width = net.image.shape
    halves = (channels // 2, height, width), (channels, -(-height // 2), width), (channels, height, -(-width // 2))
    for shape in halves:
        if shape != net.image.shape:
            yield partial(_cropped, case, shape)


def _with(net: SpikeNet, index: int, **changes: object) -> list[Layer]:
    layers = list(net.layers)
    layers[index] = dataclasses.replace(layers[index], **changes)  # type: ignore[arg-type]
    return layers


def _ended_at(net: SpikeNet, index: int) -> SpikeNet:
    """The network up to a layer, which then does not fire."""
    layer = net.layers[index]
    last = dataclasses.replace(layer, shift=np.zeros_like(layer.shift), groups=0, pool=None, low=0, levels=None)
    return _rebuilt(net, [*net.layers[:index], last])


def _weights(source: Source) -> Iterator[Source]:
    """The source with simpler weights, or a simpler geometry."""
    weights = source.weights
    for axis in range(4):
        if (size := weights.shape[axis]) > 1:
            for part in (slice(None, size // 2), slice(size // 2, None)):
                kept = np.zeros_like(weights)
                at = (slice(None),) * axis + (part,)
                kept[at] = weights[at]
                if (kept != weights).any():
                    yield dataclasses.replace(source, weights=kept)
    if np.abs(weights.astype(int)).max() > 1:
        yield dataclasses.replace(source, weights=np.sign(weights))
    for kernel in ((1, weights.shape[3]), (weights.shape[2], 1)):
        if weights.shape[2:] != kernel:
            yield dataclasses.replace(source, weights=weights[:, :, : kernel[0], : kernel[1]])
    for change in ({"stride": (1, 1)}, {"dilation": (1, 1)}, {"padding": (0, 0, 0, 0)}, {"shift": 0}):
        yield dataclasses.replace(source, **change)  # type: ignore[arg-type]


def _halved(net: SpikeNet, index: int, part: slice) -> SpikeNet:
    """Some of the channels that a layer gives; not where sources are in groups."""
    layer = net.layers[index]
    kept = np.arange(layer.channels)[part]
    if not 0 < len(kept) < layer.channels:
        raise OneSpikeError("nothing to halve")
    sources = tuple(_outputs(source, kept) for source in layer.sources)
    layers = _with(net, index, sources=sources, bias=layer.bias[kept], shift=layer.shift[kept])
    for at, reader in enumerate(layers):
        if any(source.tensor == layer.name for source in reader.sources):
            read = tuple(_inputs(s, kept) if s.tensor == layer.name else s for s in reader.sources)
            layers[at] = dataclasses.replace(reader, sources=read)
    return _rebuilt(net, layers)


def _outputs(source: Source, kept: np.ndarray) -> Source:
    if source.groups > 1:
        raise OneSpikeError("in groups")
    return dataclasses.replace(source, weights=source.weights[kept])


def _inputs(source: Source, kept: np.ndarray) -> Source:
    if source.groups > 1:
        raise OneSpikeError("in groups")
    return dataclasses.replace(source, weights=source.weights[:, kept])


def _cropped(case: Case, shape: tuple[int, int, int]) -> Case:
    """The network on the first pixels of its image."""
    net, (channels, height, width) = case.net, shape
    image = dataclasses.replace(net.image, shape=shape, **{
        name: getattr(net.image, name)[:channels] for name in ("scale", "offset", "pad_code")
    })  # fmt: skip
    layers = [
        dataclasses.replace(layer, sources=tuple(
            _inputs(s, np.arange(channels)) if s.tensor == INPUT and channels < net.image.shape[0] else s
            for s in layer.sources
        ))
        for layer in net.layers
    ]  # fmt: skip
    return dataclasses.replace(case, net=_rebuilt(net, layers, image), codes=case.codes[:, :channels, :height, :width])


def _begun_at(case: Case, index: int) -> Case:
    """The network behind a layer, on images that hold what this one gives."""
    net, layer = case.net, case.net.layers[index]
    low, top = net.ranges[layer.name]
    rest = [dataclasses.replace(after, sources=tuple(
        dataclasses.replace(s, tensor=INPUT) if s.tensor == layer.name else s for s in after.sources
    )) for after in net.layers[index + 1 :]]  # fmt: skip
    if low < 0 or top > 255:
        raise OneSpikeError("no pixels")
    shape = net.shapes[layer.name]
    bits = max(1, top.bit_length())
    image = Image(shape=shape, bits=bits, pad_code=(0,) * shape[0])
    codes = golden.run(net, case.codes, layers=True).codes[layer.name]
    return dataclasses.replace(case, net=_rebuilt(net, rest, image), codes=codes.astype(np.uint8))


def _rebuilt(net: SpikeNet, layers: list[Layer], image: Image | None = None) -> SpikeNet:
    """A network of these layers without those that nobody reads; kernels as large as a map stay so."""
    image = image or net.image
    for _ in layers:
        read = {source.tensor for layer in layers for source in layer.sources}
        layers = [layer for layer in layers if layer.name in read or not layer.fires]
    shapes = {INPUT: image.shape}
    made = []
    for layer in layers:
        sources = []
        for source in layer.sources:
            before = net.shapes.get(source.tensor, (0, 0, 0))[1:]
            size = shapes[source.tensor][1:] if source.tensor in shapes else before
            if source.weights.shape[2:] == before != size and math.prod(before) > 1:
                source = dataclasses.replace(source, weights=_resized(source.weights, size))
            sources.append(source)
        layer = dataclasses.replace(layer, sources=tuple(sources))
        made.append(layer)
        if layer.sources[0].tensor in shapes:
            size = layer.sources[0].output_shape(*shapes[layer.sources[0].tensor][1:])
            size = layer.pool.output_shape(*size) if layer.pool is not None else size
            shapes[layer.name] = (layer.channels, *size)
    return SpikeNet(image=image, layers=tuple(made), weight_bits=net.weight_bits)


def _resized(weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    found = np.zeros((*weights.shape[:2], *size), weights.dtype)
    rows, columns = (min(a, b) for a, b in zip(size, weights.shape[2:], strict=True))
    found[:, :, :rows, :columns] = weights[:, :, :rows, :columns]
    return found
