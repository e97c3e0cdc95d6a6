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
MAX_COPIES = 16  # of a shortcut's source, so that its large weight does not coarsen the kernel beside it


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
    """The scale of a node's tensor: its own steps, or its source's where it copies; a sum pool raises the top."""
    source = scales[node.terms[0].tensor]
    base = source if node.exact else Scale(step=step, offset=np.zeros(node.channels), top=groups)
    if node.pool is not None and node.pool.kind == "sum":
        window = math.prod(node.pool.kernel)
        return Scale(step=base.step, offset=base.offset * window, top=base.top * window)
    return base


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
        copy = Source(tensor=term.tensor, weights=term.weights.astype(np.int16))
        worth = float(source.step.mean())
        return Layer(
            name=node.name, sources=(copy,), bias=zero.astype(np.int64), shift=zero, groups=source.top,
            pool=node.pool, step=worth,
        )  # fmt: skip
    real = [
        term.weights * scales[term.tensor].step[:, None, None] / step[:, None, None, None] for term in node.terms
    ]
    bias = node.bias + sum(
        np.einsum("oihw,i->o", term.weights, scales[term.tensor].offset) for term in node.terms
    )
    tops = [scales[term.tensor].top for term in node.terms]
    if not node.fires:
        factor = _common_factor(real, bias, tops, arithmetic)
        sources = _sources(node, real, np.full(node.channels, factor), [1] * len(real))
        rounded = np.rint(bias * factor).astype(np.int64)
        return Layer(name=node.name, sources=sources, bias=rounded, shift=zero, groups=0, step=1 / factor)
    shift, copies = _shifts(node, real, tops, arithmetic)
    factor = np.ldexp(1.0, shift)
    sources = _sources(node, real, factor, copies)
    half = np.where(shift > 0, 2.0 ** (shift - 1), 0) if arithmetic.nearest else 0
    low, high = _bounds(sources, scales)
    # Beyond these a bias changes nothing: the channel is always silent, or always saturated.
    rounded = np.clip(np.rint(bias / step * factor + half), -high - 1, groups * factor - low).astype(np.int64)
    layer = Layer(
        name=node.name, sources=sources, bias=rounded, shift=shift.astype(np.int8), groups=groups,
        pool=node.pool, step=float(step.mean()),
    )  # fmt: skip
    return layer


def _bounds(sources: tuple[Source, ...], scales: Mapping[str, Scale]) -> tuple[np.ndarray, np.ndarray]:
    """Per channel, the least and the largest sum of W * code, without bias."""
    low = high = np.zeros(sources[0].weights.shape[0])
    for source in sources:
        weights = source.weights.astype(np.int64)
        low = low + np.minimum(weights, 0).sum((1, 2, 3)) * scales[source.tensor].top
        high = high + np.maximum(weights, 0).sum((1, 2, 3)) * scales[source.tensor].top
    return low, high


def _largest(real: list[np.ndarray], channels: int) -> np.ndarray:
    return np.max([np.zeros(channels), *(np.abs(w).max((1, 2, 3)) for w in real)], axis=0)


def _shifts(
    node: Node, real: list[np.ndarray], tops: list[int], arithmetic: Arithmetic
) -> tuple[np.ndarray, list[int]]:
    """k [channels] and how many equal copies each term is dealt over.

    A shortcut (one weight per channel, near d_in / d_out) is often several times larger than the kernel beside it. The
    kernel sets k, and the shortcut is read several times, each with a part of its weight.
    """
    light = [np.count_nonzero(w, axis=(1, 2, 3)).max() <= 1 for w in real]
    heavy = [w for w, small in zip(real, light, strict=True) if not small] or real
    with np.errstate(divide="ignore"):
        shift = np.floor(np.log2((arithmetic.limit + 0.49) / _largest(heavy, node.channels)))
        copied = np.floor(np.log2((arithmetic.limit * MAX_COPIES) / _largest(real, node.channels)))
    # Sums of either sign, and the largest threshold, within the accumulator; one unit per weight for rounding.
    reach = sum(np.abs(w).sum((1, 2, 3)) * top for w, top in zip(real, tops, strict=True))
    room = 2.0 ** (arithmetic.accumulator_bits - 1)
    taps = sum(int(np.prod(w.shape[1:])) * top for w, top in zip(real, tops, strict=True))
    with np.errstate(divide="ignore"):
        fits = np.floor(np.log2(max(room - taps, 1) / np.maximum(reach, 1e-300)))
        fits = np.minimum(fits, arithmetic.accumulator_bits - 2 - 8)
    shift = np.minimum(np.minimum(np.minimum(shift, copied), fits), MAX_SHIFT)
    if shift.min() < 0:
        channel = int(shift.argmin())
        raise OneSpikeError(
            f"Layer {node.name!r}, channel {channel}: a weight is {_largest(real, node.channels)[channel]:.3g} output "
            f"steps per input step, too large for {arithmetic.weight_bits}-bit weights and a "
            f"{arithmetic.accumulator_bits}-bit accumulator; use more weight bits, more accumulator bits or fewer groups."
        )
    copies = []
    for weights, small in zip(real, light, strict=True):
        most = (np.abs(weights).max((1, 2, 3)) * 2.0**shift).max()
        copies.append(max(1, math.ceil((most - 0.49) / arithmetic.limit)) if small else 1)
    return shift.astype(int), copies


def _sources(node: Node, real: list[np.ndarray], factor: np.ndarray, copies: list[int]) -> tuple[Source, ...]:
    sources = []
    for term, weights, count in zip(node.terms, real, copies, strict=True):
        whole = np.rint(weights * factor[:, None, None, None]).astype(np.int64)
        for index in range(count):
            # Equal parts whose sum is exact: the floor of (whole + index) / count.
            part = (whole + index) // count
            sources.append(
                Source(
                    tensor=term.tensor, weights=part, stride=term.stride, padding=term.padding, dilation=term.dilation
                )
            )
    return tuple(sources)


def _common_factor(real: list[np.ndarray], bias: np.ndarray, tops: list[int], arithmetic: Arithmetic) -> float:
    """Integer units per real unit, the same for all channels of the last layer."""
    largest = max(float(np.abs(w).max()) for w in real)
    reach = sum(np.abs(w).sum((1, 2, 3)) * top for w, top in zip(real, tops, strict=True)) + np.abs(bias)
    taps = sum(int(np.prod(w.shape[1:])) * top for w, top in zip(real, tops, strict=True))
    room = 2.0 ** (arithmetic.accumulator_bits - 1) - taps - 1
    factor = min(arithmetic.limit / max(largest, 1e-300), room / max(float(reach.max()), 1e-300))
    if room <= 0:
        raise OneSpikeError(f"The last layer does not fit in a {arithmetic.accumulator_bits}-bit accumulator.")
    return factor if factor < 1e300 else 1.0
