# SPDX-License-Identifier: Apache-2.0
"""Golden function of hw/parity.py: rows with a parity bit for each eight bits, and whether one has been damaged."""

from __future__ import annotations

from collections.abc import Sequence

GROUP = 8


def with_parity(row: int, width: int) -> int:
    """A row of `width` bits with its parity bits above it: bit width + i makes group i even."""
    assert 0 <= row < 1 << width
    groups = range(0, width, GROUP)
    return row | sum(((row >> at & 0xFF).bit_count() & 1) << width + i for i, at in enumerate(groups))


def parity(rows: Sequence[tuple[int, bool]], width: int) -> list[bool]:
    """For every (row as the memory gives it, whether it counts): whether a group of it is odd."""
    mask = (1 << width) - 1
    return [valid and with_parity(row & mask, width) != row for row, valid in rows]
