# SPDX-License-Identifier: Apache-2.0
"""Levels: a code as a table, where values are not all the counts 0, 1, 2 .. g.

A layer with levels computes v = acc >> shift and fires levels[number of thresholds <= v]. v counts in units of
2**-fraction levels, so that thresholds may lie between two levels.

| constructor | levels                                     | for                                          |
|-------------|--------------------------------------------|----------------------------------------------|
| `counts`    | low .. top                                 | the plain count, as a table                  |
| `phase`     | 0, then round(2**bits * base**-p), p = T..1 | single-spike phase coding (Hwang and Kung)   |
| `nearest`   | any                                        | short levels, LeakyReLU: rounds to nearest   |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import fields

MOST_LEVELS = 32
MOST_VALUE = 2**16 - 1
MOST_THRESHOLD = 2**20
MOST_FRACTION = 12


@dataclass(frozen=True)
class Levels:
    """A table of levels, and the thresholds between them; all integers.

    levels: strictly rising, 2..32 of them, 0 among them (its code is 0: a value without a spike). thresholds: strictly
    rising, one between each two levels, in units of 2**-fraction levels. OneSpikeError for anything else.
    """

    levels: tuple[int, ...]
    thresholds: tuple[int, ...]
    fraction: int = 0

    def __post_init__(self) -> None:
        for name in ("levels", "thresholds"):
            values = getattr(self, name)
            given = values.tolist() if hasattr(values, "tolist") else values
            if not isinstance(given, list | tuple):
                raise OneSpikeError(f"The {name} of a table must be a list of integers, not {type(given).__name__}.")
            found = tuple(fields.whole(value, f"Number {i} of the {name}", 2**62) for i, value in enumerate(given))
            object.__setattr__(self, name, found)
            for before, after in itertools.pairwise(found):
                if before >= after:
                    collide = " (two thresholds collide in integers: allow more fraction bits, or drop a level)"
                    raise OneSpikeError(
                        f"The {name} of a table must rise strictly, but {after} follows {before}"
                        f"{collide if name == 'thresholds' else ''}."
                    )
        object.__setattr__(self, "fraction", fields.whole(self.fraction, "The fraction bits of a table"))
        if not 2 <= len(self.levels) <= MOST_LEVELS:
            raise OneSpikeError(f"A table must have 2..{MOST_LEVELS} levels, not {len(self.levels)}.")
        if 0 not in self.levels:
            raise OneSpikeError(f"One level of a table must be 0, its code 0, but the nearest is {self._nearest_zero}.")
        if self.levels[-1] < 1 or max(-self.levels[0], self.levels[-1]) > MOST_VALUE:
            raise OneSpikeError(
                f"The levels of a table must reach from 0 or less up to 1..{MOST_VALUE}, not {self.low}..{self.top}."
            )
        if len(self.thresholds) != len(self.levels) - 1:
            raise OneSpikeError(
                f"A table of {len(self.levels)} levels needs {len(self.levels) - 1} thresholds, not "
                f"{len(self.thresholds)}."
            )
        if max(map(abs, self.thresholds)) > MOST_THRESHOLD or not 0 <= self.fraction <= MOST_FRACTION:
            raise OneSpikeError(
                f"Thresholds must lie in {-MOST_THRESHOLD}..{MOST_THRESHOLD} and fraction bits in 0..{MOST_FRACTION}, "
                f"not {self.thresholds[0]}..{self.thresholds[-1]} and {self.fraction}."
            )

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The level that each value v [...] fires, in the values' own type, which may be real."""
        numbers = np.searchsorted(np.array(self.thresholds, values.dtype), values, side="right")
        return np.array(self.levels, values.dtype)[numbers]

    @property
    def low(self) -> int:
        return self.levels[0]

    @property
    def top(self) -> int:
        return self.levels[-1]

    @property
    def zero(self) -> int:
        """Number of the level 0."""
        return self.levels.index(0)

    @property
    def _nearest_zero(self) -> int:
        return min(self.levels, key=abs)


def counts(low: int, top: int) -> Levels:
    """low .. top, rounded down: what clip(v, low, top) fires."""
    return Levels(tuple(range(low, top + 1)), tuple(range(low + 1, top + 1)))


def nearest(levels: Iterable[int], fraction: int = 2) -> Levels:
    """Any levels, rounded to nearest; halfway between two the larger one fires."""
    known = tuple(fields.whole(level, "A level", MOST_VALUE) for level in levels)
    # ceil of the middle: v is an integer, so v >= middle is v >= ceil(middle).
    middles = ((a + b << fraction) + 1 >> 1 for a, b in itertools.pairwise(known))
    return Levels(known, tuple(middles), fraction)


def phase(base: float, phases: int, bits: int = 8, fraction: int = 4) -> Levels:
    """Single-spike phase coding (Hwang and Kung): one spike at phase p of 1..T is worth base**-p, none is worth 0.

    The levels are round(2**bits * base**-p), the thresholds round(2**(bits + fraction) * base**-p * (base + 1) / (2
    base)), the middle between one phase and the next: the parallel form, whose priority encoder this table is.
    """
    if not 1 < base <= 2:
        raise OneSpikeError(f"The base of phase coding must lie above 1 and up to 2, not {base}.")
    places = range(fields.whole(phases, "The number of phases", MOST_LEVELS - 1), 0, -1)
    levels = [round(2**bits * base**-p) for p in places]
    if any(a >= b for a, b in zip([0, *levels], levels, strict=False)):
        raise OneSpikeError(
            f"{phases} phases of base {base} have no different levels in {bits} bits; use fewer phases, another base "
            f"or more bits."
        )
    middle = (base + 1) / (2 * base)
    return Levels((0, *levels), tuple(round(2 ** (bits + fraction) * base**-p * middle) for p in places), fraction)
