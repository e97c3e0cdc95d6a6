# SPDX-License-Identifier: Apache-2.0
"""cocotb bench of boards in a row: bytes between pseudo-terminals and their UART fronts, until the parent ends."""

from __future__ import annotations

import os
import select
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import cocotb
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import ClockCycles, Timer

from .board import STOP
from .board_bench import open_terminal, receive, send
from .front_bench import CLOCK_NS
from .row import LOG, PINS

LOOK = 500  # cycles between two looks at terminals and files


@cocotb.test()
async def row(dut: Any) -> None:
    """Serves the lines until the parent ends or the file `stop` is there; a file named like a pin raises it."""
    with Path(LOG).open("w", buffering=1) as log:
        await serve(dut, int(os.environ["BOARDS"]), log)


async def serve(dut: Any, boards: int, log: TextIO) -> None:
    parent, look = os.getppid(), Timer(LOOK * CLOCK_NS, unit="ns")

    def note(board: int, by_host: int, byte: int) -> None:
        log.write(f"{int(get_sim_time('ns')) // CLOCK_NS} {board} {by_host} {byte}\n")

    async def to_board(board: int, terminal: int) -> None:
        line = getattr(dut, f"rx{board}")
        while True:
            found, _, _ = select.select([terminal], [], [], 0)
            for byte in os.read(terminal, 4096) if found else b"":
                await send(line, bytes([byte]))
                note(board, 1, byte)
            await look

    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    pins = {f"{pin}{board}": getattr(dut, f"{pin}{board}") for pin in PINS for board in range(boards)}
    for board in range(boards):
        getattr(dut, f"rx{board}").value = 1
    for pin in pins.values():
        pin.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    for board in range(boards):
        terminal = open_terminal(Path(f"port{board}"))
        cocotb.start_soon(receive(getattr(dut, f"tx{board}"), terminal, partial(note, board, 0)))
        cocotb.start_soon(to_board(board, terminal))
    while os.getppid() == parent and not Path(STOP).exists():
        await look
        for name in filter(os.path.exists, pins):
            pins[name].value = 1
            await ClockCycles(dut.clk, 4)
            pins[name].value = 0
            Path(name).unlink()
