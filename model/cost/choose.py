# SPDX-License-Identifier: Apache-2.0
"""Choosing the slices of every layer with the exact cycle model, and the channels of every slice by measured rate."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Container
from typing import Any

import numpy as np

from ...hw.config import MOST_SHADOWS, EngineConfig
from ..errors import OneSpikeError
from ..mapping.channel_order import orderable
from ..mapping.mapper import fit_config, image_codes, map_network
from ..mapping.mapping import Mapping
from ..mapping.sparse import for_sparse
from ..network import golden
from ..network.codes import spikes
from ..network.operations import reads, work_maps
from ..network.spec import INPUT, Image, SpikeNet
from ..network.storage import held
from ..targets import CROWDED, Target
from .area import block_rams
from .cycles import LayerCycles, predict_all
from .external import ExternalMemory, with_memory

WORTH = 0.005  # share of the cycles that one more shadow set must save: its registers are not for nothing
ROOM_COSTS = 1.1  # cycles for which block RAMs are left free
GUIDES = 2  # images that choose
PRICES = (0.0, *(2.0**exponent for exponent in range(-6, 16)))  # of a weight row, in cycles


Images = list[list[LayerCycles]]
Fits = Callable[[EngineConfig], bool]  # whether a part takes an engine with these memories


def spike_rates(net: SpikeNet, result: golden.Result, config: EngineConfig) -> dict[str, np.ndarray]:
    """Mean events per value of each channel of each tensor, in the golden model's codes of some images."""
    rates = {}
    for name, values in result.codes.items():
        if name != INPUT:
            kept = held(net, net.by_name[name], config.code, config.worths)
            rates[name] = spikes(values, kept.code, kept.top, config.worths, kept.levels).mean((0, 2, 3))
    return rates


def choose_mapping(
    net: SpikeNet,
    config: EngineConfig,
    codes: np.ndarray,
    *,
    fit: bool = True,
    image_code: str = "auto",
    memory: ExternalMemory | None = None,
    fits: Fits | None = None,
) -> Mapping:
    """The mapping with the fewest cycles on images, as `pixels.py` says (one or two suffice)."""
    result = golden.run(net, net.image.quantise(codes), layers=True, trains=config.code == "psg")
    return choose_for(net, config, result, fit=fit, image_code=image_code, memory=memory, fits=fits)


def choose_for(
    net: SpikeNet,
    config: EngineConfig,
    result: golden.Result,
    *,
    fit: bool = True,
    image_code: str = "auto",
    memory: ExternalMemory | None = None,
    more_shadows: bool = True,
    fits: Fits | None = None,
    fixed: Container[str] = (),
) -> Mapping:
    """The mapping with the fewest cycles on tensors as the golden model gives them.

    Every number of slices is tried for all layers at once; then each set of layers that must agree (they read the same
    tensor) takes its best. Channels are put into the order of `channel_order.py` where that takes fewer cycles. With
    `fit` the configuration's memories are sized for the result, and where `more_shadows` allows it, banks get as many
    shadow sets as save cycles; without, weight rows have a price, as low as possible for all of them to fit. memory:
    delivers the weights, where they are streamed; waiting for it counts. fits: with `fit`, slices are taken whose
    memories a part takes; where none do, those that need the least. fixed: of `row_masks` and `depthwise`, what stays
    as it is in `config` with `fit`, too.
    """
    memory = memory or ExternalMemory()
    config = for_sparse(config, net, fixed=fixed) if fit else config
    names = orderable(net, config)
    tried: list[tuple[Mapping, np.ndarray]] = []
    refused: OneSpikeError | None = None

    def attempt(ordered: frozenset[str]) -> None:
        mapping = _choose(net, config, result, fit, image_code, memory, more_shadows, fits, ordered)
        tried.append((mapping, _cycles(mapping, _images(mapping, result, memory))))

    for ordered in (frozenset[str](), names) if names else (names,):
        try:
            attempt(ordered)
        except OneSpikeError as error:  # fewer rows may fit where more did not
            refused = refused or error
    if not tried:
        assert refused is not None
        raise refused
    if len(tried) > 1:
        some = _paying(net, names, tried[1][1] - tried[0][1])
        if some and some != names:
            with contextlib.suppress(OneSpikeError):
                attempt(some)

    def worth(found: tuple[Mapping, np.ndarray]) -> tuple[bool, int]:
        return fit and fits is not None and not fits(found[0].config), int(found[1].sum())

    return min(tried, key=worth)[0]  # of equal ones the first, whose channels stay


