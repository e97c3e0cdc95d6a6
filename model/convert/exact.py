# SPDX-License-Identifier: Apache-2.0
"""Weights that lie on a grid of integers already: found, so that they are kept as they are.

Networks that were quantised, and weights that `refit` has rounded, are whole multiples of one unit. Rounded anew to
another grid they would be half a step off, and the choice of every single one of them lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import OneSpikeError

if TYPE_CHECKING:
    from .quantise import Arithmetic

PLACES = 28  # binary places that are looked at for exact weights
MAX_LIFT = 15  # of a source's weights and the bits of its codes together: the engine shifts by both
FLOAT32 = 2.0**-22  # of a number that was rounded to float32 twice
NOISE = 1e-6  # of one integer step: what is nearer to a whole number counts as whole
SAMPLES = 64  # weights that a grid is tried on first


class Span(NamedTuple):
    """The least and the largest code of a tensor, at most 0 and at least 0."""

    low: int
    top: int

    @property
    def most(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.top)


def most_lift(span: Span) -> int:
    """The farthest that weights on a source may be shifted, as in `spec.Source.shift`, beside its own codes.

    Values with a sign have eight bits, whatever they are.
    """
    return max(0, MAX_LIFT - (7 if span.low else span.most.bit_length() - 1))


def exact_shifts(
    real: list[np.ndarray], bias: np.ndarray, spans: list[Span], arithmetic: Arithmetic, half: bool = False
) -> tuple[np.ndarray, list[int]] | None:
    """The least k [channels] at which weights, and biases where there is room, are whole; the shift of every source.

    None where the weights are not whole at any k, or need more bits than there are. half: biases get half a count more.
    """
    if any(places(weights[0].ravel()[:SAMPLES]).max() > PLACES for weights in real):  # most weights are not whole
        return None
    least = np.max([places(weights).max((1, 2, 3)) for weights in real], axis=0)
    if least.max() > PLACES:
        return None
    whole = [np.rint(np.ldexp(weights, least[:, None, None, None])) for weights in real]
    most = 2.0 ** (arithmetic.accumulator_bits - 1) - 1
    room, wider = (most / reach_of(whole, np.ldexp(each, least), spans) for each in (bias, bias + 0.5 * half))
    room = np.where(least > 0, np.minimum(room, wider), room)  # k = 0 has no half
    lifts = []
    for weights, span in zip(whole, spans, strict=True):
        lift = 0
        while weights.max() > arithmetic.limit or weights.min() < -arithmetic.limit - 1:
            weights, lift = weights / 2, lift + 1
            if lift > most_lift(span) or (weights != np.rint(weights)).any():
                return None
        lifts.append(lift)
        room = np.minimum(room, arithmetic.limit / np.maximum(weights.max((1, 2, 3)), 1e-9))
        room = np.minimum(room, (arithmetic.limit + 1) / np.maximum(-weights.min((1, 2, 3)), 1e-9))
    if room.min() < 1:
        return None
    more = np.minimum(places(bias) - least, np.floor(np.log2(np.minimum(room, wider))))
    return (least + np.maximum(more, 0)).astype(int), lifts


def reach_of(weights: list[np.ndarray], bias: np.ndarray, spans: list[Span]) -> np.ndarray:
    """The largest magnitude of any sum [channels], partial or complete, as `SpikeNet.accumulator_range`; at least 1."""
    low = high = np.zeros(len(bias))
    for w, span in zip(weights, spans, strict=True):
        negative, positive = np.minimum(w, 0).sum((1, 2, 3)), np.maximum(w, 0).sum((1, 2, 3))
        low = low + (negative * span.top + positive * span.low)
        high = high + (positive * span.top + negative * span.low)
    return np.max([high, high + bias, -low, -low - bias, np.abs(bias), np.ones_like(bias)], axis=0)


def places(values: np.ndarray) -> np.ndarray:
    """Binary places behind the point of every number, 0 of whole ones; PLACES + 1 where they do not end there.

    What lies below a 64th of the last place is noise of floating-point arithmetic.
    """
    units = np.clip(np.ldexp(values, PLACES), -(2.0**62), 2.0**62)  # numbers above count as whole
    whole = np.rint(units).astype(np.int64)
    lowest = np.frexp(np.gcd(whole, 1 << PLACES))[1] - 1
    return np.where(np.abs(units - whole) < 1 / 64, PLACES - lowest, PLACES + 1)


def whole(weights: np.ndarray) -> np.ndarray:
    """Whether all weights of a channel are whole [channels]."""
    return (np.abs(weights - np.rint(weights)) < NOISE).all((1, 2, 3))


def common_factor(
    real: list[np.ndarray], bias: np.ndarray, spans: list[Span], lifts: list[int], arithmetic: Arithmetic
) -> float:
    """Integer units per real unit, the same for all channels of the last layer; exact where the weights allow it.

    lifts: a weight of each source counts 2**lift units.
    """
    lowered = [np.ldexp(w, -lift) for w, lift in zip(real, lifts, strict=True)]
    largest = max(float(np.abs(w).max()) for w in lowered)
    reach = sum(np.abs(w).sum((1, 2, 3)) * span.most for w, span in zip(real, spans, strict=True)) + np.abs(bias)
    taps = sum(int(np.prod(w.shape[1:])) * s.most << lift for w, s, lift in zip(real, spans, lifts, strict=True))
    room = 2.0 ** (arithmetic.accumulator_bits - 1) - taps - 1
    factor = min(arithmetic.limit / max(largest, 1e-300), room / max(float(reach.max()), 1e-300))
    exact = None if any(lifts) else exact_shifts(real, bias, spans, arithmetic)
    if exact is not None and not any(exact[1]):
        unit = 2.0 ** float(exact[0].max())
        high, low = max(w.max() for w in real) * unit, min(w.min() for w in real) * unit
        span = unit * reach_of(real, bias, spans).max()
        if -arithmetic.limit - 1 <= low and high <= arithmetic.limit and span < 2 ** (arithmetic.accumulator_bits - 1):
            return unit
    most = (2.0 ** (arithmetic.accumulator_bits - 1) - 2) / reach_of(real, bias, spans).max()
    if unit := _common_unit(lowered, largest, arithmetic.limit, most):
        return unit
    if room <= 0:
        raise OneSpikeError(f"The last layer does not fit in a {arithmetic.accumulator_bits}-bit accumulator.")
    return factor if factor < 1e300 else 1.0


def whole_unit(real: list[np.ndarray], largest: float, limit: int) -> float:
    """The most units per real unit at which all weights are whole and none is above `limit`; 0 where there is none.

    Whole to the precision of float32, in which weights and the unit may have been stored.
    """
    return _common_unit(real, largest, limit, np.inf, max(NOISE, limit * FLOAT32))


def _common_unit(real: list[np.ndarray], largest: float, limit: int, most: float, noise: float = NOISE) -> float:
    """The most units per real unit, up to `most`, at which all weights are whole and none is above `limit`; or 0."""
    if largest < 1e-290:
        return 0.0
    values = np.concatenate([w.ravel() for w in real]) / largest
    tops = np.arange(int(min(most * largest, limit)), 0, -1.0)
    for sample in np.array_split(values[:: -(-values.size // SAMPLES)], SAMPLES // 4):
        product = sample * tops[:, None]
        tops = tops[(np.abs(product - np.rint(product)) < noise).all(1)]
    for top in tops:
        if (np.abs(values * top - np.rint(values * top)) < noise).all():
            return float(top) / largest
    return 0.0
