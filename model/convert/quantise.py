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

from ..errors import OneSpikeError
from ..frontend.graph import DOWN, Graph, Node, Term
from ..network.grouped import compact
from ..network.levels import Levels
from ..network.spec import INPUT, Image, Layer, Source, SpikeNet, reach
from .exact import FLOAT32, NOISE, Span, common_factor, exact_shifts, most_lift, whole
from .rounding import ends, least, places, with_curve, with_levels

MAX_SHIFT = 40
FARTHEST = 20  # binary places that a step may grow by; where that is not enough, no step helps


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
    """What the codes low..top of a tensor are worth: code * step + offset, per channel."""

    step: np.ndarray
    offset: np.ndarray
    top: int
    low: int = 0

    @property
    def span(self) -> Span:
        return Span(self.low, self.top)

    def times(self, places: int) -> Scale:
        """Of sums over so many places."""
        return Scale(step=self.step, offset=self.offset * places, top=self.top * places, low=self.low * places)


def image_scale(image: Image) -> Scale:
    return Scale(step=np.array(image.scale), offset=np.array(image.offset), top=2**image.bits - 1)


def output_scale(node: Node, step: np.ndarray, groups: int, scales: Mapping[str, Scale]) -> Scale:
    """The scale of a node's tensor: its own steps, or its source's where it copies; sums raise the top."""
    base = Scale(step=step, offset=np.zeros(node.channels), top=groups, low=least(node, step, groups))
    if node.exact:
        base = copied(node, scales)
    return base.times(math.prod(node.pool.kernel)) if node.pool is not None and node.pool.kind == "sum" else base


def copied(node: Node, scales: Mapping[str, Scale]) -> Scale:
    """What the codes of a node that copies are worth before its pool: its source's, or its sources' side by side."""
    parts = [scales[term.tensor] for term in node.terms]
    if len(parts) == 1:
        return parts[0].times(summed(node))
    step, offset = (
        sum(term.weights[:, :, 0, 0] @ each for term, each in zip(node.terms, numbers, strict=True))
        for numbers in ([part.step for part in parts], [part.offset for part in parts])
    )
    top, low = max(part.top for part in parts), min(part.low for part in parts)
    return Scale(step=np.asarray(step), offset=np.asarray(offset), top=top, low=low)


def summed(node: Node) -> int:
    """How many places of its source a node that copies adds up."""
    return int(node.terms[0].weights.sum((1, 2, 3)).max())


def quantise(
    graph: Graph,
    image: Image,
    steps: Mapping[str, np.ndarray],
    groups: Mapping[str, int],
    arithmetic: Arithmetic,
    levels: Mapping[str, Levels] | None = None,
) -> SpikeNet:
    """The integer network of `graph`; steps: per firing node that is not exact, float64 [channels].

    levels: of the nodes that fire by a table; their groups are the last of them, their steps are those of one unit.
    """
    levels = levels or {}
    scales = {INPUT: image_scale(image)}
    layers = []
    for node in graph.nodes:
        step = steps.get(node.name, np.ones(node.channels))
        layers.append(quantise_node(node, scales, step, groups.get(node.name, 0), arithmetic, levels.get(node.name)))
        scales[node.name] = output_scale(node, step, groups.get(node.name, 0), scales)
    return SpikeNet(
        image=image, layers=tuple(layers), weight_bits=arithmetic.weight_bits, places=graph.places,
        outputs=graph.outputs,
    )  # fmt: skip


def quantise_node(
    node: Node,
    scales: Mapping[str, Scale],
    step: np.ndarray,
    groups: int,
    arithmetic: Arithmetic,
    levels: Levels | None = None,
) -> Layer:
    """The integer layer of one node whose counts, or whose levels' units, are worth `step` [channels]."""
    zero = np.zeros(node.channels, np.int8)
    if node.exact:
        scale = copied(node, scales)
        sources = tuple(_source(term, term.weights.astype(np.int16)) for term in node.terms)
        return Layer(
            name=node.name, sources=sources, bias=zero.astype(np.int64), shift=zero, groups=scale.top, low=scale.low,
            pool=node.pool, step=float(scale.step.mean()),
        )  # fmt: skip
    for term in node.terms:
        if any(term.padding) and term.tensor != INPUT and scales[term.tensor].offset.any():
            raise OneSpikeError(
                f"Layer {node.name!r} pads a pool of the image, whose code 0 is not x = 0; normalise the image inside "
                f"the network instead of with mean, std or input_range."
            )
    real, bias, spans = per_count(node, scales, step)
    if not node.fires:
        lifts = [term.lift for term in node.terms]
        factor = common_factor(real, bias, spans, lifts, arithmetic)
        sources = _sources(node, real, np.full(node.channels, factor), lifts)
        rounded = np.rint(bias * factor).astype(np.int64)
        return Layer(name=node.name, sources=sources, bias=rounded, shift=zero, groups=0, step=1 / factor)
    shift, lifts = thresholds(node.name, real, bias / step, spans, groups, arithmetic)
    factor = np.ldexp(1.0, shift)
    sources = _sources(node, real, factor, lifts)
    # With a table the half is in its thresholds.
    counted = levels is None and node.curve is None
    half = np.where(shift > 0, 2.0 ** (shift - 1), 0) if nearest(node, arithmetic) and counted else 0
    low, high = _bounds(sources, scales)
    # Beyond these a bias changes nothing: the channel is always at its least, or at its largest value.
    first, last = ends(node, step, groups)
    rounded = whole_bias(node, bias / step * factor + half, factor)
    rounded = np.clip(rounded, first * factor - high - 1, last * factor - low).astype(np.int64)
    layer = Layer(
        name=node.name, sources=sources, bias=rounded, shift=shift.astype(np.int8), groups=groups,
        low=least(node, step, groups), pool=node.pool, step=float(step.mean()),
    )  # fmt: skip
    if node.curve is not None:
        return with_curve(layer, node.curve, float(step[0]), nearest(node, arithmetic))
    return layer if levels is None else with_levels(layer, levels)


