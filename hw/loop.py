# SPDX-License-Identifier: Apache-2.0
"""Nested loops at full clock rate: each knows from a register whether this turn is its first or its last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value


@dataclass(frozen=True)
class Loop:
    """Registers: this is the loop's first turn, this is its last."""

    first: Signal
    last: Signal


def add_loop(m: Module, name: str, *, limit: Any, advance: Any, restart: Any) -> Loop:
    """A loop of `limit` + 1 turns, over and over; `restart` begins anew, with the limit of then.

    Comparing a counter with its limit, for six nested loops in one cycle, was the critical path; a counter that runs
    down and looks one turn ahead leaves an AND of registers.
    """
    limit = Value.cast(limit)
    left = Signal(len(limit), name=f"{name}_left")
    loop = Loop(Signal(init=1, name=f"{name}_first"), Signal(name=f"{name}_last"))
    with m.If(restart | advance):
        m.d.sync += [left.eq(left - 1), loop.last.eq(left == 1), loop.first.eq(0)]
        with m.If(restart | loop.last):
            m.d.sync += [left.eq(limit), loop.last.eq(limit == 0), loop.first.eq(1)]
    return loop
