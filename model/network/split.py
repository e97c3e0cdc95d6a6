# SPDX-License-Identifier: Apache-2.0
"""Split: a network as a row of networks, one for each board, that together compute the same integers.

Every part but the last ends in the sums of its last layer; whoever stands between two boards fires them (`fire`) and
gives the values to the next part as the codes of its image. What layers behind the cut read besides, such as a
shortcut, goes through as more channels: the part's last layer copies it. So every part is a network like any other.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import golden
from .image import MAX_BITS, Image
from .source import Source
from .spec import INPUT, Layer, SpikeNet


@dataclass(frozen=True, kw_only=True)
class Handed:
    """A tensor that crosses a cut: its channels in the next part's image begin at `first`; a code is its value less
    `low`; pad: the value that padding holds, by channel."""

    name: str
    first: int
    channels: int
    low: int
    top: int
    pad: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Layers [begin, end) of a network as a network of its own; handed: the tensors of its image, none in the first
    part; cut: the last layer as it fires, None in the last part; passed: what the cut hands on."""

    net: SpikeNet
    begin: int
    end: int
    handed: tuple[Handed, ...]
    cut: Layer | None
    passed: tuple[Handed, ...]

    def hand_over(self, logits: np.ndarray) -> np.ndarray:
        """The next part's image codes [N, C, H, W] from this one's logits [N, C * H * W]."""
        assert self.cut is not None
        maps = logits.reshape(len(logits), *self.net.output)
        values = {self.cut.name: fire(self.cut, maps[:, : self.cut.channels])}
        at = self.cut.channels
        for tensor in self.passed:
            if tensor.name != self.cut.name:
                values[tensor.name] = maps[:, at : at + tensor.channels]
                at += tensor.channels
        return np.concatenate([values[tensor.name] - tensor.low for tensor in self.passed], 1)


def fire(layer: Layer, sums: np.ndarray) -> np.ndarray:
    """Values int64 [N, C, H', W'] of a firing layer from its sums [N, C, H, W], pooled."""
    values = sums.astype(np.int64) >> layer.shift.astype(np.int64)[None, :, None, None]
    levels = layer.levels
    values = np.clip(values, layer.low, layer.groups) if levels is None else levels(values).astype(np.int64)
    if layer.pool is not None:
        values = golden.pool(values.transpose(0, 2, 3, 1), layer.pool).transpose(0, 3, 1, 2)
    return values


def live(net: SpikeNet, cut: int) -> list[str]:
    """Tensors that layers from number `cut` on read and earlier ones (or the image) make, in the order of making."""
    read = {source.tensor for layer in net.layers[cut:] for source in layer.sources}
    return [name for name in (INPUT, *(layer.name for layer in net.layers[:cut])) if name in read]


def cannot_cut(net: SpikeNet, cut: int) -> str:
    """Why the network cannot be cut in front of layer number `cut`, or ""."""
    last, names = net.layers[cut - 1], live(net, cut)
    for layer in net.layers[cut:]:
        for source in layer.sources:
            if source.tensor in names and source.up != (1, 1):
                return f"layer {layer.name!r} makes a larger map of {source.tensor!r}, which no image can be"
    place = net.conv_shapes[last.name][1:]
    for name in names:
        low, top = net.ranges[name]
        if (top - low).bit_length() > MAX_BITS:
            return f"{name!r} has values of {(top - low).bit_length()} bits, more than the {MAX_BITS} of an image"
        if name != last.name and net.shapes[name][1:] != place:
            return f"{name!r}, which is read behind it, too, has another size than the sums of {last.name!r}"
    if len({net.shapes[name][1:] for name in names}) > 1:
        return f"{', '.join(map(repr, names))} are read behind it and differ in size"
    return ""


def cuts(net: SpikeNet) -> list[int]:
    """Numbers of the layers in front of which the network can be cut."""
    return [cut for cut in range(1, len(net.layers)) if not cannot_cut(net, cut)]


def split(net: SpikeNet, at: Sequence[int]) -> tuple[Part, ...]:
    """The network cut in front of these layers; OneSpikeError where it cannot be."""
    if net.membranes is not None:
        raise OneSpikeError("A network that runs over several steps cannot be split; give one of one timestep.")
    if list(at) != sorted(set(at)) or not all(0 < cut < len(net.layers) for cut in at):
        raise OneSpikeError(f"Cuts must be rising numbers of layers in 1..{len(net.layers) - 1}, not {list(at)}.")
    for cut in at:
        if reason := cannot_cut(net, cut):
            known = ", ".join(f"{c} ({net.layers[c].name})" for c in cuts(net)) or "nowhere"
            raise OneSpikeError(
                f"The network cannot be cut in front of layer {net.layers[cut].name!r}: {reason}; it can be in front "
                f"of {known}."
            )
    parts: list[Part] = []
    handed: tuple[Handed, ...] = ()
    for begin, end in itertools.pairwise([0, *at, len(net.layers)]):
        passed = _handed(net, end) if end < len(net.layers) else ()
        parts.append(_part(net, begin, end, handed, passed))
        handed = passed
    return tuple(parts)


