# SPDX-License-Identifier: Apache-2.0
"""What the hardware does on AXI buses is proved to keep their rules, and mistakes are shown to break them."""

import pytest
from amaranth.hdl import Assert, Assume, ClockDomain, DomainRenamer, Module, Mux, ResetSignal, Signal

from free_engine import FreeEngine
from mutant import mistakes, mutant
from onespike.hw.engine.axi_read import AxiRead
from onespike.hw.fronts import axi
from onespike.hw.fronts.axi import Axi
from onespike.hw.fronts.axi_lite import AxiLite
from onespike.hw.fronts.core import Core
from onespike.sim.axi_rules import AxiLiteRules, AxiReadRules, AxiStreamRules
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property
from small_engine import SMALLEST, SMALLEST_STREAMED


class LiteSpec(Property):
    """An AXI4-Lite subordinate in front of a register bus that takes up to `slow` cycles, or any time at all."""

    def __init__(self, dut, *, slow: int | None = None, rules_alone: bool = False):
        self.slow = slow
        super().__init__(dut, rules_alone=rules_alone)

    def check(self, m: Module, inside: Inside) -> None:
        bus = self.dut.bus
        rules = AxiLiteRules(patience=None if self.slow is None else self.slow + 3)
        m.submodules.rules = rules
        rules.watch(m, self.dut, aresetn=~ResetSignal(), prefix="s_axi_")
        if self.slow is not None:
            waited = Signal(range(self.slow + 1))
            m.d.sync += waited.eq(Mux(bus.valid & ~bus.done, waited + (waited != self.slow), 0))
            m.d.comb += Assume((waited != self.slow) | bus.done)
        if self.rules_alone:
            return
        # One transfer at a time: while a request is open, the machine is where it is carried out or answered.
        works, writes = ~inside.state("Idle"), ~inside.state("Idle") & bus.write
        for name, count in rules.open.items():
            m.d.comb += Assert(count == (writes if name != "ar" else works & ~bus.write))
        m.d.comb += Assert(inside.state("Idle", "Access", "Response"))


LITE_MUTANTS = [
    ("self.s_axi_bvalid.eq(bus.write), self", "self.s_axi_bvalid.eq(1), self"),
    ("with m.If((self.s_axi_bvalid & self.s_axi_bready) |", "with m.If(self.s_axi_bready |"),
    ("self.s_axi_wready.eq(1)", "self.s_axi_wready.eq(self.s_axi_wstrb.all())"),
    ('with m.State("Response"):',
     'with m.State("Response"):\n                m.d.sync += self.s_axi_rdata.eq(bus.answer)'),
    ('~self.s_axi_wstrb.all()):\n                        m.next = "Response"',
     '~self.s_axi_wstrb.all()):\n                        m.next = "Idle"'),
]  # fmt: skip


def test_lite():
    prove(LiteSpec(AxiLite()), depth=6, induction=True)


def test_lite_answers_in_time():
    prove(LiteSpec(AxiLite(), slow=3), depth=10, induction=True)


@pytest.mark.parametrize("right, wrong", mistakes(*LITE_MUTANTS))
def test_lite_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match=r"refuted: .*axi_rules\.py"):
        prove(LiteSpec(mutant(AxiLite, right, wrong, tmp_path)(), slow=3, rules_alone=True), depth=10)


