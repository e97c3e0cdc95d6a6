# SPDX-License-Identifier: Apache-2.0
"""Every access to a register ends, whatever the engine does: proved of Control, and of Wishbone around it."""

import pytest
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal

from free_engine import FreeEngine
from mutant import mutant, slow_but_first
from onespike.hw.fronts.control import PATIENCE, Control
from onespike.hw.fronts.wishbone import Wishbone
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property, offers, stands
from small_engine import SMALLEST, SMALLEST_STREAMED

MOST = 65_600  # cycles, as docs/registers.md says


class Ends(Property):
    """A request is done within MOST cycles, and only a request is; the load stream is taken at once, as Load does."""

    def check(self, m: Module, inside: Inside) -> None:
        control = self.dut
        bus, timer = control.bus, inside["timer"]
        waited = Signal(range(MOST + 2))
        m.d.sync += waited.eq(Mux(bus.valid & ~bus.done, waited + (waited <= MOST), 0))
        m.d.comb += Assert((waited < MOST) & (~bus.done | bus.valid))
        for offer in offers(control):
            if offer.name == "bus":
                m.d.comb += Assume(stands(m, offer))
            elif offer.name == "load":
                m.d.comb += Assume(offer.ready)
        # The timer counts for every state that waits.
        idle, done = inside.state("Idle"), inside.state("Done")
        if control.config.loadable:  # a word is taken in one cycle, and its four bytes are summed up in the next ones
            byte = inside.part("checksum")["place"]
            m.d.comb += [
                Assert(Mux(inside.state("Sum"), timer == byte + 1, byte == 0)),
                Assert(~inside.state("Load") | (timer == 0)),
            ]
        states = inside.module._generated["fsm"].encoding
        m.d.comb += [
            Assert(inside.state(*states)),
            Assert(idle | bus.valid),
            Assert(~idle | (waited == 0)),
            Assert(~done | (waited <= (1 << PATIENCE) + 2)),
            Assert(idle | done | ((waited == timer + 1) & (timer <= 1 << PATIENCE))),
        ]


CONTROLS = {"registers": (SMALLEST, False), "streams": (SMALLEST, True), "memory": (SMALLEST_STREAMED, True)}


@pytest.mark.parametrize("config_and_streams", slow_but_first(CONTROLS))
def test_every_access_ends(config_and_streams):
    config, streams = config_and_streams
    prove(Ends(Control(config, streams=streams)), depth=3, induction=True)


def test_access_that_hangs(tmp_path):
    """Found in an unreachable number of cycles, so by the induction alone."""
    made = mutant(Control, "late = timer[-1]", "late = timer[-1] & self.run", tmp_path)
    with pytest.raises(ProofError, match="induction fails"):
        prove(Ends(made(SMALLEST, streams=False)), depth=3, induction=True)


@pytest.mark.slow
def test_end_of_nothing(tmp_path):
    made = mutant(Control, 'm.next = "Idle"', 'm.next = "Done"', tmp_path)
    with pytest.raises(ProofError, match="refuted"):
        prove(Ends(made(SMALLEST, streams=False)), depth=5)


class Acknowledged(Property):
    """Wishbone: ACK is the end of the cycle that stands, never of one that was given up before."""

    def check(self, m: Module, inside: Inside) -> None:
        front = self.dut
        bus = inside["bus"]
        asks, asked = Signal(), Signal()
        request = Cat(front.wb_we_i, front.wb_adr_i, front.wb_dat_i, front.wb_sel_i)
        before = Signal.like(request)
        m.d.comb += [asks.eq(front.wb_cyc_i & front.wb_stb_i), Assume(~asked | ~asks | (request == before))]
        m.d.sync += [asked.eq(asks & ~front.wb_ack_o), before.eq(request)]
        carried_out = Cat(bus.write, bus.address, bus.data) == request[: len(request) - 4]
        whole = front.wb_sel_i.all() | ~front.wb_we_i
        m.d.comb += [
            Assert(~front.wb_ack_o | (asks & asked)),
            Assert(~front.wb_ack_o | carried_out),
            Assert(~bus.valid | ~front.wb_ack_o | whole),
        ]
        # Until it is given up, what is carried out is what was asked for in the cycle before.
        if not self.rules_alone:
            stood = Cat(bus.write, bus.address, bus.data) == before[: len(request) - 4]
            works = inside.state("Access", "Ignored")
            m.d.comb += [
                Assert(inside.state("Idle", "Access", "Ignored")),
                Assert(~works | inside["given_up"] | (asked & stood)),
                Assert(~inside.state("Ignored") | (~inside["given_up"] & before[0] & ~before[-4:].all())),
                Assert(~inside.state("Access") | inside["given_up"] | ~before[0] | before[-4:].all()),
            ]


def test_wishbone():
    prove(Acknowledged(Wishbone(SMALLEST, make_engine=FreeEngine)), depth=4, induction=True)


def test_wishbone_mistake(tmp_path):
    made = mutant(Wishbone, "bus.done & selected & ~given_up", "bus.done & selected", tmp_path)
    with pytest.raises(ProofError, match="refuted"):
        prove(Acknowledged(made(SMALLEST, make_engine=FreeEngine), rules_alone=True), depth=8)