def grid(node: Node, scales: Mapping[str, Scale], step: np.ndarray, groups: int, arithmetic: Arithmetic) -> np.ndarray:
    """What a weight of the node's dense terms times a source's step is multiplied by [channels], before it is rounded,
    where its counts are worth `step`."""
    real, bias, spans = per_count(node, scales, step)
    if not node.fires:
        lifts = [term.lift for term in node.terms]
        lifted = [np.where(w.any((1, 2, 3)), lift, 0) for w, lift in zip(real, lifts, strict=True)]
        return np.ldexp(common_factor(real, bias, spans, lifts, arithmetic), -np.max(lifted, axis=0))
    return np.ldexp(1.0, thresholds(node.name, real, bias / step, spans, groups, arithmetic)[0])


def per_count(
    node: Node, scales: Mapping[str, Scale], step: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, list[Span]]:
    """Weights of every term in output counts per input count, the bias with the sources' offsets, and their spans."""
    real = [term.weights * scales[term.tensor].step[:, None, None] / step[:, None, None, None] for term in node.terms]
    bias = node.bias + sum(term.weights.sum((2, 3)) @ scales[term.tensor].offset for term in node.terms)
    return real, bias, [scales[term.tensor].span for term in node.terms]


def nearest(node: Node, arithmetic: Arithmetic) -> bool:
    """Whether the node's counts are rounded to nearest rather than down: as its staircase says, where it has one."""
    return arithmetic.nearest if node.staircase is None else node.staircase.rounding not in DOWN


