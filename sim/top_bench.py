# SPDX-License-Identifier: Apache-2.0
"""cocotb bench of a board's top: nothing but oscillator and serial line, and a network that is there from the start."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from ..fpga.bitstream import line_seconds
from ..fpga.host import Board
from ..fpga.link import PacketLink
from ..fpga.protocol import Reply, read_request, reply_frame
from ..fpga.top import SETTLE_BITS
from ..hw.fronts.registers import word
from ..model.mapping.images import fingerprint, memory_images
from .front_bench import CLOCK_NS, Case
from .uart_bench import Line

POLL_BYTES = 21  # of asking for status and events once more
CALL_BYTES = 54  # of asking, once a call, whether the board is still ours: six registers, and the network


class TopLink(PacketLink):
    """The host's link over the simulated line; counts the bytes of both directions."""

    def __init__(self, line: Line):
        super().__init__("The simulated board", 60.0)
        self.bytes = 0
        self._ask_board = cocotb.task.resume(line.ask)
        self._reply: Reply | None = None

    def send(self, data: bytes) -> None:
        self.bytes += len(data)
        self._reply = self._ask_board(data)

    def receive(self, seconds: float) -> bytes:
        reply, self._reply = self._reply, None
        found = reply_frame(reply) if reply is not None else b""
        self.bytes += len(found)
        return found


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def built_in(dut: Any) -> None:
    """The reset holds at first; the built-in network answers without being loaded; another one can take its place."""
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    line = Line(dut)
    dut.rx.value = 1
    await ClockCycles(dut.clk, 16)
    assert await line.ask(read_request(1, word("id"), 1)) is None, "the board answers before its reset has ended"
    await ClockCycles(dut.clk, 1 << SETTLE_BITS)
    link = TopLink(line)

    def work() -> None:
        board = Board(link)
        one, two = Case.load("one"), Case.load("two")
        before = link.bytes
        mapping = board.load(one.net)
        assert link.bytes - before < 160, "the built-in network was loaded"  # its words alone are more
        before = link.bytes
        assert board.classify(one.codes[:1]).logits.tolist() == one.logits[:1].tolist()
        polls, rest = divmod(link.bytes - before - CALL_BYTES - round(line_seconds(mapping, 10)), POLL_BYTES)
        assert polls >= 0 and rest == 0, (polls, rest)
        assert board.sent == 0
        for case, loads in ((one, False), (two, True), (two, False), (one, True)):
            board = Board(link)  # a program of its own
            mapping = board.load(case.net)
            assert (board.sent > 0) == loads
            assert np.array_equal(board.classify(case.codes).logits, case.logits)
            assert link.read(word("network")) == [fingerprint(memory_images(mapping), mapping.config)]

    await cocotb.task.bridge(work)()
