# SPDX-License-Identifier: Apache-2.0
"""Jobs that are captured where there is room, and taken where they may be read."""

import random

from onespike.model.machine.shadows import shadows


def shadow_case(
    sets: int, rng: random.Random, cycles: int, captures: float, takes: float, quiet: int = 0
) -> tuple[list[bool], list[bool]]:
    """(captured, taken) of every cycle; nothing is captured in the first `quiet` ones."""
    captured: list[bool] = []
    taken: list[bool] = []
    for cycle in range(cycles):
        here = shadows(sets, [*captured, False], [*taken, False])[-1]
        takes_now = here.full is not None and rng.random() < takes
        # As the bank does it: so many are inside at most, and the one that leaves has left in a cycle before.
        captures_now = cycle >= quiet and sum(captured) - sum(taken) < sets and rng.random() < captures
        captured, taken = [*captured, captures_now], [*taken, takes_now]
    return captured, taken