def _paying(net: SpikeNet, names: frozenset[str], change: np.ndarray) -> frozenset[str]:
    """Tensors whose order makes the layers that make and read them faster, by the change of every layer's cycles."""
    concerned = {
        name: [i for i, x in enumerate(net.layers) if x.name == name or any(s.tensor == name for s in x.sources)]
        for name in names
    }
    return frozenset(name for name, layers in concerned.items() if change[layers].sum() < 0)


def _choose(
    net: SpikeNet,
    config: EngineConfig,
    result: golden.Result,
    fit: bool,
    image_code: str,
    memory: ExternalMemory,
    more_shadows: bool,
    fits: Fits | None,
    ordered: frozenset[str],
) -> Mapping:
    """`choose_for` with the channels of some tensors in order."""
    if image_code == "auto":
        # The cheapest one may need wider accumulators, or more memory for its border, than the engine has.
        for code in image_codes_by_cost(net, config, result.codes[INPUT]):
            with contextlib.suppress(OneSpikeError):
                return _choose(net, config, result, fit, code, memory, more_shadows, fits, ordered)
        image_code = image_codes(net)[0]
    options: dict[str, Any] = {"rates": spike_rates(net, result, config), "image_code": image_code, "ordered": ordered}
    uniform: dict[int, Mapping] = {}
    cost: dict[int, np.ndarray] = {}
    found: dict[int, Images] = {}
    rows: dict[int, np.ndarray] = {}
    refused = ""
    for slices in slice_counts(config):
        try:
            mapping = _mapping(net, config, slices, True, options)
        except OneSpikeError as error:
            refused = refused or str(error)
            continue
        found[slices] = _images(mapping, result, memory)
        cost[slices], rows[slices] = _cycles(mapping, found[slices]), _rows(mapping)
        try:
            uniform[slices] = mapping if fit else map_network(net, config, slices=slices, **options)
        except OneSpikeError as error:
            refused = refused or str(error)
    if not cost:
        raise OneSpikeError(refused)
    if fit and fits is not None:
        uniform = {s: mapping for s, mapping in uniform.items() if fits(mapping.config)}
    best = min(uniform, key=lambda s: (cost[s].sum(), s), default=None)
    tried: list[dict[str, int]] = []
    for price in PRICES[: 1 if fit or config.streams_weights else None]:
        chosen = _choice(net, {s: cost[s] + price * rows[s] for s in cost})
        if fit and fits is not None and chosen:
            chosen = _that_fits(net, config, cost, chosen, fits, options)
        if chosen in tried:
            continue
        tried.append(chosen)
        try:
            mixed = _mapping(net, config, chosen, fit, options)
        except OneSpikeError:
            continue  # each layer's best does not fit together
        images = _images(mixed, result, memory)
        taken = not fit or fits is None or fits(mixed.config)
        if best is None or (taken and _cycles(mixed, images).sum() <= cost[best].sum()):
            return _with_shadows(mixed, images, result, memory) if fit and more_shadows else mixed
        break
    if best is None:
        raise OneSpikeError(refused)
    return _with_shadows(uniform[best], found[best], result, memory) if fit and more_shadows else uniform[best]


