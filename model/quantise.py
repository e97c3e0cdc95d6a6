# SPDX-License-Identifier: Apache-2.0
"""From real weights and the step of every tensor to integers: weights, biases and power-of-two thresholds.

With the steps d_in and d_out of one count, per output channel (architecture.md, section 3; OneSpike eq. 11)

    Wq = round(w * d_in / d_out * 2**k)        b = round(bias / d_out * 2**k)  [+ 2**(k-1) for round-to-nearest]

so that n_out = (sum of Wq * n_in + b) >> k; k is as large as the weights and the accumulator allow. Steps may differ
from channel to channel: both sides of the quotient sit in the weights, so it costs the hardware nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import OneSpikeError
from .graph import Graph, Node
from .spec import INPUT, Image, Layer, Source, SpikeNet

MAX_SHIFT = 40
PLACES = 28  # binary places that are looked at for exact weights
MAX_LIFT = 15  # of a source's weights, as in `spec.Source.shift`


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How real numbers become integers.

    weight_bits: of a weight, sign included. accumulator_bits: the most any sum may need, sign included (24 keeps the
    golden model exact in float32). nearest: round counts to nearest, by half a step in the bias; else down.
    """

    weight_bits: int = 8
    accumulator_bits: int = 24
    nearest: bool = True

    @property
    def limit(self) -> int:
        return 2 ** (self.weight_bits - 1) - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """What the codes 0..top of a tensor are worth: code * step + offset, per channel."""

    step: np.ndarray
    offset: np.ndarray
    top: int


def image_scale(image: Image) -> Scale:
    return Scale(step=np.array(image.scale), offset=np.array(image.offset), top=2**image.bits - 1)


def output_scale(node: Node, step: np.ndarray, groups: int, scales: Mapping[str, Scale]) -> Scale:
    """The scale of a node's tensor: its own steps, or its source's where it copies; sums raise the top."""
    base = Scale(step=step, offset=np.zeros(node.channels), top=groups)
    if node.exact:
        source, places = scales[node.terms[0].tensor], summed(node)
        base = Scale(step=source.step, offset=source.offset * places, top=source.top * places)
    if node.pool is not None and node.pool.kind == "sum":
        window = math.prod(node.pool.kernel)
        return Scale(step=base.step, offset=base.offset * window, top=base.top * window)
    return base


def summed(node: Node) -> int:
    """How many places of its source a node that copies adds up."""
    return int(node.terms[0].weights.sum((1, 2, 3)).max())


def quantise(
    graph: Graph, image: Image, steps: Mapping[str, np.ndarray], groups: Mapping[str, int], arithmetic: Arithmetic
) -> SpikeNet:
    """The integer network of `graph`; steps: per firing node that is not exact, float64 [channels]."""
    scales = {INPUT: image_scale(image)}
    layers = []
    for node in graph.nodes:
        step = steps.get(node.name, np.ones(node.channels))
        layers.append(quantise_node(node, scales, step, groups.get(node.name, 0), arithmetic))
        scales[node.name] = output_scale(node, step, groups.get(node.name, 0), scales)
    return SpikeNet(image=image, layers=tuple(layers), weight_bits=arithmetic.weight_bits)


