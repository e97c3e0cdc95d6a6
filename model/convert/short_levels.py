# SPDX-License-Identifier: Apache-2.0
"""Short levels: the few integers that the values of a tensor may have, chosen so that each takes one event, or two.

A lane adds an odd multiple 1, 3 or 5 of a weight, shifted, in one event, so 1 2 3 4 5 6 8 10 12 16 20 .. take one each
and other levels two (`codes.py`). A code of four bits names 16 levels, whichever they are: fine where most values lie,
coarse above, and none next to 0, where a value is worth little and costs as much as any other. Eight bits name 31.

Levels, steps and thresholds minimise together, over the calibration images,

    squared error / mean square of a value  +  price * events                                               per value

Levels by dynamic programming over the candidates, the step of every channel by trying many, thresholds where the two
levels beside them cost the same: the midpoint, moved towards the level of more events. A few rounds settle it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import OneSpikeError
from ..network.codes import MOST_NUMBERS, MULTIPLES, level_terms
from ..network.levels import MOST_LEVELS

LARGEST = 64  # level by default: each doubling takes a bit of the accumulator
MOST_FRACTION = 8
STEPS = 96  # that are tried for every channel
NARROWEST = 1 / 64  # of the values' range, what a clip level may be
RESOLUTION = 16  # places per level unit of the values that levels are chosen on
ROUNDS = 3


class ShortLevels(NamedTuple):
    """levels: rising integers, the first 0. thresholds: rising integers in units of 2**-fraction of a level; a value
    has the index of how many of them it reaches. step: the real value of level 1, float64 [channels].
    """

    levels: tuple[int, ...]
    thresholds: tuple[int, ...]
    fraction: int
    step: np.ndarray


def events_of(level: int) -> int:
    """Events that a value of this level takes: 0, 1 or 2; 3 stands for more."""
    found = level_terms(level, MULTIPLES[-1])
    return 3 if found is None else len(found)


def candidates(largest: int = LARGEST, events: int = 1) -> tuple[int, ...]:
    """All levels from 1 to `largest` of at most so many events."""
    return tuple(level for level in range(1, largest + 1) if events_of(level) <= events)


def thresholds(levels: Sequence[int], fraction: int = 2, price: float = 0.0) -> tuple[int, ...]:
    """Where the next level begins, in units of 2**-fraction; price: of an event, in squared level units."""
    return tuple(np.ceil(np.ldexp(_borders(np.array(levels, float), price), fraction) - 1e-9).astype(int).tolist())


def choose(
    histogram: np.ndarray,
    tops: np.ndarray,
    *,
    codes: int = 16,
    allowed: Sequence[int] | None = None,
    levels: Sequence[int] | None = None,
    price: float = 0.0,
    fraction: int = 2,
    ceiling: float | None = None,
) -> ShortLevels:
    """Levels, thresholds and the channels' steps for real activations.

    histogram: of values above 0, float64 [channels, bins], each channel's from 0 to its top; tops: float64 [channels].
    codes: how many levels, 0 included. allowed: levels to choose from (default: `candidates()`). levels: these, 0 first
    or left out, instead of a choice, up to MOST_NUMBERS. price: what an event may cost of the mean square of a value.
    ceiling: of the activation, which no clip level exceeds. Raises OneSpikeError for levels that no code can hold.
    """
    if histogram.ndim != 2 or len(histogram) != len(tops) or not np.isfinite(histogram).all() or histogram.min() < 0:
        raise OneSpikeError(f"A histogram must be counts [channels, bins] of {len(tops)} channels.")
    if not price >= 0 or not math.isfinite(price):
        raise OneSpikeError(f"The price of an event must be a finite number of at least 0, not {price}.")
    for name, number, low, high in (("codes", codes, 2, MOST_LEVELS), ("fraction", fraction, 0, MOST_FRACTION)):
        if number != int(number) or not low <= number <= high:
            raise OneSpikeError(f"{name} must lie in {low}..{high}, not {number!r}.")
    given = None if levels is None else _checked(levels, MOST_NUMBERS)
    pool = _checked(candidates() if allowed is None else allowed, None)
    histogram = np.asarray(histogram, np.float64)
    squares = ((np.arange(histogram.shape[1]) + 0.5) / histogram.shape[1]) ** 2 @ histogram.T * tops**2
    worth = price * squares.sum() / max(histogram.sum(), 1)  # of one event, as a squared real value
    chosen = given or _spread(pool, codes)
    step = _steps(histogram, tops, chosen, worth, 0.0, ceiling)
    for _ in range(1 if given and not price else ROUNDS):
        if given is None:
            chosen = _levels(histogram, tops, step, pool, codes, worth)
        step = _steps(histogram, tops, chosen, worth, _relative(worth, step, histogram), ceiling)
    moved = thresholds((0, *chosen), fraction, _relative(worth, step, histogram))
    return ShortLevels((0, *chosen), moved, fraction, step)


def _checked(levels: Sequence[int], codes: int | None) -> tuple[int, ...]:
    """Levels above 0, where they can be a table's."""
    given = np.array([*levels], float)
    given = given[1:] if given.size and given[0] == 0 else given
    if not given.size or (given != np.rint(given)).any() or (np.diff(given, prepend=0) <= 0).any():
        raise OneSpikeError(f"Levels must be whole numbers that rise from 0, not {', '.join(map(str, levels))}.")
    found = tuple(int(level) for level in given)
    if codes is not None and len(found) >= codes:
        raise OneSpikeError(f"{len(found)} levels beside 0 do not fit a table of {codes} codes.")
    if costly := [level for level in found if events_of(level) > 2]:
        raise OneSpikeError(f"The level {costly[0]} takes more than the two events that a code may have; leave it out.")
    return found


