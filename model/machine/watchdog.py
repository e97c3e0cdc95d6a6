# SPDX-License-Identifier: Apache-2.0
"""Golden function of the watchdog in hw/engine/faults.py."""

from __future__ import annotations

from collections.abc import Sequence


def watchdog(rows: Sequence[tuple[bool, bool, bool, bool]], cycles: int) -> list[bool]:
    """Whether it is `stuck` in each cycle, given (enable, begins, ends, waits) of each."""
    found, stuck, age = [], False, 0
    for enable, begins, ends, waits in rows:
        found.append(stuck)
        age = 1 if begins else age + 1  # of the stretch, this cycle included
        if ends or waits or not enable:
            age = 0
        stuck = enable and (stuck or age >= cycles)
    return found