def quantise_node(
    node: Node, scales: Mapping[str, Scale], step: np.ndarray, groups: int, arithmetic: Arithmetic
) -> Layer:
    """The integer layer of one node whose counts are worth `step` [channels]."""
    zero = np.zeros(node.channels, np.int8)
    if node.exact:
        source, term = scales[node.terms[0].tensor], node.terms[0]
        copy = Source(
            tensor=term.tensor, weights=term.weights.astype(np.int16), stride=term.stride, padding=term.padding,
            dilation=term.dilation,
        )  # fmt: skip
        worth = float(source.step.mean())
        return Layer(
            name=node.name, sources=(copy,), bias=zero.astype(np.int64), shift=zero,
            groups=source.top * summed(node), pool=node.pool, step=worth,
        )  # fmt: skip
    for term in node.terms:
        if any(term.padding) and term.tensor != INPUT and scales[term.tensor].offset.any():
            raise OneSpikeError(
                f"Layer {node.name!r} pads a pool of the image, whose code 0 is not x = 0; normalise the image inside "
                f"the network instead of with mean, std or input_range."
            )
    real, bias, tops = _per_count(node, scales, step)
    if not node.fires:
        factor = common_factor(real, bias, tops, arithmetic)
        sources = _sources(node, real, np.full(node.channels, factor), [0] * len(real))
        rounded = np.rint(bias * factor).astype(np.int64)
        return Layer(name=node.name, sources=sources, bias=rounded, shift=zero, groups=0, step=1 / factor)
    shift, lifts = thresholds(node.name, real, bias / step, tops, groups, arithmetic)
    factor = np.ldexp(1.0, shift)
    sources = _sources(node, real, factor, lifts)
    half = np.where(shift > 0, 2.0 ** (shift - 1), 0) if nearest(node, arithmetic) else 0
    low, high = _bounds(sources, scales)
    # Beyond these a bias changes nothing: the channel is always silent, or always saturated.
    rounded = np.clip(np.rint(bias / step * factor + half), -high - 1, groups * factor - low).astype(np.int64)
    return Layer(
        name=node.name, sources=sources, bias=rounded, shift=shift.astype(np.int8), groups=groups,
        pool=node.pool, step=float(step.mean()),
    )  # fmt: skip


def grid(node: Node, scales: Mapping[str, Scale], step: np.ndarray, groups: int, arithmetic: Arithmetic) -> np.ndarray:
    """What a weight of the node's dense terms times a source's step is multiplied by [channels], before it is rounded,
    where its counts are worth `step`."""
    real, bias, tops = _per_count(node, scales, step)
    if not node.fires:
        return np.full(node.channels, common_factor(real, bias, tops, arithmetic))
    return np.ldexp(1.0, thresholds(node.name, real, bias / step, tops, groups, arithmetic)[0])


def _per_count(
    node: Node, scales: Mapping[str, Scale], step: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, list[int]]:
    """Weights of every term in output counts per input count, the bias with the sources' offsets, the largest codes."""
    real = [term.weights * scales[term.tensor].step[:, None, None] / step[:, None, None, None] for term in node.terms]
    bias = node.bias + sum(term.weights.sum((2, 3)) @ scales[term.tensor].offset for term in node.terms)
    return real, bias, [scales[term.tensor].top for term in node.terms]


def nearest(node: Node, arithmetic: Arithmetic) -> bool:
    """Whether the node's counts are rounded to nearest rather than down: as its staircase says, where it has one."""
    return arithmetic.nearest if node.staircase is None else node.staircase.rounding != "floor"


def lossless(node: Node, layer: Layer, scales: Mapping[str, Scale], step: np.ndarray) -> bool:
    """Whether the integer weights of `layer` are exactly the real ones of `node`."""
    unit = np.full(node.channels, 1 / layer.step) if not node.fires else np.ldexp(1.0, layer.shift.astype(int)) / step
    return all(
        np.allclose(
            term.weights * scales[term.tensor].step[:, None, None] * unit[:, None, None, None],
            source.weights.astype(np.int64) << source.shift,
            rtol=0,
            atol=1e-6,  # of one integer step
        )
        for term, source in zip(node.terms, layer.sources, strict=True)
    )


def rounded_layers(
    graph: Graph, net: SpikeNet, image: Image, steps: Mapping[str, np.ndarray], groups: Mapping[str, int]
) -> list[str]:
    """The layers of `net`, made by `quantise` from the rest, whose weights are not exactly those of `graph`."""
    scales, found = {INPUT: image_scale(image)}, []
    for node, layer in zip(graph.nodes, net.layers, strict=True):
        step = steps.get(node.name, np.ones(node.channels))
        if not node.exact and not lossless(node, layer, scales, step):
            found.append(node.name)
        scales[node.name] = output_scale(node, step, groups.get(node.name, 0), scales)
    return found


