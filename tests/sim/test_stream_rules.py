# SPDX-License-Identifier: Apache-2.0
"""Every stream of the hardware keeps what it offers: found by looking, so that no new one goes unproved."""

import dataclasses
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from amaranth.hdl import Const, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

import onespike.hw
from free_engine import FreeEngine
from mutant import mutant
from onespike.hw.engine.axi_read import AxiRead
from onespike.hw.engine.count import CountUnit
from onespike.hw.engine.engine import Engine
from onespike.hw.engine.extract import EventExtractor
from onespike.hw.engine.faults import Watchdog
from onespike.hw.engine.fetch import Fetch
from onespike.hw.engine.fusion import FusionUnit
from onespike.hw.engine.levels import LevelsUnit
from onespike.hw.engine.logits import Logits
from onespike.hw.engine.prefetch import Prefetch
from onespike.hw.engine.products import ProductGroup
from onespike.hw.engine.psg import PsgUnit
from onespike.hw.engine.sequencer import Sequencer
from onespike.hw.engine.shadows import Shadows
from onespike.hw.engine.tables import Tables
from onespike.hw.engine.values import ValueExtractor
from onespike.hw.engine.walk import Walk
from onespike.hw.fronts.axi_lite import AxiLite
from onespike.hw.fronts.bit_time import BitTime
from onespike.hw.fronts.control import Control
from onespike.hw.fronts.core import Core
from onespike.hw.fronts.frame import Frame
from onespike.hw.fronts.packet import Packet
from onespike.hw.fronts.registers import word
from onespike.hw.fronts.spi import Spi
from onespike.hw.fronts.uart import Uart, UartCore
from onespike.hw.parity import Parity
from onespike.hw.queue import Queue
from onespike.model.network.codes import PRODUCTS
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import StreamHold, TakenAtOnce, offers
from small_engine import SMALLEST, SMALLEST_STREAMED

MAKE = {
    EventExtractor: lambda cls: cls(word_bits=16, multiples=(1,), meta=1),
    ValueExtractor: lambda cls: cls(word_bits=16, multiples=PRODUCTS["dense", 4], meta=1),
    FusionUnit: lambda cls: cls(fraction=4, acc_bits=8, depth=2, lift=1, most_shift=2),
    Control: lambda cls: cls(SMALLEST, streams=False),
    Core: lambda cls: cls(SMALLEST, streams=True, make_engine=FreeEngine),
    Frame: lambda cls: cls(4),
    Uart: lambda cls: cls(4, silence=3),
    UartCore: lambda cls: cls(SMALLEST, divisor=4),
    AxiRead: lambda cls: cls(SMALLEST_STREAMED),
    Prefetch: lambda cls: cls(SMALLEST_STREAMED),
    CountUnit: lambda cls: cls(acc_width=4, max_shift=3, count_width=1),
    PsgUnit: lambda cls: cls(acc_width=4, groups=1, log2_theta=0, max_shift=3),
    LevelsUnit: lambda cls: cls(value_bits=4, stored_bits=4, codes=16),
    Tables: lambda cls: cls(dataclasses.replace(SMALLEST, tables=1, max_code=255)),
    ProductGroup: lambda cls: cls(dataclasses.replace(SMALLEST, arithmetic="dense")),
    Shadows: lambda cls: cls(2),
    Watchdog: lambda cls: cls(256),
    Parity: lambda cls: cls(8),
    BitTime: lambda cls: cls(32),
    Queue: lambda cls: cls(width=1, depth=2),
}


def make(cls: type, made: type | None = None) -> Any:
    """The smallest of its kind; made: the class, if it is a mutant."""
    made = made or cls
    if cls in MAKE:
        return MAKE[cls](made)
    wants = [name for name, p in inspect.signature(cls).parameters.items() if p.default is p.empty]
    assert wants in ([], ["config"]), f"{cls.__name__}: say in MAKE how to make one"
    return made(SMALLEST) if wants else made()


def components() -> Iterator[type]:
    """Every component of hw/, but what only names a module of emitted Verilog."""
    for info in pkgutil.walk_packages(onespike.hw.__path__, "onespike.hw."):
        if not info.name.startswith("onespike.hw.emit"):
            for cls in vars(import_module(info.name)).values():
                if isinstance(cls, type) and issubclass(cls, wiring.Component) and cls.__module__ == info.name:
                    yield cls


def logits_facts(inside: Inside) -> list[Value]:
    """One thing at a time: rows are read, a logit is compared or offered; or all is free."""
    states = [inside[name] for name in ("reading", "loading", "comparing", "sending", "free")]
    return [sum(states, Const(0)) == 1]


