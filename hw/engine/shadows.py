# SPDX-License-Identifier: Apache-2.0
"""Shadows: where the finished sums of a bank wait for the drain, one set of registers behind another."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Shadows(wiring.Component):
    """Moves sets along a row: captured into the first, drained from the last, each as far as it is free.

    moves[k]: set k + 1 is written from set k, one cycle later; set k may be written again in that same cycle.

    Latency: from `captured` to `full`, sets cycles; from `taken` to the next `full`, two. Throughput: one set a cycle.
    Back-pressure: none; whoever captures knows that there is room (the bank counts what has been released).

    Golden function: `onespike.model.machine.shadows.shadows`.

    Parameters
    ----------
    sets : sets in the row, two or more.

    Members
    -------
    captured : In(1) the first set is written at the end of this cycle.
    taken : In(1) the last set is read for the last time.
    moves : Out(sets - 1) each set but the last goes on.
    full : Out(1) the last set may be read.
    """

    def __init__(self, sets: int):
        self.sets = sets
        super().__init__({"captured": In(1), "taken": In(1), "moves": Out(sets - 1), "full": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        waits = [Signal(name=f"waits{k}") for k in range(self.sets)]
        leaves = self.taken
        m.d.sync += self.full.eq(Mux(leaves, 0, waits[-1]))
        for k in reversed(range(self.sets - 1)):
            there = waits[k] | self.captured if k == 0 else waits[k]
            move = self.moves[k]
            m.d.comb += move.eq(there & (~waits[k + 1] | leaves))
            m.d.sync += waits[k + 1].eq(move | (waits[k + 1] & ~leaves))
            leaves = move
        m.d.sync += waits[0].eq((waits[0] | self.captured) & ~leaves)
        return m