def _bounds(sources: tuple[Source, ...], scales: Mapping[str, Scale]) -> tuple[np.ndarray, np.ndarray]:
    """Per channel, the least and the largest sum of W * code, without bias."""
    low = high = np.zeros(sources[0].weights.shape[0])
    for source in sources:
        weights = source.weights.astype(np.int64) << source.shift
        low = low + np.minimum(weights, 0).sum((1, 2, 3)) * scales[source.tensor].top
        high = high + np.maximum(weights, 0).sum((1, 2, 3)) * scales[source.tensor].top
    return low, high


def thresholds(
    name: str, real: list[np.ndarray], bias: np.ndarray, tops: list[int], groups: int, arithmetic: Arithmetic
) -> tuple[np.ndarray, list[int]]:
    """k [channels], the largest that weights and accumulator allow, and the shift of every source.

    real, bias: in counts of the output per count of the input. Where a smaller k holds all weights exactly, as in
    networks that were quantised to powers of two, it is taken. A shortcut has one weight per channel, d_in / d_out,
    often several times larger than the kernel beside it. Its source is shifted, as far as the weight keeps a precision
    of 1 in 32, so that the kernel keeps its bits.
    """
    if (found := _exact(real, bias, tops, arithmetic)) is not None:
        return found
    light = [np.count_nonzero(w, axis=(1, 2, 3)).max() <= 1 for w in real]
    if all(light):
        light = [False] * len(real)
    peaks = [np.abs(w).max((1, 2, 3)) for w in real]
    reach = sum(np.abs(w).sum((1, 2, 3)) * top for w, top in zip(real, tops, strict=True))
    # Every weight may round up by half: that much of the accumulator is kept free.
    slack = sum(np.count_nonzero(w, axis=(1, 2, 3)) * top for w, top in zip(real, tops, strict=True)) / 2
    room = np.maximum(2.0 ** (arithmetic.accumulator_bits - 2) - slack, 1e-9)  # and as much again for the bias
    with np.errstate(divide="ignore"):
        shift = np.floor(np.log2(room / np.maximum(reach, 1e-300)))
        # A channel without weights is a constant: its whole range of counts stays inside the accumulator.
        shift = np.minimum(shift, min(MAX_SHIFT, arithmetic.accumulator_bits - 2 - groups.bit_length()))
        for peak, small in zip(peaks, light, strict=True):
            if not small:
                shift = np.minimum(shift, np.floor(np.log2((arithmetic.limit + 0.49) / peak)))
        lifts = []
        for peak, small in zip(peaks, light, strict=True):
            least = (peak * 2.0**shift)[peak > 0].min(initial=np.inf)
            lift = int(np.clip(np.floor(np.log2(least / 32)), 0, MAX_LIFT)) if small and np.isfinite(least) else 0
            shift = np.minimum(shift, np.floor(np.log2((arithmetic.limit + 0.49) * 2.0**lift / peak)))
            lifts.append(lift)
    if shift.min() < 0:
        channel = int(shift.argmin())
        raise OneSpikeError(
            f"Layer {name!r}, channel {channel}: a weight of {max(p[channel] for p in peaks):.3g} output counts per "
            f"input count and sums up to {reach[channel]:.3g} counts do not fit {arithmetic.weight_bits}-bit weights "
            f"and a {arithmetic.accumulator_bits}-bit accumulator; allow more bits or use fewer groups."
        )
    return shift.astype(int), lifts


