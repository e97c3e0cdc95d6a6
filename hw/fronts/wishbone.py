# SPDX-License-Identifier: Apache-2.0
"""Wishbone: a core on a classic Wishbone bus (B4, standard cycles, 32 bits)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from .core import Core, MakeEngine, plain_engine
from .registers import ADDRESS_BITS


class Wishbone(wiring.Component):
    """The registers on a Wishbone bus; images and logits go through them too.

    Registers are whole words: a write whose selects are not all set does nothing. Every cycle ends with ACK.

    Latency: the registers'. Throughput: one access at a time.

    Parameters
    ----------
    config : the engine's configuration. network, make_engine : see Core.

    Members
    -------
    wb_adr_i : In(6) word address. wb_dat_i, wb_dat_o, wb_sel_i, wb_we_i, wb_cyc_i, wb_stb_i, wb_ack_o : the bus.
    irq : Out(1) level, active high.
    """

    def __init__(self, config: EngineConfig, *, network: int = 0, make_engine: MakeEngine = plain_engine):
        self.config, self.network, self.make_engine = config, network, make_engine
        super().__init__(
            {
                "wb_adr_i": In(ADDRESS_BITS),
                "wb_dat_i": In(32),
                "wb_dat_o": Out(32),
                "wb_sel_i": In(4),
                "wb_we_i": In(1),
                "wb_cyc_i": In(1),
                "wb_stb_i": In(1),
                "wb_ack_o": Out(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = Core(self.config, streams=False, network=self.network, make_engine=self.make_engine)
        bus = core.bus
        m.d.comb += [self.wb_dat_o.eq(bus.answer), self.irq.eq(core.irq)]
        # The request is copied, and only the cycle that made it sees the end: a master may give a cycle up early.
        selected, given_up = Signal(), Signal()
        m.d.comb += selected.eq(self.wb_cyc_i & self.wb_stb_i)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [
                    bus.address.eq(self.wb_adr_i),
                    bus.data.eq(self.wb_dat_i),
                    bus.write.eq(self.wb_we_i),
                    given_up.eq(0),
                ]
                with m.If(selected):
                    m.next = "Access"
                    with m.If(self.wb_we_i & ~self.wb_sel_i.all()):
                        m.next = "Ignored"
            with m.State("Access"):
                m.d.comb += [bus.valid.eq(1), self.wb_ack_o.eq(bus.done & selected & ~given_up)]
                m.d.sync += given_up.eq(given_up | ~selected)
                with m.If(bus.done):
                    m.next = "Idle"
            with m.State("Ignored"):
                m.d.comb += self.wb_ack_o.eq(selected)
                m.next = "Idle"
        return m
