# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the SPI front: the host's Board over a mode 0 controller, and transfers that are cut."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

from ..fpga.host import Board
from ..fpga.link import SpiLink
from ..fpga.protocol import find_reply, read_request, write_request
from ..hw.fronts.packet import BAD_CRC, BAD_REQUEST, OK
from ..hw.fronts.registers import ID, word
from ..hw.fronts.spi import SPI_RATIO
from ..model.errors import OneSpikeError
from .front_bench import CLOCK_NS, Case, classify_two_networks, frames_of_wrong_length

HALF = SPI_RATIO * CLOCK_NS // 2


class Controller:
    """spidev's SpiDev, as far as SpiLink uses it; the clock is not in step with the system's."""

    def __init__(self, dut: Any):
        self.dut = dut
        self.xfer2 = cocotb.task.resume(self.transfer)

    async def transfer(self, data: list[int], bits: int | None = None) -> list[int]:
        """Exchange bytes; `bits`: how many bits of the last byte before the select rises."""
        dut, found = self.dut, []
        dut.cs_n.value = 0
        await Timer(HALF + 1, unit="ns")
        for index, byte in enumerate(data):
            value = 0
            for bit in range(8 if bits is None or index + 1 < len(data) else bits):
                dut.mosi.value = byte >> (7 - bit) & 1
                await Timer(HALF, unit="ns")
                value = value << 1 | int(dut.miso.value)
                dut.sclk.value = 1
                await Timer(HALF, unit="ns")
                dut.sclk.value = 0
            found.append(value)
        await Timer(HALF, unit="ns")
        dut.cs_n.value = 1
        await Timer(2 * HALF, unit="ns")
        return found


async def started(dut: Any) -> Controller:
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    dut.sclk.value, dut.mosi.value, dut.cs_n.value, dut.rst.value = 0, 0, 1, 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 4)
    return Controller(dut)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def board(dut: Any) -> None:
    """The host's Board on two networks, and frames of a wrong length."""
    controller = await started(dut)
    for work in (classify_two_networks, frames_of_wrong_length):
        await cocotb.task.bridge(work)(SpiLink(controller, timeout=8))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def cut_transfers(dut: Any) -> None:
    """A request or a reply that is cut at any bit leaves nothing behind; bad requests are answered."""
    controller = await started(dut)

    async def ask(frame: bytes) -> tuple[int, int, tuple[int, ...]]:
        """Status, tag and words of the reply, which is clocked in afterwards."""
        found = await controller.transfer([*frame, *[0] * 4])
        rest = bytes(found[len(frame) :]) + bytes(await controller.transfer([0] * 40))
        reply, _ = find_reply(rest.lstrip(b"\0"))
        assert reply is not None, rest.hex(" ")
        return reply.status, reply.tag, reply.words

    good = read_request(7, word("id"), 1)
    write = write_request(9, word("beats"), [0x55])
    for cut in range(1, len(write)):
        await controller.transfer(list(write[:cut]), bits=cut % 8 + 1 if cut % 8 else None)
        assert await ask(good) == (OK, 7, (ID,)), cut
    assert await ask(read_request(8, word("beats"), 1)) == (OK, 8, (0,))
    for taken in range(1, 12):  # the reply is given up
        await controller.transfer([*good, *[0] * taken])
        assert await ask(read_request(100 + taken, word("id"), 1)) == (OK, 100 + taken, (ID,)), taken

    for frame, status in (
        (write[:-1] + bytes([write[-1] ^ 1]), BAD_CRC),
        (read_request(9, word("id"), 0), BAD_REQUEST),
        (read_request(9, word("id"), 65), BAD_REQUEST),
        (read_request(9, 64, 1), BAD_REQUEST),
    ):
        await controller.transfer(list(frame))
        reply, _ = find_reply(bytes(await controller.transfer([0] * 16)).lstrip(b"\0"))
        assert reply is not None and (reply.status, reply.tag) == (status, 9)
    assert await ask(good) == (OK, 7, (ID,))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reset_inside_an_image(dut: Any) -> None:
    """After a reset of the chip in mid-image the same network, still in memory, runs again."""
    controller = await started(dut)
    case = Case.load("one")
    link = SpiLink(controller, timeout=8)

    def begin() -> Board:
        board = Board(link)
        mapping = board.load(case.net)
        frame = case.beats(mapping)[0]
        link.write(word("image"), frame[: len(frame) // 2], fixed=True)
        return board

    def resume(board: Board) -> None:
        assert link.read(word("control"), 2) == [0, 0]
        try:
            board.classify(case.codes)
        except OneSpikeError as error:
            assert "it has been reset" in str(error), error
        else:
            raise AssertionError("the reset has not been noticed")
        board.start()
        assert board.classify(case.codes).logits.tolist() == case.logits.tolist()

    board = await cocotb.task.bridge(begin)()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await cocotb.task.bridge(resume)(board)
