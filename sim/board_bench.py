# SPDX-License-Identifier: Apache-2.0
"""cocotb bench of the simulated board: bytes between a pseudo-terminal and the UART front, until the parent ends."""

from __future__ import annotations

import os
import select
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, Timer

from .board import DIVISOR, STOP
from .front_bench import CLOCK_NS

BIT = DIVISOR * CLOCK_NS
IDLE_CYCLES = 2000  # simulated between two looks at the terminal
PATIENT = 2000  # idle looks after which the simulation slows down


async def send(line: Any, data: bytes) -> None:
    """Put bytes on the line."""
    bit = Timer(BIT, unit="ns")
    for byte in data:
        for level in (0, *(byte >> i & 1 for i in range(8)), 1):
            line.value = level
            await bit


async def receive(line: Any, terminal: int, seen: Callable[[int], None] = lambda byte: None) -> None:
    """Take bytes from the line for ever; seen: called with each."""
    start, bit = FallingEdge(line), Timer(BIT, unit="ns")
    half = Timer(BIT // 2, unit="ns")
    while True:
        await start
        await half
        byte = 0
        for i in range(8):
            await bit
            byte |= int(line.value) << i
        await bit
        seen(byte)
        os.write(terminal, bytes([byte]))


def open_terminal(port: Path) -> int:
    """A pseudo-terminal; the path of its other end stands in the file `port`."""
    terminal, other = os.openpty()
    tty.setraw(other)  # kept open, so that the terminal outlives its users
    new = port.with_suffix(".new")
    new.write_text(os.ttyname(other))
    new.rename(port)
    return terminal


@cocotb.test()
async def board(dut: Any) -> None:
    """Serves the line until the parent ends or the file `stop` is there; the file `port` says where."""
    parent = os.getppid()
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    dut.rx.value, dut.rst.value = 1, 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    terminal = open_terminal(Path("port"))
    cocotb.start_soon(receive(dut.tx, terminal))
    wait = Timer(IDLE_CYCLES * CLOCK_NS, unit="ns")
    idle = 0
    while os.getppid() == parent and not Path(STOP).exists():
        found, _, _ = select.select([terminal], [], [], 0 if idle < PATIENT else 0.01)
        if found:
            idle = 0
            await send(dut.rx, os.read(terminal, 4096))
        else:
            idle += 1
            await wait
