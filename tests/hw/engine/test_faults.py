# SPDX-License-Identifier: Apache-2.0
"""The watchdog as a function."""

import random

import pytest

from onespike.hw.engine.faults import Watchdog
from onespike.model.machine.watchdog import watchdog
from onespike.sim.stream import run_pipeline

NAMES = ("enable", "begins", "ends", "waits")


def rtl(rows: list[tuple[bool, ...]], cycles: int) -> list[bool]:
    found = run_pipeline(
        Watchdog(cycles), {name: [int(row[i]) for row in rows] for i, name in enumerate(NAMES)}, ["stuck"]
    )
    return [bool(stuck) for stuck in found["stuck"]]


@pytest.mark.parametrize("length", [9, 10, 11])
@pytest.mark.parametrize("gap", [0, 1, 9, 10, 11])
def test_a_layer_may_take_so_many_cycles(length: int, gap: int) -> None:
    """Of ten cycles; so may the pause before it. What waits for others may take any time."""
    waiting = [(True, False, False, True)] * 30
    pause = [(True, False, False, False)] * gap
    layer = [(True, i == 0, i == length - 1, False) for i in range(length)]
    rows = waiting + pause + layer + waiting
    found = rtl(rows, 10)
    assert found == watchdog(rows, 10)
    begin = 30 if gap >= 10 else 30 + gap  # of the stretch that is too long, if one is
    assert found == [max(gap, length) >= 10 + (gap < 10) and cycle >= begin + 10 for cycle in range(len(rows))]


@pytest.mark.parametrize("seed", range(6))
def test_random_steps(seed: int) -> None:
    rng = random.Random(seed)
    cycles = rng.choice([2, 3, 7, 16])
    rows = [tuple(rng.random() < share for share in (0.97, 0.1, 0.1, 0.06)) for _ in range(1500)]
    found = rtl(rows, cycles)
    assert found == watchdog(rows, cycles) and len(set(found)) == 2
