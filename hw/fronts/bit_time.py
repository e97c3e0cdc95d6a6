# SPDX-License-Identifier: Apache-2.0
"""Bit time: how many cycles a bit of a serial line takes, whatever the clock's frequency."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out

from ...model.errors import OneSpikeError

BITS = 16  # that a measurement lasts
BIT_TIME_BITS = 16


def bit_time_window(reference_hz: float, baud: int) -> int:
    """Cycles of the reference clock in BITS bits; OneSpikeError where it is too slow for the baud rate."""
    window = round(BITS * reference_hz / baud)
    if window < 2 * BITS or abs(BITS * reference_hz / window / baud - 1) > 0.02:
        raise OneSpikeError(
            f"An oscillator of {reference_hz / 1e6:g} MHz cannot time {baud} baud within 2 %; choose a baud rate of at "
            f"most {reference_hz / 2:.0f}."
        )
    return window


class BitTime(wiring.Component):
    """Counts its own cycles during BITS bits, which a clock of known frequency times: domain `reference`.

    So a UART keeps its baud rate when the PLL in front of its clock is set anew, with nothing else changed.

    Latency: two measurements, then the result follows the clock.

    Golden function: `onespike.model.machine.bit_time.bit_time`.

    Parameters
    ----------
    window : cycles of the reference in BITS bits, see `bit_time_window`.

    Members
    -------
    cycles : Out(16) cycles in one bit, rounded; before the first measurement, as many as can be.
    """

    def __init__(self, window: int):
        self.window = window
        super().__init__({"cycles": Out(BIT_TIME_BITS, init=(1 << BIT_TIME_BITS) - 1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left = Signal(range(self.window), init=self.window - 1)
        phase, seen, last = Signal(), Signal(), Signal()
        m.d.reference += left.eq(left - 1)
        with m.If(left == 0):
            m.d.reference += [left.eq(self.window - 1), phase.eq(~phase)]
        m.submodules.phase = FFSynchronizer(phase, seen)
        count = Signal(BIT_TIME_BITS + (BITS - 1).bit_length())
        m.d.sync += [last.eq(seen), count.eq(count + 1)]
        with m.If(seen != last):
            m.d.sync += [self.cycles.eq((count + BITS // 2) // BITS), count.eq(1)]
        return m
