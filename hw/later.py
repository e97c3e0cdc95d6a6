# SPDX-License-Identifier: Apache-2.0
"""A value some cycles later: the registers on a long way."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value


def later(m: Module, value: Value, cycles: int, *, reset_less: bool = False) -> Value:
    """The value, so many cycles later."""
    for _ in range(cycles):
        held = Signal(len(value), name="later", reset_less=reset_less)
        m.d.sync += held.eq(value)
        value = held
    return value
