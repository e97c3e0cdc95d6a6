# SPDX-License-Identifier: Apache-2.0
"""Parity: a bit for each eight bits of a memory's row, and the unit that looks at them when the row is read."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

GROUP = 8
"""Data bits that share a parity bit: block RAMs of most parts have a ninth bit for each byte."""


def parity_bits(width: int) -> int:
    """Parity bits of a row of `width` bits; the last group may be shorter."""
    return -(-width // GROUP)


def with_parity(value: Value) -> Value:
    """A row as a memory holds it: its parity bits, which make every group even, lie above it.

    Golden function: `onespike.model.machine.parity.with_parity`.
    """
    return Cat(value, *(value[at : at + GROUP].xor() for at in range(0, len(value), GROUP)))


class Parity(wiring.Component):
    """Says whether a group of a row that has been read is odd: one bit of it, or three .., has changed in the memory.

    Latency: two cycles, the groups of a wide row are far apart. Throughput: a row a cycle. No back-pressure.

    Golden function: `onespike.model.machine.parity.parity`.

    Parameters
    ----------
    width : bits of a row, without its parity bits.

    Members
    -------
    row, valid : In a row as the memory gives it, and whether it is one that has been asked for.
    fault : Out(1) a group of it is odd.
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({"row": In(width + parity_bits(width)), "valid": In(1), "fault": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        groups = range(parity_bits(self.width))
        odd, read = Signal(len(groups), reset_less=True), Signal()
        m.d.sync += [
            odd.eq(Cat(self.row[: self.width][GROUP * i :][:GROUP].xor() ^ self.row[self.width + i] for i in groups)),
            read.eq(self.valid),
            self.fault.eq(read & odd.any()),
        ]
        return m
