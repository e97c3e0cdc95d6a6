# SPDX-License-Identifier: Apache-2.0
"""Walk and sequencer never stand still for a reason of their own: only for banks, images, logits and weights."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal

from mutant import mistakes, mutant, slow_but_first
from onespike.hw.engine.sequencer import Sequencer
from onespike.hw.engine.tables import Tables
from onespike.hw.engine.walk import DISPATCH_DEPTH, UNCOUNTED, Walk
from onespike.hw.program import header_words, layer_words
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property
from small_engine import SMALLEST, SMALLEST_STREAMED


class WalkMoves(Property):
    """The walk moves in one of three cycles, whatever the record says, unless it waits for others; no command is lost.

    It waits for a bank of the group whose command is next, for its layer to begin, or for a record.
    """

    STILL = 3

    def check(self, m: Module, inside: Inside) -> None:
        walk, valid, of_now = self.dut, inside["valid"], inside["of_now"]
        head, offered, live = inside["head"], inside["offered"], inside["live"]
        queue = inside.part("dispatch")
        still, level = Signal(range(self.STILL + 2)), Signal(range(DISPATCH_DEPTH + 2))
        leaves = queue.component.r_en & queue.component.r_rdy
        m.d.sync += level.eq(level + queue.component.w_en - leaves)
        moves = walk.taken | inside["restart"] | inside["issue"] | Cat(valid).any() | leaves | walk.begin
        moves = moves | inside["starts"]
        idle = ~walk.valid & ~inside["waits"] & ~live
        waits = (offered & (head.of == of_now) & ~inside["all_ready"]) | walk.primed | idle
        m.d.sync += still.eq(Mux(moves | waits, 0, still + (still <= self.STILL)))
        m.d.comb += [
            Assume(~walk.begin | (walk.primed & inside["waits"])),
            Assert(still < self.STILL),
            Assert(~queue.component.w_en | queue.component.w_rdy),
        ]
        if self.rules_alone:
            return
        # How many commands are behind the first stage, and where.
        produce, consume, count = queue["produce"], queue["consume"], inside["count"]
        total = Signal(8)
        m.d.comb += [
            total.eq(sum(valid[:3], Const(0)) + count),
            Assert(level <= DISPATCH_DEPTH),
            Assert(queue.component.w_rdy == (level != DISPATCH_DEPTH)),
            Assert(queue.component.r_rdy == (level != 0)),
            Assert((produce - consume)[: len(produce)] == level[: len(produce)]),
            Assert(count == level + sum(valid[3:], Const(0))),
            Assert(total <= DISPATCH_DEPTH),
            Assert(~inside["go"] | (count <= DISPATCH_DEPTH - UNCOUNTED + 1)),
        ]
        # A layer that has not begun has a command that waits, the newest of all; the loops have not ended before one.
        of_plan, restart, issued = inside["of_plan"], inside["restart"], Signal()
        m.d.sync += issued.eq((issued | inside["issue"]) & ~walk.taken & ~restart)
        newest = Mux(level != 0, queue.memory("storage", (produce - 1)[: len(produce)])[0], head.of)
        begins = [inside["place_ended"], inside["step"], inside["step_row"], inside["step_pixel"]]
        m.d.comb += [
            *(Assert(~on | (tag.of == of_plan)) for on, tag in zip(valid, inside["tags"], strict=True)),
            Assert(inside["waits"] == (of_plan ^ of_now)),
            Assert(~issued | ~inside["waits"] | Cat(valid).any() | ((newest == of_plan) & ((level != 0) | offered))),
            Assert(~inside["waits"] | live | restart | issued),
            Assert(~live | ~restart),
            Assert(~begins[0] | valid[0]),
            Assert(~begins[1] | valid[1]),
            Assert((~begins[2] | begins[1]) & (~begins[3] | begins[2])),
            Assert(~(restart | walk.taken) | ~Cat(valid[:5]).any()),
            Assert(~(restart | walk.taken) | ~Cat(begins).any()),
            Assert(live | ~Cat(valid[:2], begins).any()),
        ]


def test_walk_moves():
    prove(WalkMoves(Walk(SMALLEST)), depth=5, induction=True)


@pytest.mark.parametrize(
    "right, wrong, found",
    mistakes(
        ("dispatch.r_en.eq(~offered | starts)", "dispatch.r_en.eq(starts)", "refuted"),
        ("self.primed.eq(offered & (head.of != of_now))", "self.primed.eq(offered & of_now)", "refuted"),
        ("go.eq(count <= DISPATCH_DEPTH - UNCOUNTED)", "go.eq(count < DISPATCH_DEPTH)", "induction fails"),
    ),
)
def test_walk_mistakes(right, wrong, found, tmp_path):
    walk = mutant(Walk, right, wrong, tmp_path)(SMALLEST)
    with pytest.raises(ProofError, match=found):
        prove(WalkMoves(walk, rules_alone=found == "refuted"), depth=16 if found == "refuted" else 5, induction=True)


class SequencerGoesOn(Property):
    """A record is read within so many cycles, and a layer begins in the second cycle in which nothing is missing.

    That holds from a reset on, too, whether or not `enable` is low at first.
    """

    def check(self, m: Module, inside: Inside) -> None:
        unit, config = self.dut, self.dut.config
        head, size = header_words(config), layer_words(config)
        most = head + size + 5
        walk = inside["walk"]
        ahead_ready, arriving, count = (inside[name] for name in ("ahead_ready", "arriving", "count"))
        reads, waits = Signal(range(most + 2)), Signal(2)
        m.d.sync += reads.eq(Mux(unit.enable & ~ahead_ready, reads + (reads <= most), 0))
        layer = walk.plan.layer
        may = unit.enable & walk.primed & (~inside["first"] | unit.image_available) & ~unit.busy
        may = may & (~layer.final | unit.logits_free)
        if config.streams_weights:
            may = may & unit.weights_ready
        m.d.sync += waits.eq(Mux(may & ~walk.begin, waits + (waits != 3), 0))
        m.d.comb += [Assert(reads < most), Assert(waits < 2), Assert(~unit.start | unit.busy)]
        if self.rules_alone:
            return
        m.d.comb += [
            Assert(count <= max(head, size)),
            Assert(~ahead_ready | ((count == 0) & ~arriving & unit.ready)),
            Assert(ahead_ready | (count != 0) | arriving),
            Assert(ahead_ready | unit.ready | (reads + count <= head + inside["begun"] + (count == 0))),
            Assert(ahead_ready | ~unit.ready | (reads + count <= head + size + 3 + (count == 0))),
            Assert(inside["begun"] | ((count == head) & ~arriving & ~unit.ready & ~ahead_ready & (reads == 0))),
            Assert(unit.ready | (count <= head)),
        ]


@pytest.mark.parametrize("config", slow_but_first({"on the chip": SMALLEST, "streamed": SMALLEST_STREAMED}))
def test_sequencer_goes_on(config):
    prove(SequencerGoesOn(Sequencer(config)), depth=4, induction=True)


@pytest.mark.parametrize(
    "right, wrong, found",
    mistakes(
        # An enable that is high from the reset on: the engine never began.
        ("max(size, head) + 1), init=head)", "max(size, head) + 1))", "refuted"),
        ("logits_free & ~(self.busy & ends)", "logits_free & ~ends", "induction fails"),
        # A record that is taken while it is still being read.
        ("[ahead_ready.eq(0), count.eq(size)", "[ahead_ready.eq(1), count.eq(size)", "induction fails|refuted"),
    ),
)
def test_sequencer_mistakes(right, wrong, found, tmp_path):
    unit = mutant(Sequencer, right, wrong, tmp_path)(SMALLEST)
    with pytest.raises(ProofError, match=found):
        prove(SequencerGoesOn(unit), depth=4, induction=True)


class TablesAreSent(Property):
    """`ready` rises within a few cycles more than there are rows, if `enable` stays, also from a reset on."""

    def check(self, m: Module, inside: Inside) -> None:
        tables, rows = self.dut, self.dut.config.table_rows
        waited = Signal(range(rows + 5))
        m.d.sync += waited.eq(Mux(tables.enable & ~tables.ready, waited + (waited < rows + 4), 0))
        row, reads, filled = (inside[name] for name in ("row", "reads", "filled"))
        m.d.comb += [
            Assume(~tables.start | tables.ready),
            Assert(waited < rows + 3),
            Assert(tables.ready | filled | (reads & (waited == row))),
            Assert(tables.ready | ~filled | (waited <= rows + 1)),
            Assert(tables.ready | ~filled | ~reads),
            Assert(tables.ready | ~filled | ~inside["read"] | (waited <= rows)),
        ]


TABLED = dataclasses.replace(SMALLEST, tables=1, max_code=255)


def test_tables_are_sent():
    prove(TablesAreSent(Tables(TABLED)), depth=3, induction=True)


def test_tables_that_are_not_sent(tmp_path):
    made = mutant(Tables, "Signal(init=1), Signal()", "Signal(), Signal()", tmp_path)
    with pytest.raises(ProofError, match="refuted"):
        prove(TablesAreSent(made(TABLED)), depth=3)
