# SPDX-License-Identifier: Apache-2.0
"""Uart: bytes over an asynchronous serial line, 8N1; and a core behind one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from ...model.errors import OneSpikeError
from ..config import EngineConfig
from .bit_time import BIT_TIME_BITS
from .core import Core, MakeEngine, plain_engine
from .packet import Packet, byte_signature

SILENCE = 20  # log2 of the cycles without a byte after which a frame is over


def _bit_time(divisor: int | None) -> dict[str, Any]:
    """The port for the cycles per bit, where no parameter says them."""
    return {"bit_time": In(BIT_TIME_BITS)} if divisor is None else {}


class Uart(wiring.Component):
    """Sends and receives bytes, least significant bit first, at one bit per `divisor` cycles.

    A byte without its stop bit (a break, or the wrong speed) is dropped and ends the frame, as does a silent line.

    Latency: half a bit after the middle of the stop bit. Throughput: ten bits a byte. Back-pressure: none on reception.

    Parameters
    ----------
    divisor : cycles per bit, at least 4; None: they come in at the port `bit_time`.
    silence : log2 of the cycles without a byte after which `quiet` rises.

    Members
    -------
    rx : In(1), tx : Out(1) the line, high when idle.
    bytes : Out the bytes, see `byte_signature`.
    bit_time : In(16) cycles per bit, see BitTime (only if `divisor` is None).
    """

    def __init__(self, divisor: int | None, *, silence: int = SILENCE):
        if divisor is not None and not 4 <= divisor < 1 << 16:
            raise OneSpikeError(
                f"A UART needs 4 to 65,535 clock cycles per bit, not {divisor}; change the baud rate or the clock."
            )
        self.divisor, self.silence = divisor, silence
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "bytes": Out(byte_signature())}
        super().__init__(members | _bit_time(divisor))

    @property
    def cycles(self) -> Value:
        """Cycles per bit."""
        return Value.cast(self.bit_time) if self.divisor is None else Const(self.divisor)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._receive(m)
        self._send(m)
        return m

    def _receive(self, m: Module) -> None:
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        wait = Signal(len(self.cycles) + 1)
        left = Signal(range(10))  # bits after the present one, the stop bit included
        byte = Signal(8)
        gap = Signal(self.silence + 1)  # cycles since the line was low
        received: Any = self.bytes.received
        m.d.sync += received.valid.eq(0)
        with m.If(~line):
            m.d.sync += gap.eq(0)
        with m.Elif(~gap[-1]):
            m.d.sync += gap.eq(gap + 1)
        with m.FSM() as fsm:
            with m.State("Idle"):
                m.d.sync += [wait.eq(self.cycles + (self.cycles >> 1) - 2), left.eq(8)]
                with m.If(~line):
                    m.next = "Bits"
            with m.State("Bits"):  # sampled in their middle
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += [wait.eq(self.cycles - 1), left.eq(left - 1)]
                    with m.If(left != 0):
                        m.d.sync += byte.eq(Cat(byte[1:], line))
                    with m.Elif(line):
                        m.d.sync += received.valid.eq(1)
                        m.next = "Idle"
                    with m.Else():
                        m.next = "Break"
            with m.State("Break"):
                with m.If(line):
                    m.next = "Idle"
        m.d.comb += [received.payload.eq(byte), self.bytes.quiet.eq(gap[-1] | fsm.ongoing("Break"))]

    def _send(self, m: Module) -> None:
        sent: Any = self.bytes.sent
        wait = Signal(len(self.cycles))
        shift = Signal(9, init=0x1FF)
        left = Signal(range(11))
        m.d.comb += [self.tx.eq(shift[0]), sent.ready.eq(left == 0)]
        with m.If(left == 0):
            m.d.sync += wait.eq(self.cycles - 1)
            with m.If(sent.valid):
                m.d.sync += [shift.eq(Cat(0, sent.payload)), left.eq(10)]
        with m.Else():
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.d.sync += [wait.eq(self.cycles - 1), shift.eq(Cat(shift[1:], 1)), left.eq(left - 1)]


class UartCore(wiring.Component):
    """A core that a serial line drives; `docs/protocol.md` describes the packets.

    Parameters
    ----------
    config : the engine's configuration. network, make_engine : see Core.
    divisor, silence : see Uart.

    Members
    -------
    rx : In(1), tx : Out(1) the line. irq : Out(1) level, active high.
    bit_time : In(16) see Uart.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        divisor: int | None,
        silence: int = SILENCE,
        network: int = 0,
        make_engine: MakeEngine = plain_engine,
    ):
        self.config, self.network, self.make_engine = config, network, make_engine
        self.uart = Uart(divisor, silence=silence)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "irq": Out(1)} | _bit_time(divisor))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.core = core = Core(self.config, streams=False, network=self.network, make_engine=self.make_engine)
        m.submodules.packet = packet = Packet()
        m.submodules.uart = uart = self.uart
        connect(m, uart.bytes, packet.bytes)
        connect(m, packet.bus, core.bus)
        if uart.divisor is None:
            m.d.comb += uart.bit_time.eq(self.bit_time)
        m.d.comb += [uart.rx.eq(self.rx), self.tx.eq(uart.tx), self.irq.eq(core.irq)]
        return m