class ReadSpec(Property):
    """The reader of streamed weights as a manager, whatever the memory does that a subordinate may."""

    def check(self, m: Module, inside: Inside) -> None:
        dut, config = self.dut, self.dut.config
        burst, depth = config.burst, config.burst * config.bursts
        m.submodules.rules = rules = AxiReadRules(config, most=depth)
        rules.watch(m, dut, aresetn=~ResetSignal())
        # What to read stands while the reader is not idle, and is as the mapper makes it.
        plan = [dut.base, dut.first_beats, dut.beats, dut.restart]
        before = [Signal.like(port, name=f"before{i}") for i, port in enumerate(plan)]
        stands, running = Signal(), Signal()
        m.d.comb += running.eq(dut.run | ~dut.idle)
        m.d.sync += [stands.eq(running), *(old.eq(new) for old, new in zip(before, plan, strict=True))]
        m.d.comb += [Assume(~stands | ~running | (old == new)) for old, new in zip(before, plan, strict=True)]
        m.d.comb += Assume((dut.base % 4096 == 0) & (dut.first_beats != 0) & (dut.beats != 0))
        m.d.comb += Assume(dut.restart % burst == 0)

        if self.rules_alone:
            return
        # The queue has room for all that is on its way: what is counted for, and where in its rounds the machine is.
        names = ("pending", "reserved", "level", "stopped", "place", "left", "size", "room")
        pending, reserved, level, stopped, place, left, size, room = (inside[name] for name in names)
        rests, asks = inside.state("Rest"), inside.state("Ask")
        m.d.comb += [
            Assert(pending == rules.pending),
            Assert((pending <= depth) & (level + dut.words.valid <= depth)),
            Assert(stopped | (reserved >= pending + level + dut.words.valid)),
            Assert(rests | ((reserved >= pending) & (reserved <= depth))),
            Assert(dut.arvalid == asks),
            Assert(rests | (place % burst == 0)),
            Assert(rests | (left != 0)),
            Assert(~inside.state("Room", "Ask") | (size == Mux(left > burst, burst, left))),
            Assert(~asks | ((dut.arlen == size - 1) & (dut.araddr == (dut.base + place * rules.bytes)[:32]))),
            Assert(~asks | (reserved + size <= depth)),
            Assert(~(inside.state("Room") & room) | (reserved + burst <= depth)),
            Assert(~rests | stopped),
        ]


READ_MUTANTS = [
    ("with m.If(self.arready):", "with m.If(self.arready | stopped):"),
    ("room.eq(reserved <= depth - config.burst)", "room.eq(reserved <= depth)"),
    ("size.eq(Mux(left > config.burst, config.burst, left))", "size.eq(left)"),
    ("self.arlen.eq(size - 1)", "self.arlen.eq(size)"),
]


def test_read():
    prove(ReadSpec(AxiRead(SMALLEST_STREAMED)), depth=4, induction=True)


@pytest.mark.parametrize("right, wrong", mistakes(*READ_MUTANTS))
def test_read_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match=r"refuted: .*axi_rules\.py"):
        prove(ReadSpec(mutant(AxiRead, right, wrong, tmp_path)(SMALLEST_STREAMED), rules_alone=True), depth=12)


class FrontSpec(Property):
    """The AXI front around any engine: its streams and registers, through stops and resets, with frames of any length.

    Whatever stands in Core has been proved to stand (`test_stream_rules.py`).
    """

    def check(self, m: Module, inside: Inside) -> None:
        front = self.dut
        m.domains.watch = domain = ClockDomain()  # the front's own
        m.d.comb += [domain.clk.eq(front.aclk), domain.rst.eq(~front.aresetn)]
        for name, proved, more in (("s_axis", False, {}), ("m_axis", True, {"tuser": 16})):
            payload = {"tdata": len(getattr(front, f"{name}_tdata")), "tlast": 1, **more}
            rules = AxiStreamRules(payload, proved=proved)
            m.submodules[name] = DomainRenamer("watch")(rules)
            rules.watch(m, front, aresetn=front.aresetn, prefix=f"{name}_")
        rules = AxiLiteRules()
        m.submodules.rules = DomainRenamer("watch")(rules)
        rules.watch(m, front, aresetn=front.aresetn, prefix="s_axi_")
        lite = inside.part("axi_lite")
        works, bus = ~lite.state("Idle"), lite.component.bus
        m.d.comb += [Assert(count == (works & (bus.write ^ (name == "ar")))) for name, count in rules.open.items()]
        m.d.comb += Assert(lite.state("Idle", "Access", "Response"))


def test_front():
    prove(FrontSpec(Axi(SMALLEST, make_engine=FreeEngine)), depth=5, induction=True)


@pytest.mark.parametrize(
    "cls, right, wrong",
    mistakes(
        (Axi, "core.logits.ready.eq(self.m_axis_tready)", "core.logits.ready.eq(1)"),
        (Core, "[waiting.eq(waiting & ~taken), stale", "[waiting.eq(0), stale"),
    ),
)
def test_front_mistakes(cls, right, wrong, tmp_path, monkeypatch):
    made = mutant(cls, right, wrong, tmp_path)
    if cls is Core:
        monkeypatch.setattr(axi, "Core", made)
    front = (made if cls is Axi else Axi)(SMALLEST, make_engine=FreeEngine)
    with pytest.raises(ProofError, match=r"refuted: .*axi_rules\.py"):
        prove(FrontSpec(front), depth=12)