def whole_bias(node: Node, bias: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The bias [channels], in units of the accumulator, as whole numbers; count: of such units a count.

    Behind a staircase that rounds down, such that every whole sum climbs as the real one does: a sum s and the bias b
    reach a multiple of 2**k where s + floor(b) does, and exceed it where s + ceil(b) - 1 reaches it.
    """
    kind = None if node.staircase is None else node.staircase.rounding
    if kind not in DOWN:
        return np.rint(bias)
    noise = NOISE + FLOAT32 * (np.abs(bias) + count)  # thresholds may have been stored in float32
    return np.floor(bias + noise) if kind == "floor" else np.ceil(bias - noise) - 1


def lossless(node: Node, layer: Layer, scales: Mapping[str, Scale], step: np.ndarray) -> bool:
    """Whether the integer weights of `layer` are exactly the real ones of `node`."""
    unit = np.full(node.channels, 1 / layer.step) if not node.fires else np.ldexp(1.0, places(layer)) / step
    return all(
        np.allclose(
            term.weights * scales[term.tensor].step[:, None, None] * unit[:, None, None, None],
            source.dense.astype(np.int64) << source.shift,
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
        least_, most = reach(source, scales[source.tensor].low, scales[source.tensor].top)
        low, high = low + least_.astype(np.float64), high + most.astype(np.float64)
    return low, high


def thresholds(
    name: str, real: list[np.ndarray], bias: np.ndarray, spans: list[Span], groups: int, arithmetic: Arithmetic
) -> tuple[np.ndarray, list[int]]:
    """k [channels], the largest that weights and accumulator allow, and the shift of every source.

    real, bias: in counts of the output per count of the input. Where a smaller k holds all weights exactly, as in
    networks that were quantised to powers of two, it is taken. A shortcut has one weight per channel, d_in / d_out,
    often several times larger than the kernel beside it. Its source is shifted, as far as the weight keeps a precision
    of 1 in 32, so that the kernel keeps its bits.
    """
    if (found := exact_shifts(real, bias, spans, arithmetic, arithmetic.nearest)) is not None:
        return found
    shift, lifts = _shifts(real, spans, groups, arithmetic)
    if shift.min() < 0:
        channel = int(shift.argmin())
        raise OneSpikeError(
            f"Layer {name!r}, channel {channel}: a weight of {_peak(real)[channel]:.3g} output counts per input count "
            f"and sums up to {_sums(real, spans)[channel]:.3g} counts do not fit {arithmetic.weight_bits}-bit weights "
            f"and a {arithmetic.accumulator_bits}-bit accumulator; allow more bits or use fewer groups."
        )
    return shift.astype(int), lifts


def coarser(
    node: Node, scales: Mapping[str, Scale], step: np.ndarray, groups: int, silent: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    """The steps [channels], larger where weights in counts of a channel fit no integers although it hardly needs them.

    silent: channels that hardly ever fire, whose clip levels mean little: their count becomes worth what the largest
    weight makes of one count of its input, but no more than the other channels' counts. Where one count of an input
    alone takes a channel across all its counts, the step grows as far as the weights need. Others are left to
    `thresholds`, which refuses them.
    """
    real, bias, spans = per_count(node, scales, step)
    if exact_shifts(real, bias / step, spans, arithmetic, arithmetic.nearest) is not None:
        return step
    tight = (_shifts(real, spans, groups, arithmetic)[0] < 0) & (silent | (_peak(real) > groups))
    if not tight.any():
        return step
    most = step[~silent].max(initial=0.0) or np.inf
    found = np.where(tight & silent, np.maximum(step, np.minimum(_peak(real) * step, most)), step)
    for _ in range(2):  # a source's shift depends on all channels
        shift = _shifts(per_count(node, scales, found)[0], spans, groups, arithmetic)[0]
        found = np.where(tight & (shift < 0) & (shift > -FARTHEST), found * np.exp2(1 - shift), found)
    return found


def _peak(real: list[np.ndarray]) -> np.ndarray:
    """The largest weight of every channel [channels]."""
    return np.max([np.abs(w).max((1, 2, 3)) for w in real], axis=0)


def _sums(real: list[np.ndarray], spans: list[Span]) -> np.ndarray:
    """The sum of |weight| * largest code of every channel [channels]."""
    return np.sum([np.abs(w).sum((1, 2, 3)) * span.most for w, span in zip(real, spans, strict=True)], axis=0)


def _shifts(
    real: list[np.ndarray], spans: list[Span], groups: int, arithmetic: Arithmetic
) -> tuple[np.ndarray, list[int]]:
    """`thresholds` where weights are rounded: k [channels], below 0 where even 0 is too much; the sources' shifts."""
    light = [np.count_nonzero(w, axis=(1, 2, 3)).max() <= 1 for w in real]
    if all(light):
        light = [False] * len(real)
    peaks = [np.abs(w).max((1, 2, 3)) for w in real]
    reach = np.maximum(_sums(real, spans), 1e-300)
    quarter = 2.0 ** (arithmetic.accumulator_bits - 2)  # and as much again for the bias
    with np.errstate(divide="ignore"):
        # A channel without weights is a constant: its whole range of counts stays inside the accumulator.
        shift = np.full(len(reach), min(MAX_SHIFT, arithmetic.accumulator_bits - 2 - groups.bit_length()), float)
        for peak, small in zip(peaks, light, strict=True):
            if not small:
                shift = np.minimum(shift, np.floor(np.log2((arithmetic.limit + 0.49) / peak)))
        # Every weight may round up by half: that much of the accumulator is kept free, where weights are not whole yet.
        taps = [np.count_nonzero(w, axis=(1, 2, 3)) * span.most for w, span in zip(real, spans, strict=True)]
        room = np.maximum(quarter - sum(taps) / 2, 1e-9)
        free = np.minimum(shift, np.floor(np.log2(quarter / reach)))
        shift = np.minimum(shift, np.floor(np.log2(room / reach)))
        slack = [
            np.where(whole(np.ldexp(w, free.astype(int)[:, None, None, None])), 0, most / 2)
            for w, most in zip(real, taps, strict=True)
        ]
        shift = np.where(np.ldexp(reach, free.astype(int)) + sum(slack) <= quarter, free, shift)
        lifts = []
        for peak, small, span in zip(peaks, light, spans, strict=True):
            least = (peak * 2.0**shift)[peak > 0].min(initial=np.inf)
            most = most_lift(span) if small and np.isfinite(least) else 0
            lift = int(np.clip(np.floor(np.log2(least / 32)), 0, most)) if most else 0
            shift = np.minimum(shift, np.floor(np.log2((arithmetic.limit + 0.49) * 2.0**lift / peak)))
            lifts.append(lift)
    return shift, lifts


def _sources(node: Node, real: list[np.ndarray], factor: np.ndarray, lifts: list[int]) -> tuple[Source, ...]:
    return tuple(
        _source(term, np.rint(weights * np.ldexp(factor, -lift)[:, None, None, None]).astype(np.int64), lift)
        for term, weights, lift in zip(node.terms, real, lifts, strict=True)
    )


def _source(term: Term, weights: np.ndarray, shift: int = 0) -> Source:
    """The source of a term with these whole weights [out, in, KH, KW], in as many groups as its zeros allow."""
    groups, own = compact(weights)
    return Source(
        tensor=term.tensor, weights=own, groups=groups, stride=term.stride, padding=term.padding,
        dilation=term.dilation, shift=shift, up=term.up, held=term.held,
    )  # fmt: skip
