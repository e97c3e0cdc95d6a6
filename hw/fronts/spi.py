# SPDX-License-Identifier: Apache-2.0
"""Spi: bytes over a serial peripheral interface, mode 0; and a core behind one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from ..config import EngineConfig
from .core import Core, MakeEngine, plain_engine
from .packet import Packet, byte_signature

SPI_RATIO = 8  # clock cycles of one cycle of sclk, at least


class Spi(wiring.Component):
    """A peripheral that samples its pins with the system clock; bytes come and go most significant bit first.

    Where no byte waits to be sent it sends 0. A byte counts as sent when its first bit has been sampled.

    Throughput: sclk must be at most the clock / SPI_RATIO. Back-pressure: none on reception.

    Members
    -------
    sclk, mosi, cs_n : In(1), miso : Out(1) the pins; data changes on falling edges and is sampled on rising ones.
    bytes : Out the bytes, see `byte_signature`; quiet while cs_n is high.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "sclk": In(1),
                "mosi": In(1),
                "cs_n": In(1, init=1),
                "miso": Out(1),
                "bytes": Out(byte_signature()),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        received, sent = self.bytes.received, self.bytes.sent
        sclk, mosi, cs_n = Signal(), Signal(), Signal(init=1)
        m.submodules.sclk = FFSynchronizer(self.sclk, sclk)
        m.submodules.mosi = FFSynchronizer(self.mosi, mosi)
        m.submodules.cs_n = FFSynchronizer(self.cs_n, cs_n, init=1)
        before = Signal()
        rise, fall = Signal(), Signal()
        bit = Signal(3)  # bits of the present byte that have been sampled
        shift_in, shift_out = Signal(8), Signal(8)
        offered, boundary = Signal(), Signal(init=1)
        m.d.sync += [before.eq(sclk), received.valid.eq(0)]
        m.d.comb += [
            rise.eq(sclk & ~before & ~cs_n),
            fall.eq(~sclk & before & ~cs_n),
            received.payload.eq(shift_in),
            self.miso.eq(shift_out[7]),
            self.bytes.quiet.eq(cs_n),
            sent.ready.eq(rise & boundary & offered),
        ]
        with m.If(rise):
            m.d.sync += [shift_in.eq(Cat(mosi, shift_in[:7])), bit.eq(bit + 1), boundary.eq(0)]
            m.d.sync += received.valid.eq(bit == 7)
        with m.If(fall):
            m.d.sync += [shift_out.eq(shift_out << 1), boundary.eq(bit == 0)]
        # Until the first bit is sampled, the byte may still come.
        with m.If(boundary & ~rise):
            m.d.sync += [shift_out.eq(Mux(sent.valid, sent.payload, 0)), offered.eq(sent.valid)]
        with m.If(cs_n):
            m.d.sync += [bit.eq(0), boundary.eq(1)]
        return m


class SpiCore(wiring.Component):
    """A core that an SPI host drives; `docs/protocol.md` describes the packets.

    Parameters
    ----------
    config : the engine's configuration. network, make_engine : see Core.

    Members
    -------
    sclk, mosi, cs_n : In(1), miso : Out(1) see Spi. irq : Out(1) level, active high.
    """

    def __init__(self, config: EngineConfig, *, network: int = 0, make_engine: MakeEngine = plain_engine):
        self.config, self.network, self.make_engine = config, network, make_engine
        super().__init__({"sclk": In(1), "mosi": In(1), "cs_n": In(1, init=1), "miso": Out(1), "irq": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = Core(self.config, streams=False, network=self.network, make_engine=self.make_engine)
        m.submodules.packet = packet = Packet()
        m.submodules.spi = spi = Spi()
        connect(m, spi.bytes, packet.bytes)
        connect(m, packet.bus, core.bus)
        m.d.comb += [
            *(getattr(spi, pin).eq(getattr(self, pin)) for pin in ("sclk", "mosi", "cs_n")),
            self.miso.eq(spi.miso),
            self.irq.eq(core.irq),
        ]
        return m
