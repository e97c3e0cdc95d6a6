# SPDX-License-Identifier: Apache-2.0
"""Shadows: the finished sums of a bank wait for the drain in a row of sets."""

from collections.abc import Sequence
from typing import NamedTuple


class Cycle(NamedTuple):
    """Which sets go on, and the job whose sums the drain may read, None where there is none."""

    moves: list[bool]
    full: int | None


def shadows(sets: int, captured: Sequence[bool], taken: Sequence[bool]) -> list[Cycle]:
    """What happens in each cycle, as a row of job numbers; a set that is written may go on in the cycle of its writing.

    captured: a job's sums are written at the end of the cycle; taken: those that may be read are done with. Golden
    function of :class:`onespike.hw.engine.shadows.Shadows`.
    """
    row: list[int | None] = [None] * sets
    number, cycles = 0, list[Cycle]()
    before: int | None = None
    for captures, takes in zip(captured, taken, strict=True):
        # A set that arrived in the last place in the cycle before is being written: it is full from the next one on.
        full = row[-1] if before == row[-1] else None
        assert full is not None or not takes, "nothing to take"
        before = row[-1]
        if captures:
            assert row[0] is None, "the first set is not free"
            row[0], number = number, number + 1
        if takes:
            row[-1] = None
        moves = [False] * (sets - 1)
        for k in reversed(range(sets - 1)):
            moves[k] = row[k] is not None and row[k + 1] is None
            if moves[k]:
                row[k + 1], row[k] = row[k], None
        cycles.append(Cycle(moves, full))
    return cycles