def control_facts(inside: Inside) -> list[Value]:
    """Whatever Control does, it does for a request that stands, and for one of that kind."""
    bus = inside.component.bus
    return [
        inside.state("Idle") | bus.valid,
        ~inside.state("Load", "Image") | bus.write,
        ~inside.state("Image") | ((bus.address == word("image")) | (bus.address == word("image_last"))),
    ]


# What a block's induction must know; an offer that may be given up, as the block's docstring says.
KEEPS = {Logits: logits_facts, Control: control_facts, Engine: lambda inside: logits_facts(inside.part("logits"))}
UNLESS = {
    AxiRead: {"words": lambda inside: inside["stopped"]},
    Frame: {"image": lambda inside: inside.component.clear},
    Packet: {"bytes__sent": lambda inside: inside["begins"]},
    Control: {"image": lambda inside: inside["timer"][-1]},
}
# Streams whose valid waits for ready, as an exception to the rule: they are taken as they are offered.
AT_ONCE = {Walk, Sequencer}
# One line of each block, wrongly written.
MUTANTS = {
    AxiLite: ("with m.If(bus.done):", "with m.If(bus.done | self.s_axi_arvalid):"),
    AxiRead: ("take.eq((level != 0) & (~self.words.valid | self.words.ready))", "take.eq(level != 0)"),
    Control: ("with m.If(self.load.ready):", "with m.If(self.load.ready | timer[0]):"),
    Core: ("logits.ready.eq(~stale & (~waiting | out.ready))", "logits.ready.eq(~stale)"),
    Engine: ("connect(m, logits.logits, flipped(self.logits))",
             "connect(m, logits.logits, flipped(self.logits)); m.d.comb += self.logits.payload.best.eq(self.counter)"),
    Fetch: ("moves[2].eq(~offered | self.words.ready)", "moves[2].eq(~offered | self.words.ready | ~valid[1])"),
    Frame: ("free.eq(~image.valid | image.ready)", "free.eq(~image.valid | image.ready | fill)"),
    FusionUnit: ("advance.eq(~fired.valid | fired.ready)", "advance.eq(~fired.valid | fired.ready | ~running)"),
    Logits: ("sending.eq(comparing | (sending & ~taken))", "sending.eq(comparing)"),
    Packet: ('with m.If(sent.ready):\n                    next_byte("Access", 2)',
             'with m.If(True):\n                    next_byte("Access", 2)'),
    Sequencer: ("connect(m, port, flipped(own))",
                "connect(m, port, flipped(own)); m.d.comb += own.valid.eq(port.valid | self.ready)"),
    Walk: ("starts.eq(offered & (head.of == of_now) & all_ready)", "starts.eq(offered & (head.of == of_now))"),
}  # fmt: skip


SLOW = {Engine, Packet}
FAR = dataclasses.replace(SMALLEST, banks=8)  # so many banks that commands take a cycle more
FARTHER = dataclasses.replace(SMALLEST, banks=16)  # or two
MAPS = dataclasses.replace(SMALLEST, maps=True)
ALWAYS_READY = {Spi, Uart}  # what they offer is taken in the same cycle
OFFERING = [cls for cls in components() if any(offer.flow is Out for offer in offers(make(cls)))]


def each() -> list[Any]:
    return [pytest.param(cls, marks=pytest.mark.slow if cls in SLOW else (), id=cls.__name__) for cls in OFFERING]


def proves(cls: type, made: type | None = None, *, depth: int = 5) -> None:
    dut = make(cls, made)
    rule = TakenAtOnce(dut) if cls in AT_ONCE else StreamHold(dut, unless=UNLESS.get(cls), keeps=KEEPS.get(cls))
    prove(rule, depth=depth, induction=True)


@pytest.mark.parametrize("cls", each())
def test_offers_stand(cls):
    proves(cls)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [p for p in each() if p.values[0] not in ALWAYS_READY])
def test_mistake_is_found(cls, tmp_path):
    with pytest.raises(ProofError, match="induction fails" if cls is Engine else "refuted"):
        proves(cls, mutant(cls, *MUTANTS[cls], tmp_path), depth=5 if cls is Engine else 14)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(lambda: TakenAtOnce(Walk(FAR), late=FAR.hops), id="far banks"),
        pytest.param(lambda: TakenAtOnce(Walk(FARTHER), late=FARTHER.hops), id="banks farther away"),
        pytest.param(lambda: StreamHold(Fetch(dataclasses.replace(SMALLEST, row_masks=True))), id="masks"),
        pytest.param(lambda: StreamHold(Fetch(dataclasses.replace(SMALLEST, arithmetic="dense"))), id="dense"),
        pytest.param(lambda: StreamHold(Fetch(dataclasses.replace(SMALLEST, tables=1, max_code=255))), id="tables"),
        pytest.param(lambda: StreamHold(Logits(MAPS), keeps=logits_facts), id="maps"),
    ],
)
def test_offers_stand_in_other_engines(rule):
    prove(rule(), depth=5, induction=True)
