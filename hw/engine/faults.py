# SPDX-License-Identifier: Apache-2.0
"""Faults: what an engine notes of itself, and the watchdog that gives a stuck layer up."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .load import TARGETS

FAULTS = (*TARGETS, "spikes", "watchdog")
"""Bits of an engine's `faults`: the kinds of memories in which a parity was wrong, and a layer that was given up."""
WATCHDOG = FAULTS.index("watchdog")


class Watchdog(wiring.Component):
    """Notices that nothing has gone on for too long.

    A stretch of cycles begins with a layer, or behind one, and ends with the next of these steps; cycles in which the
    engine waits for somebody else do not count, and begin the stretch anew. `stuck` rises after the `cycles`-th cycle
    of a stretch that does not end in it, and stands until `enable` falls: so a layer may take `cycles` cycles by its
    counter, and not one more. Cycles since the last step, and not steps in a layer, since a program that has changed
    may make jobs for hours; a layer's cycles have a bound (`onespike.model.cost.bound`), and nothing outside holds a
    layer up that has begun.

    Latency: one cycle. No back-pressure.

    Golden function: `onespike.model.machine.watchdog.watchdog`.

    Parameters
    ----------
    cycles : of the longest stretch, at least 2.

    Members
    -------
    enable : In(1) while low, everything starts over.
    begins, ends : In(1) a layer's first cycle, its last.
    waits : In(1) what comes next is up to the host or to external memory.
    stuck : Out(1) a stretch was too long.
    """

    def __init__(self, cycles: int):
        self.cycles = cycles
        super().__init__({"enable": In(1), "begins": In(1), "ends": In(1), "waits": In(1), "stuck": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        left = Signal(range(self.cycles), init=self.cycles - 1)  # cycles that may follow the present one
        m.d.sync += left.eq(left - 1)
        with m.If(self.begins):
            m.d.sync += left.eq(self.cycles - 2)
        with m.Elif(left == 0):
            m.d.sync += [self.stuck.eq(self.stuck | ~(self.ends | self.waits)), left.eq(0)]
        with m.If(self.ends | self.waits | ~self.enable):
            m.d.sync += left.eq(self.cycles - 1)
        with m.If(~self.enable):
            m.d.sync += self.stuck.eq(0)
        return m
