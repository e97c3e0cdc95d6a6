# SPDX-License-Identifier: Apache-2.0
"""Queue: a first-in first-out queue in LUT RAM that knows from registers whether it is full or empty."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """Entries leave in the order in which they came.

    Both sides look at a register, never at the other side: no level is counted, and nothing that reads or writes waits
    for logic that compares one.

    Latency: one cycle from the write to the read. Throughput: one entry a cycle. Back-pressure: `w_rdy` is low while
    `depth` entries wait, also in the cycle in which one of them leaves.

    Parameters
    ----------
    width : bits of an entry.
    depth : most entries that wait.

    Members
    -------
    w_en, w_data, w_rdy : In, In, Out write side; w_en counts while w_rdy.
    r_en, r_data, r_rdy : In, Out, Out read side; r_en counts while r_rdy.
    """

    def __init__(self, *, width: int, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "w_en": In(1),
                "w_data": In(width),
                "w_rdy": Out(1, init=1),
                "r_en": In(1),
                "r_data": Out(width),
                "r_rdy": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.storage = storage = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        produce, consume = Signal(range(self.depth)), Signal(range(self.depth))
        writes, reads = Signal(), Signal()
        m.d.comb += [
            writes.eq(self.w_en & self.w_rdy),
            reads.eq(self.r_en & self.r_rdy),
            write.addr.eq(produce),
            write.data.eq(self.w_data),
            write.en.eq(writes),
            read.addr.eq(consume),
            self.r_data.eq(read.data),
        ]

        def after(place: Signal) -> Value:
            wraps = self.depth & (self.depth - 1)
            return Mux(place == self.depth - 1, 0, place + 1) if wraps else (place + 1)[: len(place)]

        fills = after(produce) == consume  # one more entry, and it is full
        drains = after(consume) == produce  # one less, and it is empty
        m.d.sync += [
            self.w_rdy.eq(reads | (self.w_rdy & ~(writes & fills))),
            self.r_rdy.eq(writes | (self.r_rdy & ~(reads & drains))),
        ]
        with m.If(writes):
            m.d.sync += produce.eq(after(produce))
        with m.If(reads):
            m.d.sync += consume.eq(after(consume))
        return m
