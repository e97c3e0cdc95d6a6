# SPDX-License-Identifier: Apache-2.0
"""A bank cannot get stuck: each of its stages goes on as long as the next one does, and no end of a job is lost."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal

from mutant import mistakes, mutant, slow_but_first
from onespike.hw.engine.bank import Bank, capture_latency
from onespike.hw.engine.extract import EventExtractor, at_most_one
from onespike.hw.engine.fetch import Fetch
from onespike.hw.engine.values import ValueExtractor
from onespike.hw.later import later
from onespike.model.network.codes import PRODUCTS
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property
from small_engine import SMALLEST

WORD_EVENTS = 16  # of a word of 16 bits, at most


class FetchAdvances(Property):
    """With every cycle in which its word is not refused, a command comes nearer to its end; its end is then a word.

    So a command of r rows of n words takes r * n such cycles, and its end is offered three of them later.
    """

    def check(self, m: Module, inside: Inside) -> None:
        fetch, config = self.dut, self.dut.config
        active, command, tags, valid = (inside[name] for name in ("active", "command", "tags", "valid"))
        moves = Signal()
        words, rows = inside["words_left"].as_signed() + 2, inside["rows_left"].as_signed() + 2
        left = Signal(32)  # words to come, if every row were as long as can be
        m.d.comb += [left.eq(((rows - 1) << config.spike_addr_bits) + words)]
        m.d.comb += moves.eq(~fetch.words.valid | fetch.words.ready)
        before, advances, ended = Signal.like(left), Signal(), Signal()
        m.d.sync += [before.eq(left), advances.eq(active & moves), ended.eq(fetch.commands.ready)]
        m.d.comb += [
            Assert(~active | ((words >= 1) & (rows >= 1))),
            Assert(~advances | ended | (active & (left < before))),
            Assert(fetch.commands.ready | (active & ~(moves & (left == 1)))),
            Assert(~fetch.commands.ready | ~active | (left == 1)),
        ]
        # Every end of a job that was asked for is in one of the stages, and has not been dropped as an empty word.
        ends = Signal(4)
        takes = fetch.commands.valid & fetch.commands.ready & fetch.commands.payload.last
        gives = fetch.words.valid & fetch.words.ready & fetch.words.payload.last
        m.d.sync += ends.eq(ends + takes - gives)
        stages = [active & command.last, valid[0] & tags[0].last, valid[1] & tags[1].last]
        m.d.comb += Assert(ends == sum(stages, fetch.words.valid & tags[2].last))


FETCHES = {
    "plain": SMALLEST,
    "masks": dataclasses.replace(SMALLEST, row_masks=True),
    "dense": dataclasses.replace(SMALLEST, arithmetic="dense"),
}


@pytest.mark.parametrize("config", slow_but_first(FETCHES))
def test_fetch_advances(config):
    prove(FetchAdvances(Fetch(config)), depth=3, induction=True)


@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("offered.eq(valid[1] & (some | tags[1].last))", "offered.eq(valid[1] & some)"),
        ("(~valid[0] | self.words.ready) | (~valid[1] | ~offered)", "self.words.ready | ~offered & ~valid[1]"),
        ("rows_left.eq(Mux(fresh, begins.rows, rows_left) - 1)", "rows_left.eq(begins.rows - 1)"),
    ),
)
def test_fetch_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match="refuted"):
        prove(FetchAdvances(mutant(Fetch, right, wrong, tmp_path)(SMALLEST)), depth=9)


class ExtractAdvances(Property):
    """While no end waits, a word is taken within as many cycles as one has events; an event leaves in every third."""

    def check(self, m: Module, inside: Inside) -> None:
        extract, word = self.dut, self.dut.words.payload
        waits, quiet = Signal(range(WORD_EVENTS + 2)), Signal(2)
        held = inside["word_valid"] | inside["next_valid"] | inside["valid"]
        refused = ~extract.words.ready & ~extract.waiting
        silent = held & ~extract.valid & ~extract.waiting
        m.d.sync += [
            waits.eq(Mux(refused, waits + (waits <= WORD_EVENTS), 0)),
            quiet.eq(Mux(silent, quiet + (quiet != 3), 0)),
        ]
        m.d.comb += [
            Assume(word.single == at_most_one(word.chunks)),
            Assume(word.chunks.any() | word.last),
            Assert(waits < WORD_EVENTS),
            Assert(quiet < 3),
        ]
        # Every end of a job that came in a word leaves with an event.
        ends, current = Signal(3), inside["current"]
        takes = extract.words.valid & extract.words.ready & word.last
        m.d.sync += ends.eq(ends + takes - (extract.valid & extract.end))
        stages = [inside["word_valid"] & inside["word"].last, inside["next_valid"] & inside["next_"].last]
        last = inside["valid"] & (inside["ends"] if isinstance(extract, ValueExtractor) else current.last)
        m.d.comb += Assert(ends == sum(stages, Const(0)) + last)
        if isinstance(extract, ValueExtractor):
            m.d.comb += Assert(~inside["ends"] | inside["valid"])
        else:
            more = ~at_most_one(current.events)
            m.d.comb += Assert(inside["more"] == (inside["valid"] & more))
            m.d.comb += Assert(inside["ends"] == (inside["valid"] & ~more & current.last))


EXTRACTORS = {
    "events": lambda cls=EventExtractor: cls(word_bits=16, multiples=(1, 3, 5), meta=1),
    "values": lambda cls=ValueExtractor: cls(word_bits=16, multiples=PRODUCTS["zero-skip", 4], meta=1),
}


@pytest.mark.parametrize("kind", slow_but_first({kind: kind for kind in EXTRACTORS}))
def test_extract_advances(kind):
    prove(ExtractAdvances(EXTRACTORS[kind]()), depth=WORD_EVENTS + 4, induction=True)


@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("take.eq(~more & (~ends | self.end_ready))", "take.eq(~more & self.end_ready)"),
        ("next_.last.eq(word.last & word.single)", "next_.last.eq(word.last)"),
        ("self.valid.eq(valid & (~ends | self.end_ready))", "self.valid.eq(valid & self.end_ready)"),
    ),
)
def test_extract_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match="refuted"):
        prove(ExtractAdvances(EXTRACTORS["events"](mutant(EventExtractor, right, wrong, tmp_path))), depth=8)


class JobsAreShown(Property):
    """A job whose last event has left is `full` within `capture_latency` cycles, if the drain takes those before it.

    So an end of a job waits only while as many jobs as there are shadow sets have ended and not been released. The
    drain releases a job once, when it is full; that is assumed.
    """

    def check(self, m: Module, inside: Inside) -> None:
        unit, config = self.dut, self.dut.config
        sets = config.shadows
        ended, shown = Signal(range(sets + 2)), Signal()
        waited = Signal(range(capture_latency(config) + 2))
        m.d.sync += ended.eq(ended + inside["ends"] - unit.release)
        m.d.comb += [
            Assume(~unit.release | unit.full),
            Assume(unit.take == unit.release),  # a job is one step of one lane
            shown.eq(unit.full | (ended == 0)),
            Assert(ended <= sets),
            Assert(inside["free"] == (ended != sets)),
            Assert(waited < capture_latency(config)),
            Assert(~unit.full | (ended != 0)),
        ]
        m.d.sync += waited.eq(Mux(shown, 0, waited + (waited <= capture_latency(config))))
        # Ended jobs are on their way to the shadow sets or in one.
        lanes = inside.part("lanes")
        coming = [*inside["end"], *lanes["end"], lanes.component.captures]
        if sets == 1:
            m.d.comb += Assert(ended == sum(coming, Const(0)) + unit.full)
        else:
            waits = inside.part("shadows")["waits"]
            m.d.comb += Assert(ended == sum([*coming, *waits], Const(0)))
            m.d.comb += Assert((~unit.full | waits[-1]) & (inside["step"] == 0) & (inside["taken"] == ended))


@pytest.mark.parametrize("shadows", slow_but_first({"one": 1, "two": 2}))
def test_jobs_are_shown(shadows):
    prove(JobsAreShown(Bank(dataclasses.replace(SMALLEST, shadows=shadows))), depth=12, induction=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("with m.Elif(self.release):", "with m.Elif(self.release & ~extract.waiting):"),
        ("self.full.eq(Mux(self.release, 0, self.full) | lanes.captures)", "self.full.eq(lanes.captures & ~self.take)"),
        ("with m.If(ends):", "with m.If(ends & extract.spike):"),
    ),
)
def test_bank_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match=r"induction fails|refuted"):
        prove(JobsAreShown(mutant(Bank, right, wrong, tmp_path)(SMALLEST)), depth=12, induction=True)


class CommandsFit(Property):
    """Where a command comes `hops` cycles after the `ready` that allows it, the bank has room for it.

    That the walk sends none without is in `test_stream_rules.py`.
    """

    def check(self, m: Module, inside: Inside) -> None:
        unit, queue = self.dut, inside.part("command_fifo")
        hops, room, waiting = unit.config.hops, queue.component.depth, inside["waiting"]
        allowed = [later(m, unit.commands.ready, cycles) for cycles in range(hops + 1)]
        on_the_way = [later(m, unit.commands.valid, cycles) for cycles in range(1, hops)]
        held = waiting - sum(on_the_way, Const(0, 1))
        end = queue["consume"] + held
        m.d.comb += [
            Assume(~unit.commands.valid | allowed[-1]),
            Assert(~queue.component.w_en | queue.component.w_rdy),
            Assert((waiting <= room) & (held >= 0)),
            Assert(queue.component.w_rdy == (held != room)),
            Assert(queue.component.r_rdy == (held != 0)),
            Assert((queue["produce"] < room) & (queue["consume"] < room)),
            Assert(queue["produce"] == Mux(end >= room, end - room, end)),
            Assert(inside["ready"] == (waiting < room - hops)),
            *(Assert(~then | (waiting < room - hops + cycles)) for cycles, then in enumerate(allowed)),
        ]


FAR = [dataclasses.replace(SMALLEST, banks=banks, command_fifo=2) for banks in (8, 16)]  # commands are on their way


@pytest.mark.slow
@pytest.mark.parametrize("config", FAR, ids=lambda config: f"{config.banks} banks")
def test_commands_fit(config, tmp_path):
    prove(CommandsFit(Bank(config)), depth=3, induction=True)
    made = mutant(Bank, "ready.eq(next_waiting < room - config.hops)", "ready.eq(next_waiting <= room - config.hops)",
                  tmp_path)  # fmt: skip
    with pytest.raises(ProofError, match="refuted"):
        prove(CommandsFit(made(config)), depth=12)
