# SPDX-License-Identifier: Apache-2.0
"""AxiLite: an AXI4-Lite subordinate in front of the registers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .registers import ADDRESS_BITS, bus_signature


def axi_lite_ports() -> dict[str, Any]:
    """The ports of an AXI4-Lite subordinate with 32-bit data."""
    return {
        "s_axi_awaddr": In(ADDRESS_BITS + 2),
        "s_axi_awprot": In(3),
        "s_axi_awvalid": In(1),
        "s_axi_awready": Out(1),
        "s_axi_wdata": In(32),
        "s_axi_wstrb": In(4),
        "s_axi_wvalid": In(1),
        "s_axi_wready": Out(1),
        "s_axi_bresp": Out(2),
        "s_axi_bvalid": Out(1),
        "s_axi_bready": In(1),
        "s_axi_araddr": In(ADDRESS_BITS + 2),
        "s_axi_arprot": In(3),
        "s_axi_arvalid": In(1),
        "s_axi_arready": Out(1),
        "s_axi_rdata": Out(32),
        "s_axi_rresp": Out(2),
        "s_axi_rvalid": Out(1),
        "s_axi_rready": In(1),
    }


class AxiLite(wiring.Component):
    """Takes one access at a time, reads and writes in turn where both wait; every response is OKAY.

    Registers are whole words: a write whose strobes are not all set does nothing.

    Latency: the registers' and two cycles. Back-pressure: until the response has been taken.

    Members
    -------
    bus : Out the registers' bus. s_axi_* : the subordinate port, see `axi_lite_ports`.
    """

    def __init__(self) -> None:
        super().__init__({"bus": Out(bus_signature())} | axi_lite_ports())

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus = self.bus
        read_next = Signal()  # a read has the right of way
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += bus.data.eq(self.s_axi_wdata)
                with m.If(self.s_axi_arvalid & (read_next | ~(self.s_axi_awvalid & self.s_axi_wvalid))):
                    m.d.comb += self.s_axi_arready.eq(1)
                    m.d.sync += [bus.address.eq(self.s_axi_araddr[2:]), bus.write.eq(0), read_next.eq(0)]
                    m.next = "Access"
                with m.Elif(self.s_axi_awvalid & self.s_axi_wvalid):
                    m.d.comb += [self.s_axi_awready.eq(1), self.s_axi_wready.eq(1)]
                    m.d.sync += [bus.address.eq(self.s_axi_awaddr[2:]), bus.write.eq(1), read_next.eq(1)]
                    m.next = "Access"
                    with m.If(~self.s_axi_wstrb.all()):
                        m.next = "Response"
            with m.State("Access"):
                m.d.comb += bus.valid.eq(1)
                with m.If(bus.done):
                    m.d.sync += self.s_axi_rdata.eq(bus.answer)
                    m.next = "Response"
            with m.State("Response"):
                m.d.comb += [self.s_axi_bvalid.eq(bus.write), self.s_axi_rvalid.eq(~bus.write)]
                with m.If((self.s_axi_bvalid & self.s_axi_bready) | (self.s_axi_rvalid & self.s_axi_rready)):
                    m.next = "Idle"
        return m
