# SPDX-License-Identifier: Apache-2.0
"""Packet: register accesses in frames of bytes, for serial lines; `docs/protocol.md` is its contract."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc import Algorithm
from amaranth.lib.wiring import In, Out

from ..memory import plain_memory
from .registers import ADDRESS_BITS, bus_signature

REQUEST, REPLY = 0xA5, 0x5A  # first byte of a frame
MOST_WORDS = 64  # of one frame
READ, WRITE, READ_FIXED, WRITE_FIXED = range(4)  # bit 0: write, bit 1: the address stays
OK, BAD_CRC, BAD_REQUEST, REFUSED = range(4)  # status of a reply
CRC = Algorithm(
    crc_width=16, polynomial=0x1021, initial_crc=0xFFFF, reflect_input=False, reflect_output=False, xor_output=0
)


def byte_signature() -> wiring.Signature:
    """Bytes of a serial line, seen from the line's side.

    received: every byte that comes, never delayed. quiet: what comes next cannot belong to the frame before.
    sent: bytes to send.
    """
    return wiring.Signature(
        {
            "received": Out(stream.Signature(8, always_ready=True)),
            "quiet": Out(1),
            "sent": In(stream.Signature(8)),
        }
    )


class Packet(wiring.Component):
    """Takes a request, checks its CRC, carries it out and replies.

    Nothing of a request is carried out before its CRC has been found right. After a bad request everything is dropped
    until the line is quiet; only then comes the reply. A request that stops short is forgotten when the line is quiet.
    A byte REQUEST that comes during a reply ends the reply: the host has given it up.

    Throughput: one byte a cycle. Back-pressure: none on reception; bytes that come during the execution are lost.

    Golden functions: `onespike.fpga.protocol.read_request`, `onespike.fpga.protocol.write_request`.

    Members
    -------
    bytes : In the line, see `byte_signature`.
    bus : Out the registers.
    """

    def __init__(self) -> None:
        super().__init__({"bytes": In(byte_signature()), "bus": Out(bus_signature())})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bus, received, sent = self.bus, self.bytes.received, self.bytes.sent
        m.submodules.crc = crc = CRC(data_width=8).create()
        m.submodules.payload_memory = memory = plain_memory(8, 4 * MOST_WORDS)
        write, read = memory.write_port(), memory.read_port()
        tag, status = Signal(8), Signal(2)
        fixed = Signal()
        left = Signal(range(MOST_WORDS + 1))  # words still to come or to do
        count = Signal.like(left)
        place = Signal(8)  # byte of the payload
        step = Signal(range(5))  # byte of the head, word or tail
        word = Signal(32)
        byte = Signal(8)  # the reply's next
        begins = Signal()
        m.d.comb += [
            begins.eq(received.valid & (received.payload == REQUEST)),
            write.data.eq(received.payload),
            write.addr.eq(place),
            read.addr.eq(place),
            bus.data.eq(word),
            sent.payload.eq(byte),
        ]

        def begin() -> None:
            m.d.comb += crc.start.eq(1)
            m.d.sync += [step.eq(0), place.eq(0), status.eq(OK)]
            m.next = "Head"

        quiet = Signal()  # what comes next cannot belong to this request
        m.d.comb += quiet.eq(self.bytes.quiet & ~received.valid)

        def forget() -> None:
            with m.If(quiet):
                m.next = "Hunt"

        def give_way() -> None:
            with m.If(begins):
                begin()

        def next_byte(state: str, last: int) -> None:
            m.d.sync += step.eq(step + 1)
            with m.If(step == last):
                m.d.sync += step.eq(0)
                m.next = state

        with m.FSM() as fsm:
            with m.State("Hunt"):
                with m.If(begins):
                    begin()
            with m.State("Head"):
                with m.If(received.valid):
                    with m.Switch(step):
                        with m.Case(0):
                            m.d.sync += tag.eq(received.payload)
                        with m.Case(1):
                            m.d.sync += [bus.write.eq(received.payload[0]), fixed.eq(received.payload[1])]
                            with m.If(received.payload[2:].any()):
                                m.d.sync += status.eq(BAD_REQUEST)
                        with m.Case(2):
                            m.d.sync += bus.address.eq(received.payload)
                            with m.If(received.payload[ADDRESS_BITS:].any()):
                                m.d.sync += status.eq(BAD_REQUEST)
                    m.d.sync += [left.eq(received.payload), count.eq(received.payload)]
                    next_byte("Payload", 3)
                    with m.If(step == 3):
                        with m.If(~bus.write):
                            m.next = "Check"
                        with m.If((status != OK) | (received.payload == 0) | (received.payload > MOST_WORDS)):
                            m.d.sync += status.eq(BAD_REQUEST)
                            m.next = "Drop"
                forget()
            with m.State("Payload"):
                m.d.comb += write.en.eq(received.valid)
                with m.If(received.valid):
                    m.d.sync += [place.eq(place + 1), step.eq(step + 1)]
                    with m.If(step == 3):
                        m.d.sync += [step.eq(0), left.eq(left - 1)]
                        with m.If(left == 1):
                            m.next = "Check"
                forget()
            with m.State("Check"):
                m.d.sync += place.eq(0)
                with m.If(received.valid):
                    next_byte("Checked", 1)
                forget()
            with m.State("Checked"):
                m.d.sync += left.eq(count)
                with m.If(crc.match_detected):
                    m.next = "Fetch"
                    with m.If(~bus.write):
                        m.d.comb += crc.start.eq(1)
                        m.next = "Reply"
                with m.Else():
                    m.d.sync += status.eq(BAD_CRC)
                    m.next = "Drop"
            with m.State("Drop"):
                m.d.sync += [count.eq(0), left.eq(0)]
                with m.If(self.bytes.quiet):
                    m.d.comb += crc.start.eq(1)
                    m.next = "Reply"

            # A write: four bytes from the memory, one cycle behind their address, then the access.
            with m.State("Fetch"):
                m.d.sync += step.eq(step + 1)
                with m.If(step != 4):
                    m.d.sync += place.eq(place + 1)
                with m.If(step != 0):
                    m.d.sync += word.eq(Cat(word[8:], read.data))
                with m.If(step == 4):
                    m.d.sync += step.eq(0)
                    m.next = "Access"
            with m.State("Access"):
                m.d.comb += bus.valid.eq(1)
                with m.If(bus.done):
                    m.d.sync += left.eq(left - 1)
                    with m.If(~fixed):
                        m.d.sync += bus.address.eq(bus.address + 1)
                    with m.If(bus.refused):
                        m.d.sync += status.eq(REFUSED)
                    with m.If(bus.write):
                        m.next = "Fetch"
                        with m.If(bus.refused | (left == 1)):
                            m.d.comb += crc.start.eq(1)
                            m.d.sync += count.eq(0)
                            m.next = "Reply"
                    with m.Else():
                        m.d.sync += word.eq(bus.answer)
                        m.next = "Words"

            # The reply: REPLY, tag, count, words, status, CRC.
            with m.State("Reply"):
                m.d.comb += [sent.valid.eq(1), byte.eq(Mux(step == 0, REPLY, Mux(step == 1, tag, count)))]
                with m.If(sent.ready):
                    next_byte("Access", 2)
                    with m.If((step == 2) & (count == 0)):
                        m.next = "Status"
                give_way()
            with m.State("Words"):
                m.d.comb += [sent.valid.eq(1), byte.eq(word[:8])]
                with m.If(sent.ready):
                    m.d.sync += word.eq(Cat(word[8:], read.data))
                    next_byte("Access", 3)
                    with m.If((step == 3) & (left == 0)):
                        m.next = "Status"
                give_way()
            with m.State("Status"):
                m.d.comb += [sent.valid.eq(1), byte.eq(status)]
                with m.If(sent.ready):
                    m.next = "Tail"
                give_way()
            with m.State("Tail"):
                m.d.comb += [sent.valid.eq(1), byte.eq(Mux(step == 0, crc.crc[8:], crc.crc[:8]))]
                with m.If(sent.ready):
                    next_byte("Hunt", 1)
                give_way()

            receiving = fsm.ongoing("Head") | fsm.ongoing("Payload") | fsm.ongoing("Check")
            replying = fsm.ongoing("Reply") | fsm.ongoing("Words") | fsm.ongoing("Status")
        m.d.comb += [
            crc.data.eq(Mux(replying, byte, received.payload)),
            crc.valid.eq(
                Mux(
                    replying,
                    sent.valid & sent.ready & ~begins & ~(fsm.ongoing("Reply") & (step == 0)),
                    receiving & received.valid,
                )
            ),
        ]
        return m
