# SPDX-License-Identifier: Apache-2.0
"""Bit time: what a measurement of the cycles in a bit of a serial line gives."""

from __future__ import annotations

from ...hw.fronts.bit_time import BITS


def bit_time(clock_hz: float, reference_hz: float, window: int) -> tuple[int, int]:
    """The least and the most that it may show: edges are seen up to a cycle early or late.

    Golden function of :class:`onespike.hw.fronts.bit_time.BitTime`.
    """
    cycles = window * clock_hz / reference_hz
    return (int(cycles - 1) + BITS // 2) // BITS, (int(cycles + 2) + BITS // 2) // BITS