def run(parts: Sequence[Part], codes: np.ndarray) -> np.ndarray:
    """Logits of image codes through all parts, by the golden model: those of the whole network."""
    for part in parts:
        logits = golden.run(part.net, codes)
        if part.cut is not None:
            codes = part.hand_over(logits).astype(np.uint16)
    return logits


def _handed(net: SpikeNet, cut: int) -> tuple[Handed, ...]:
    found, first = [], 0
    for name in live(net, cut):
        low, top = net.ranges[name]
        channels = net.shapes[name][0]
        pad = net.image.pad_code if name == INPUT else (0,) * channels
        found.append(Handed(name=name, first=first, channels=channels, low=low, top=top, pad=pad))
        first += channels
    return tuple(found)


def _part(net: SpikeNet, begin: int, end: int, handed: tuple[Handed, ...], passed: tuple[Handed, ...]) -> Part:
    layers = list(net.layers[begin:end])
    cut = layers[-1] if passed else None
    if cut is not None:
        layers[-1] = _open(cut, [tensor for tensor in passed if tensor.name != cut.name])
    image = net.image
    if handed:
        bits = max((tensor.top - tensor.low).bit_length() for tensor in handed)
        channels = sum(tensor.channels for tensor in handed)
        pad = tuple(value - tensor.low for tensor in handed for value in tensor.pad)
        shape = (channels, *net.shapes[handed[0].name][1:])
        image = Image(shape=shape, bits=bits, scale=(1.0,) * channels, offset=(0.0,) * channels, pad_code=pad)
        layers = [_reading(layer, {tensor.name: tensor for tensor in handed}, channels) for layer in layers]
    whole: dict[str, Any] = {"places": net.places, "outputs": net.outputs} if cut is None else {}
    meta = net.meta if cut is None else {}
    meta = {**meta, "part": [begin, end], "of": net.hash}
    found = SpikeNet(image=image, layers=tuple(layers), weight_bits=net.weight_bits, meta=meta, **whole)
    return Part(net=found, begin=begin, end=end, handed=handed, cut=cut, passed=passed)


def _open(layer: Layer, copied: list[Handed]) -> Layer:
    """The layer without its firing: sums, and behind them the channels of these tensors as they are."""
    more = sum(tensor.channels for tensor in copied)
    sources = [_wider(source, more) for source in layer.sources]
    at = layer.channels
    for tensor in copied:
        weights = np.zeros((layer.channels + more, tensor.channels, 1, 1), np.int16)
        weights[at + np.arange(tensor.channels), np.arange(tensor.channels)] = 1
        sources.append(Source(tensor=tensor.name, weights=weights))
        at += tensor.channels
    bias = np.concatenate([layer.bias, np.zeros(more, np.int64)])
    return Layer(name=layer.name, sources=tuple(sources), bias=bias, shift=np.zeros(len(bias), np.int8), groups=0)


def _wider(source: Source, more: int) -> Source:
    """With so many output channels more, to which it adds nothing."""
    if not more:
        return source
    weights = np.concatenate([source.dense, np.zeros((more, *source.dense.shape[1:]), np.int16)])
    return dataclasses.replace(source, weights=weights, groups=1)


def _reading(layer: Layer, handed: dict[str, Handed], channels: int) -> Layer:
    """The layer with tensors of the cut read from the image; what codes lie above values goes into the bias."""
    sources, bias = [], layer.bias.astype(np.int64)
    for source in layer.sources:
        tensor = handed.get(source.tensor)
        if tensor is None:
            sources.append(source)
            continue
        bias = bias + (tensor.low << source.shift) * source.weights.astype(np.int64).sum((1, 2, 3))
        if len(handed) > 1:
            weights = np.zeros((layer.channels, channels, *source.weights.shape[2:]), np.int16)
            weights[:, tensor.first : tensor.first + tensor.channels] = source.dense
            source = dataclasses.replace(source, weights=weights, groups=1)
        sources.append(dataclasses.replace(source, tensor=INPUT))
    return dataclasses.replace(layer, sources=tuple(sources), bias=bias)