def choose_on(
    part: Target, net: SpikeNet, config: EngineConfig, result: golden.Result, *, memory: ExternalMemory | None = None,
    fixed: Container[str] = (),
) -> Mapping:  # fmt: skip
    """`choose_for` an engine whose memories the part's block RAMs hold. Where it would be crowded, which costs clock,
    the mapping that leaves room is taken instead if it has at most `ROOM_COSTS` times the cycles.
    """

    def of(share: float) -> Mapping:
        def fits(sized: EngineConfig) -> bool:
            return block_rams(sized, part.family) <= share * part.block_rams

        return choose_for(net, config, result, memory=memory, fits=fits, fixed=fixed)

    def cycles(mapping: Mapping) -> int:
        return int(_cycles(mapping, _images(mapping, result, memory or ExternalMemory())).sum())

    found, roomy = of(1), CROWDED[0]
    if not roomy < block_rams(found.config, part.family) / part.block_rams <= 1:
        return found
    other = of(roomy)
    fits_too = block_rams(other.config, part.family) <= roomy * part.block_rams
    return other if fits_too and cycles(other) <= ROOM_COSTS * cycles(found) else found


def image_codes_by_cost(net: SpikeNet, config: EngineConfig, pixels: np.ndarray) -> list[str]:
    """The image codes, the one with the fewest events on image codes [N, C, H, W] first, a stored border included."""
    cost = {}
    for code in image_codes(net):
        events, border = (
            work_maps(net, INPUT, values, code, config.worths)["events_radix"]
            for values in (np.asarray(pixels), np.array(net.image.pad_code))
        )
        cost[code] = sum(
            source.fan_out * reads(events, source, range(height), range(width), border)
            for layer in net.layers
            for _, height, width in [net.conv_shapes[layer.name]]
            for source in layer.sources
            if source.tensor == INPUT
        )
    return sorted(cost, key=lambda code: cost[code])


def random_codes(image: Image, images: int = GUIDES, seed: int = 0) -> np.ndarray:
    """Codes [images, C, H, W] of random pixels, where there are no images to choose by: always the same ones."""
    shape = (images, *image.shape)
    return np.random.default_rng(seed).integers(0, 1 << image.bits, shape, dtype=image.code_type)


def fewest_slices(net: SpikeNet, config: EngineConfig) -> Mapping:
    """The mapping that needs no images: as few slices for all layers as the engine's memories allow."""
    refused: OneSpikeError | None = None
    for slices in slice_counts(config):
        try:
            return map_network(net, config, slices=slices)
        except OneSpikeError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def slice_counts(config: EngineConfig) -> list[int]:
    """How many banks of the engine may share a job."""
    return [1 << i for i in range(config.banks.bit_length())]


def _choice(net: SpikeNet, cost: dict[int, np.ndarray]) -> dict[str, int]:
    """The cheapest slices for every layer."""
    chosen: dict[str, int] = {}
    for group in _readers(net):
        members = [i for i, layer in enumerate(net.layers) if layer.name in group]
        best = min(cost, key=lambda s: (cost[s][members].sum(), s))
        chosen |= {net.layers[i].name: best for i in members}
    return chosen