def _spread(pool: tuple[int, ...], codes: int) -> tuple[int, ...]:
    """At most codes - 1 levels of the pool, evenly from the smallest to the largest."""
    if len(pool) < codes:
        return pool
    return tuple(pool[index] for index in np.linspace(0, len(pool) - 1, codes - 1).round().astype(int))


def _borders(levels: np.ndarray, price: float) -> np.ndarray:
    """Values at which two neighbouring levels cost the same, error and events: midpoints, moved by the price.

    By a quarter of their distance at most, so that no level between two others is lost; a 0 may reach up to level 1.
    """
    low, high = levels[:-1], levels[1:]
    more = np.diff([events_of(int(level)) for level in levels])
    most = np.where(low > 0, 0.25, 0.5) * (high - low)
    return (low + high) / 2 + np.clip(price * more / (2 * (high - low)), -most, most)


def _relative(worth: float, step: np.ndarray, histogram: np.ndarray) -> float:
    """What an event is worth in squared level units, on the mean over all values."""
    return worth * histogram.sum() / max(float(histogram.sum(1) @ step**2), 1e-300)


def _steps(
    histogram: np.ndarray,
    tops: np.ndarray,
    chosen: tuple[int, ...],
    worth: float,
    relative: float,
    ceiling: float | None,
) -> np.ndarray:
    """The step of every channel [channels] with the least cost, where the levels are given."""
    levels = np.array((0, *chosen), float)
    borders, events = _borders(levels, relative), np.array([events_of(int(level)) for level in levels], float)
    centres = (np.arange(histogram.shape[1]) + 0.5) / histogram.shape[1]
    tried = np.geomspace(NARROWEST, 1, STEPS) / levels[-1]  # of a channel's top
    index = np.searchsorted(borders, centres / tried[:, None], side="right")
    errors = ((centres - levels[index] * tried[:, None]) ** 2) @ histogram.T * tops**2
    found = tried[(errors + worth * (events[index] @ histogram.T)).argmin(0)] * tops
    found = np.maximum(found, found.max() * NARROWEST)
    return found if ceiling is None else np.minimum(found, ceiling / levels[-1])


def _levels(
    histogram: np.ndarray, tops: np.ndarray, step: np.ndarray, pool: tuple[int, ...], codes: int, worth: float
) -> tuple[int, ...]:
    """The codes - 1 levels of the pool with the least cost over all channels, where the steps are given."""
    if len(pool) < codes:
        return pool
    levels = np.array((0, *pool), float)
    values = (np.arange(histogram.shape[1]) + 0.5) / histogram.shape[1] * (tops / step)[:, None]
    weights = histogram * (step**2)[:, None]
    place = np.minimum((values * RESOLUTION).astype(int), pool[-1] * RESOLUTION).ravel()

    def below(numbers: np.ndarray) -> np.ndarray:
        """Sums over the values below every place."""
        return np.concatenate([[0.0], np.cumsum(np.bincount(place, numbers.ravel(), pool[-1] * RESOLUTION + 1))])

    moments = [below(weights), below(weights * values), below(weights * values**2), below(histogram * worth)]
    events = np.array([events_of(int(level)) for level in levels], float)
    relative = _relative(worth, step, histogram)

    def cost(start: np.ndarray, end: np.ndarray, at: int | np.ndarray) -> np.ndarray:
        """Of the values from one place to another on the level of this index."""
        number, first, second, events_worth = (sums[end] - sums[start] for sums in moments)
        level = levels[at]
        return second - 2 * level * first + level**2 * number + events[at] * events_worth

    ends = (levels * RESOLUTION).astype(int)
    count = len(levels)
    between = np.full((count, count), np.inf)
    for low in range(count - 1):
        high = np.arange(low + 1, count)
        border = [_borders(levels[np.array([low, other])], relative)[0] for other in high.tolist()]
        border = np.ceil(np.array(border) * RESOLUTION).astype(int)
        between[low, high] = cost(ends[low], border, low) + cost(border, ends[high], high)
    rest = cost(ends, np.full(count, len(moments[0]) - 1), np.arange(count))
    best, back = between[0].copy(), []
    for _ in range(codes - 2):
        sums = best[:, None] + between
        back.append(sums.argmin(0))
        best = sums.min(0)
    last = int((best + rest).argmin())
    found = [last]
    for before in reversed(back):
        found.append(int(before[found[-1]]))
    return tuple(int(levels[index]) for index in reversed(found))