def _exact(
    real: list[np.ndarray], bias: np.ndarray, tops: list[int], arithmetic: Arithmetic
) -> tuple[np.ndarray, list[int]] | None:
    """The least k [channels] at which weights, and biases where there is room, are whole; the shift of every source.

    None where the weights are not whole at any k, or need more bits than there are.
    """
    least = np.max([_places(weights).max((1, 2, 3)) for weights in real], axis=0)
    if least.max() > PLACES:
        return None
    whole = [np.rint(np.ldexp(weights, least[:, None, None, None])) for weights in real]
    room = (2.0 ** (arithmetic.accumulator_bits - 1) - 1) / _reach(whole, np.ldexp(bias, least), tops)
    lifts = []
    for weights in whole:
        lift = 0
        while weights.max() > arithmetic.limit or weights.min() < -arithmetic.limit - 1:
            weights, lift = weights / 2, lift + 1
            if lift > MAX_LIFT or (weights != np.rint(weights)).any():
                return None
        lifts.append(lift)
        room = np.minimum(room, arithmetic.limit / np.maximum(weights.max((1, 2, 3)), 1e-9))
        room = np.minimum(room, (arithmetic.limit + 1) / np.maximum(-weights.min((1, 2, 3)), 1e-9))
    if room.min() < 1:
        return None
    more = np.minimum(_places(bias) - least, np.floor(np.log2(room)))
    return (least + np.maximum(more, 0)).astype(int), lifts


def _reach(weights: list[np.ndarray], bias: np.ndarray, tops: list[int]) -> np.ndarray:
    """The largest magnitude of any sum [channels], partial or complete, as `SpikeNet.accumulator_range`; at least 1."""
    low = sum(np.minimum(w, 0).sum((1, 2, 3)) * top for w, top in zip(weights, tops, strict=True))
    high = sum(np.maximum(w, 0).sum((1, 2, 3)) * top for w, top in zip(weights, tops, strict=True))
    return np.max([high, high + bias, -low, -low - bias, np.abs(bias), np.ones_like(bias)], axis=0)


def _places(values: np.ndarray) -> np.ndarray:
    """Binary places behind the point of every number, 0 of whole ones; PLACES + 1 where they do not end there.

    What lies below a 64th of the last place is noise of floating-point arithmetic.
    """
    units = np.clip(np.ldexp(values, PLACES), -(2.0**62), 2.0**62)  # numbers above count as whole
    whole = np.rint(units).astype(np.int64)
    lowest = np.frexp(np.gcd(whole, 1 << PLACES))[1] - 1
    return np.where(np.abs(units - whole) < 1 / 64, PLACES - lowest, PLACES + 1)


def _sources(node: Node, real: list[np.ndarray], factor: np.ndarray, lifts: list[int]) -> tuple[Source, ...]:
    return tuple(
        Source(
            tensor=term.tensor,
            weights=np.rint(weights * np.ldexp(factor, -lift)[:, None, None, None]).astype(np.int64),
            stride=term.stride,
            padding=term.padding,
            dilation=term.dilation,
            shift=lift,
        )
        for term, weights, lift in zip(node.terms, real, lifts, strict=True)
    )


def common_factor(real: list[np.ndarray], bias: np.ndarray, tops: list[int], arithmetic: Arithmetic) -> float:
    """Integer units per real unit, the same for all channels of the last layer; a power of two where that is exact."""
    largest = max(float(np.abs(w).max()) for w in real)
    reach = sum(np.abs(w).sum((1, 2, 3)) * top for w, top in zip(real, tops, strict=True)) + np.abs(bias)
    taps = sum(int(np.prod(w.shape[1:])) * top for w, top in zip(real, tops, strict=True))
    room = 2.0 ** (arithmetic.accumulator_bits - 1) - taps - 1
    factor = min(arithmetic.limit / max(largest, 1e-300), room / max(float(reach.max()), 1e-300))
    exact = _exact(real, bias, tops, arithmetic)
    if exact is not None and not any(exact[1]):
        whole = 2.0 ** float(exact[0].max())
        high, low = max(w.max() for w in real) * whole, min(w.min() for w in real) * whole
        span = whole * _reach(real, bias, tops).max()
        if -arithmetic.limit - 1 <= low and high <= arithmetic.limit and span < 2 ** (arithmetic.accumulator_bits - 1):
            return whole
    if room <= 0:
        raise OneSpikeError(f"The last layer does not fit in a {arithmetic.accumulator_bits}-bit accumulator.")
    return factor if factor < 1e300 else 1.0