def _that_fits(
    net: SpikeNet, config: EngineConfig, cost: dict[int, np.ndarray], chosen: dict[str, int], fits: Fits, options: Any
) -> dict[str, int]:
    """Slices whose memories fit, from the fastest ones on: the change that frees most memory for a cycle, again and
    again; then changes that are faster and still fit. Where none fit, the smallest."""
    members = [[i for i, layer in enumerate(net.layers) if layer.name in group] for group in _readers(net)]
    sized: dict[tuple[int, ...], tuple[bool, int]] = {}

    def named(choice: tuple[int, ...]) -> dict[str, int]:
        return {net.layers[i].name: s for s, group in zip(choice, members, strict=True) for i in group}

    def cycles(choice: tuple[int, ...]) -> int:
        return sum(int(cost[s][group].sum()) for s, group in zip(choice, members, strict=True))

    def size(choice: tuple[int, ...]) -> tuple[bool, int]:
        if choice not in sized:
            try:
                mapping = _mapping(net, config, named(choice), True, options)
            except OneSpikeError:
                sized[choice] = (False, 1 << 62)
            else:
                words, rows = (mapping.needs[name] for name in ("spike_depth", "weight_depth"))
                bits = words * config.word_bits + rows * config.lanes * mapping.config.weight_bits
                sized[choice] = (fits(mapping.config), bits)
        return sized[choice]

    def others(choice: tuple[int, ...], most: int) -> list[tuple[int, ...]]:
        found = {choice}
        for places in itertools.combinations(range(len(choice)), min(most, len(choice))):
            for slices in itertools.product(cost, repeat=len(places)):
                changed = dict(zip(places, slices, strict=True))
                found.add(tuple(changed.get(i, s) for i, s in enumerate(choice)))
        return sorted(found - {choice}, key=lambda other: (cycles(other), other))

    now = tuple(chosen[net.layers[group[0]].name] for group in members)
    while not size(now)[0]:
        before, bits = cycles(now), size(now)[1]
        smaller: list[tuple[int, ...]] = []
        for most in (1, 2):
            smaller = smaller or [other for other in others(now, most) if size(other)[1] < bits]
        if not smaller:
            return named(now)
        now = max(smaller, key=lambda o: (bits - size(o)[1]) / max(1, cycles(o) - before))
    while faster := next((o for o in others(now, 1) if cycles(o) < cycles(now) and size(o)[0]), None):
        now = faster
    return named(now)


def _mapping(
    net: SpikeNet, config: EngineConfig, slices: int | dict[str, int], fit: bool, options: dict[str, Any]
) -> Mapping:
    if fit:
        fixed = {"row_masks": config.row_masks, "depthwise": config.depthwise}
        config = fit_config(net, config, slices=slices, fixed=fixed, **options)
    return map_network(net, config, slices=slices, **options)


def _with_shadows(mapping: Mapping, images: Images, result: golden.Result, memory: ExternalMemory) -> Mapping:
    """The mapping on the engine with as many shadow sets as pay. One more costs a layer a cycle."""
    before = _cycles(mapping, images).sum()
    waiting = sum(layer.waiting for image in images for layer in image) / mapping.config.banks
    if waiting < WORTH * before + len(mapping.layers):  # no more than that can be saved
        return mapping
    for sets in range(mapping.config.shadows + 1, MOST_SHADOWS + 1):
        more = dataclasses.replace(mapping, config=dataclasses.replace(mapping.config, shadows=sets))
        after = _cycles(more, _images(more, result, memory)).sum()
        if after > (1 - WORTH) * before:
            break
        mapping, before = more, after
    return mapping


def _images(mapping: Mapping, result: golden.Result, memory: ExternalMemory) -> Images:
    """The layers' cycles, image by image."""
    return list(with_memory(mapping, predict_all(mapping, result), memory))


def _cycles(mapping: Mapping, images: Images) -> np.ndarray:
    """Cycles of every layer of the network, all images together."""
    found = np.zeros(len(mapping.net.layers), int)
    for image in images:
        for mapped, layer in zip(mapping.layers, image, strict=True):
            found[mapped.index] += layer.total
    return found


def _rows(mapping: Mapping) -> np.ndarray:
    """Weight rows of every layer of the network in each bank."""
    found = np.zeros(len(mapping.net.layers), int)
    for layer in mapping.layers:
        found[layer.index] += layer.weight_rows
    return found


def _readers(net: SpikeNet) -> list[set[str]]:
    """Sets of layers that must have equal slices, because they read a common tensor."""
    groups: list[tuple[set[str], set[str]]] = []  # layers, tensors
    for layer in net.layers:
        layers, tensors = {layer.name}, {source.tensor for source in layer.sources}
        for other in [g for g in groups if g[1] & tensors]:
            groups.remove(other)
            layers |= other[0]
            tensors |= other[1]
        groups.append((layers, tensors))
    return [layers for layers, _ in groups]
