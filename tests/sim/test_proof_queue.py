# SPDX-License-Identifier: Apache-2.0
"""Queue: order, no loss, its capacity and its first word, for every sequence of reads and writes."""

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Module, Mux, Signal

from mutant import mistakes, mutant
from onespike.hw.queue import Queue
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property


class InOrder(Property):
    """Any one entry is followed: it leaves as it came, when those before it have left, and is offered at once.

    ready to write: fewer than `depth` entries wait; ready to read: one does, from the cycle after its write on.
    """

    def check(self, m: Module, inside: Inside) -> None:
        queue, depth = self.dut, self.dut.depth
        writes, reads = queue.w_en & queue.w_rdy, queue.r_en & queue.r_rdy
        waits = Signal(range(depth + 1))
        followed, ahead = Signal(), Signal(range(depth + 1))  # one entry, and those that leave before it
        entry = Signal(queue.width)
        m.d.sync += waits.eq(waits + writes - reads)
        with m.If(followed & reads):
            m.d.sync += [ahead.eq(ahead - 1), followed.eq(ahead != 0)]
        with m.If(~followed & writes & AnySeq(1)):
            m.d.sync += [followed.eq(1), ahead.eq(waits - reads), entry.eq(queue.w_data)]
        m.d.comb += [
            Assert(queue.w_rdy == (waits != depth)),
            Assert(queue.r_rdy == (waits != 0)),
            Assert(~followed | (ahead < waits)),
            Assert(~(followed & (ahead == 0)) | (queue.r_data == entry)),
        ]
        if self.rules_alone:
            return
        # Where the entries lie.
        produce, consume = inside["produce"], inside["consume"]

        def wrapped(place):
            return Mux(place >= depth, place - depth, place)

        place = wrapped(consume + ahead)[: len(consume)]
        m.d.comb += [
            Assert((produce < depth) & (consume < depth) & (waits <= depth)),
            Assert(wrapped(consume + waits) == produce),
            Assert(~followed | (inside.memory("storage", place) == entry)),
        ]


@pytest.mark.parametrize("width, depth", [(3, 1), (3, 2), (33, 7), (8, 16)])
def test_order_and_capacity(width, depth):
    prove(InOrder(Queue(width=width, depth=depth)), depth=3, induction=True)


@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("writes.eq(self.w_en & self.w_rdy)", "writes.eq(self.w_en)"),
        ("reads | (self.w_rdy & ~(writes & fills))", "reads | (self.w_rdy & ~fills)"),
        ("writes | (self.r_rdy & ~(reads & drains))", "self.r_rdy & ~(reads & drains) | writes & ~reads"),
        ("wraps = self.depth & (self.depth - 1)", "wraps = 0"),
    ),
)
def test_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match="refuted"):
        prove(InOrder(mutant(Queue, right, wrong, tmp_path)(width=3, depth=3), rules_alone=True), depth=10)
