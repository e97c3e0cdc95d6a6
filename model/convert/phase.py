# SPDX-License-Identifier: Apache-2.0
"""Single-spike phase coding (Hwang and Kung) of a trained network: the table of its phases, and the conversion.

| base Q         | phases | levels                                            | field  | events of a value       |
|----------------|--------|---------------------------------------------------|--------|-------------------------|
| cube root of 2 | ..15   | 6, 5 and 4 times powers of two, for .794, .63, .5 | 4 bits | one                     |
| another        | ..15   | nearest to 2**8 Q**-p of those with two events    | 4 bits | one or two              |
| any            | 16..30 | as above                                          | 8 bits | as above                |
| any            | ..31   | where two such levels collide: round(2**8 Q**-p)  | 8 bits | of two signed digits    |

With silence, T phases are T + 1 values: 15 phases are what four bits hold. Thresholds lie in the middle between a phase
and the next, the first one between phase T and the T + 1 that there is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..network.codes import MOST_NUMBERS, MULTIPLES, level_terms
from ..network.levels import MOST_LEVELS, Levels
from ..network.levels import phase as phase_levels
from ..neurons.phase import values as phase_values
from . import phase_base
from .phase_base import CUBE_ROOT

if TYPE_CHECKING:
    from .converter import Conversion
    from .methods import Start

PHASES = 15
SHORTEST = 2.0  # how many times the last phase's value the first one's must be at least
THIRDS = (6, 5, 4)  # eighths: what Q**-1, Q**-2, Q**-3 of the cube root are taken for
BITS = 8  # F, behind the point of levels; with more of them the accumulator would leave weights less
FRACTION = 4  # bits behind the point of thresholds


def phase(start: Start, *, base: float | str = CUBE_ROOT, phases: int = PHASES) -> Conversion:
    """Every ReLU fires by the table of its phases; base: Q, or "auto", by its error (phase_base.py); phases: T.

    Each channel is normalised by the clip level with the least squared error under this table rather than by its
    maximum, which one outlier moves. Sums without a ReLU that the importer keeps stay signed counts. Raises
    OneSpikeError for a base, phases or a network that cannot be.
    """
    require_relu(start.graph)
    if base == "auto":
        bases = usable(phases)
        if start.images is None:
            raise OneSpikeError("base='auto' needs calibration images; give a few hundred of the training data.")
        base = phase_base.choose(phase_base.activations(start.graph, start.images), phases, bases)
    table = table_of(base, phases)
    return dataclasses.replace(start.build(levels=table), settings={"base": float(base), "phases": int(phases)})


def usable(phases: Any) -> list[float]:
    """The bases that `auto` chooses from: those that have a table of so many phases."""
    found = []
    for base in (*phase_base.BASES, CUBE_ROOT):
        with contextlib.suppress(OneSpikeError):
            table_of(base, phases)
            found.append(base)
    if not found:
        table_of(CUBE_ROOT, phases)  # says why
    return found


def table_of(base: Any, phases: Any) -> Levels:
    """The table of T phases of base Q; OneSpikeError where it cannot be."""
    number = isinstance(base, int | float | np.integer | np.floating) and not isinstance(base, bool)
    if not number or not 1 < base <= 2:
        auto = "" if number else ", or be 'auto'"
        raise OneSpikeError(f"The base of phase coding must lie above 1 and up to 2{auto}, not {base!r}.")
    if isinstance(phases, bool) or not isinstance(phases, int | np.integer) or not 2 <= phases < MOST_LEVELS:
        raise OneSpikeError(
            f"The phases of phase coding must be a whole number in 2..{MOST_LEVELS - 1}, not {phases!r}."
        )
    base, phases = float(base), int(phases)
    if base ** (phases - 1) < SHORTEST:
        least = math.ceil(math.log(SHORTEST) / math.log(base)) + 1
        wider = math.ceil(100 * SHORTEST ** (1 / (phases - 1))) / 100
        hint = f"give at least {least}, or" if least < MOST_LEVELS else "give"
        raise OneSpikeError(
            f"{phases} phases are too few for the base {base:.6g}: the largest value is only "
            f"{base ** (phases - 1):.2f} times the least; {hint} a base of {wider:.2f} or more."
        )
    if math.isclose(base, CUBE_ROOT, rel_tol=1e-6) and (table := _thirds(phases)) is not None:
        return table
    if collide(base, phases):
        most = next(number for number in range(phases - 1, 0, -1) if not collide(base, number))
        wide = next((other / 100 for other in range(int(base * 100), 100, -1) if not collide(other / 100, phases)), 0)
        raise OneSpikeError(
            f"{phases} phases of base {base:.6g} have no different levels in {BITS} bits: values of the "
            f"last phases collide; give at most {most} phases{f', or a base of at most {wide:.2f}' if wide else ''}."
        )
    exact = phase_levels(base, phases, BITS, FRACTION)
    levels = [_two_events(level) for level in exact.levels]
    if len(levels) > MOST_NUMBERS or any(a >= b for a, b in itertools.pairwise(levels)):
        return exact
    return Levels(tuple(levels), exact.thresholds, FRACTION)


def collide(base: float, phases: int) -> bool:
    """Whether two phases would have one integer level, or one that is 0."""
    levels = phase_values(base, phases, BITS)
    return bool((levels[:-1] <= levels[1:]).any() or levels[-1] < 1)


def require_relu(graph: Graph) -> None:
    """OneSpikeError unless some node has a ReLU to code, and none an activation that a single phase cannot say."""
    open_ = [node for node in graph.nodes if node.fires and not node.exact and node.staircase is None]
    for node in open_:
        if node.curve is not None:
            raise OneSpikeError(
                f"Layer {node.name!r}: phase coding has one spike for values above 0, so it needs a ReLU where this "
                f"network has another activation; use method='psg', or train it with ReLU."
            )
    if not any(not node.signed for node in open_):
        raise OneSpikeError(
            "Phase coding needs a ReLU, and no layer of this network has one whose steps are not given; use "
            "method='psg'."
        )


def _thirds(phases: int) -> Levels | None:
    """The table of the cube root: levels of one event each, thresholds in the middle; None where 8 bits are too few."""
    worth = [THIRDS[(p - 1) % 3] / 2 ** (3 + (p - 1) // 3) for p in range(phases + 1, 0, -1)]
    bits = next(n for n in range(32) if all((2**n * value).is_integer() for value in worth[1:]))
    middles = [(a + b) * 2**bits / 2 for a, b in itertools.pairwise(worth)]
    fraction = next(n for n in range(32) if all((2**n * middle).is_integer() for middle in middles))
    levels = (0, *(int(2**bits * value) for value in worth[1:]))
    if levels[-1] >= 2**BITS:
        return None
    return Levels(levels, tuple(int(2**fraction * middle) for middle in middles), fraction)


def _two_events(level: int) -> int:
    """The nearest level that has no more than two events with the multiples 1, 3 and 5."""
    for distance in range(level + 1):
        for near in (level - distance, level + distance):
            if level_terms(near, MULTIPLES[-1]) is not None:
                return near
    raise AssertionError("0 has no events")
