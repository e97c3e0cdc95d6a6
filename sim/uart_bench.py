# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the UART front, with cocotbext-uart on the line: frames that are damaged, cut or too long."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, with_timeout
from cocotbext.uart import UartSink, UartSource

from ..fpga.host import Board
from ..fpga.link import PacketLink
from ..fpga.protocol import Reply, find_reply, read_request, reply_frame, write_request
from ..hw.fronts.packet import BAD_CRC, BAD_REQUEST, OK, REFUSED
from ..hw.fronts.registers import ID, flag, word
from .front_bench import CLOCK_NS, Case

DIVISOR, SILENCE = 4, 8  # of the design under test


class Line:
    """The host's end of the line."""

    def __init__(self, dut: Any):
        self.dut = dut
        baud = 10**9 // (CLOCK_NS * DIVISOR)
        self.source, self.sink = UartSource(dut.rx, baud=baud), UartSink(dut.tx, baud=baud)
        for end in (self.source, self.sink):
            end.log.setLevel("WARNING")

    async def ask(self, data: bytes) -> Reply | None:
        """The reply to these bytes, or None where none comes within twice the silence."""
        await self.source.write(data)
        await self.source.wait()
        seen = b""
        while True:
            try:
                seen += bytes(await with_timeout(self.sink.read(1), 4 * CLOCK_NS << SILENCE, "ns"))
            except cocotb.triggers.SimTimeoutError:
                assert not seen, f"the board sent {seen.hex(' ')}"
                return None
            reply, seen = find_reply(seen)
            if reply is not None:
                return reply


async def started(dut: Any) -> Line:
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    line = Line(dut)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 400)
    return line


GOOD = read_request(7, word("id"), 1)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def bad_frames(dut: Any) -> None:
    """Nothing of a bad frame is carried out, each is answered once the line is quiet, and the next one works."""
    line = await started(dut)

    async def works() -> None:
        assert await line.ask(GOOD) == Reply(7, OK, (ID,))
        assert await line.ask(read_request(8, word("beats"), 1)) == Reply(8, OK, (0,))

    await works()
    write = write_request(9, word("beats"), [0x1234, 0x5678])
    for at in range(4, len(write)):  # a wrong bit in the count, the payload or the CRC
        damaged = bytearray(write)
        damaged[at] ^= 1 << at % 8
        reply = await line.ask(bytes(damaged))
        assert reply is None or reply.status in (BAD_CRC, BAD_REQUEST), (at, reply)
        await works()
    for frame in (
        read_request(9, word("id"), 0),
        read_request(9, word("id"), 65),
        read_request(9, 64, 1),
        write_request(9, 0x40, [1]),
        bytes([0xA5, 9, 4, 0, 1]),
        write_request(9, word("id"), [0] * 70),
    ):
        assert await line.ask(frame) == Reply(9, BAD_REQUEST)
        await works()
    for cut in range(1, len(write)):  # given up half-way: forgotten when the line is quiet
        assert await line.ask(write[:cut]) is None
        await works()
    rng = random.Random(1)
    for _ in range(5):
        garbage = bytes(byte for byte in rng.randbytes(40) if byte != 0xA5)
        assert await line.ask(garbage) is None
        assert await line.ask(garbage + GOOD) == Reply(7, OK, (ID,))
    assert await line.ask(write_request(9, word("id"), [1])) == Reply(9, REFUSED)
    assert await line.ask(write_request(9, word("beats"), [0xABCDEF])) == Reply(9, OK)
    assert await line.ask(read_request(9, word("beats"), 1)) == Reply(9, OK, (0xABCDEF,))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def breaks(dut: Any) -> None:
    """A break ends a frame at once; a new request ends the reply to the one before."""
    line = await started(dut)
    await line.source.write(GOOD[:4])
    await line.source.wait()
    dut.rx.value = 0
    await ClockCycles(dut.clk, 12 * DIVISOR)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 2 * DIVISOR)
    assert await line.ask(GOOD) == Reply(7, OK, (ID,))
    await line.source.write(read_request(1, word("id"), 64, fixed=True))
    await line.source.wait()
    await ClockCycles(dut.clk, 300 * DIVISOR)
    line.sink.clear()
    await line.source.write(GOOD)
    await line.source.wait()
    await ClockCycles(dut.clk, 200 * DIVISOR)
    reply, _ = find_reply(bytes(line.sink.read_nowait(-1)))
    assert reply == Reply(7, OK, (ID,))


class LineLink(PacketLink):
    """The host's link over the simulated line; every 50th byte that it sends is damaged."""

    def __init__(self, line: Line):
        super().__init__("The simulated board", 60.0)
        self.line, self.sent, self.damaged = line, 0, 0
        self._ask_board = cocotb.task.resume(line.ask)
        self._reply: Reply | None = None

    def send(self, data: bytes) -> None:
        found = bytearray(data)
        for index in range(len(found)):
            self.sent += 1
            if self.sent % 50 == 0 and self.damaged < 1 and index > 3:
                found[index] ^= 0x10
                self.damaged += 1
        self._reply = self._ask_board(bytes(found))

    def receive(self, seconds: float) -> bytes:
        reply, self._reply = self._reply, None
        return reply_frame(reply) if reply is not None else b""


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def board(dut: Any) -> None:
    """The host's Board loads and classifies over a line that damages frames; the result is right."""
    line = await started(dut)
    link = LineLink(line)

    def work() -> None:
        board = Board(link)
        case = Case.load("two")
        board.load(case.net)
        link.damaged = 0  # once more, inside an image
        assert board.classify(case.codes).logits.tolist() == case.logits.tolist()
        assert link.damaged == 1
        assert link.read(word("events"))[0] == flag("events", "done")

    await cocotb.task.bridge(work)()
