# SPDX-License-Identifier: Apache-2.0
"""cocotb testbench: a Bank in Verilog against its golden function, with random gaps and a drain in no hurry."""

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from ..hw.config import EngineConfig
from ..hw.engine.drain import release_step
from ..hw.engine.fetch import command_layout, stride_layout
from ..hw.engine.load import row_words
from ..hw.program import WORD
from ..model.machine.bank import bank
from ..model.machine.fetch import Command, Stride


def bits(layout: data.Layout, value: Any) -> int:
    """The integer that a port of this layout takes."""
    return int(layout.const(value).as_value().value)


async def fill(dut: Any, edge: RisingEdge, port: str, words: list[int]) -> None:
    """Write words from address 0 through a port of enable, address and data."""
    enable, address, word = (getattr(dut, f"{port}__{name}") for name in ("enable", "address", "data"))
    enable.value = 1
    for at, value in enumerate(words):
        address.value, word.value = at, value
        await edge
    enable.value = 0


async def fill_weights(dut: Any, edge: RisingEdge, rows: list[int], words: int) -> None:
    """Write rows of so many words from address 0 on, word by word."""
    dut.load__shift.value = 1
    for address, row in enumerate(rows):
        dut.load__address.value = address
        for i in range(words):
            dut.load__word.value, dut.load__enable.value = row >> WORD * i & (1 << WORD) - 1, i == words - 1
            await edge
    dut.load__shift.value, dut.load__enable.value = 0, 0


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def equals_golden(dut: Any) -> None:
    """The sums of every job, and the number of events, equal the golden model."""
    case = json.loads(Path(os.environ["ONESPIKE_BANK"]).read_text())
    config = EngineConfig(**case["config"])
    commands = [Command(*command) for command in case["commands"]]
    strides = [Stride(*stride) for stride in case["strides"]]
    jobs = bank(config, commands, strides, case["memory"], case["weights"])
    rng = random.Random(case["seed"])
    mask = (1 << config.weight_bits) - 1
    rows = [sum((w & mask) << i * config.weight_bits for i, w in enumerate(row)) for row in case["weights"]]

    Clock(dut.clk, 10, unit="ns").start()
    edge = RisingEdge(dut.clk)
    for name in ("rst", "commands__valid", "release", "take", "write__enable", "load__enable", "load__shift"):
        getattr(dut, name).value = 0
    dut.turn.value = 1  # there is no other bank
    dut.strides.value = bits(
        data.ArrayLayout(stride_layout(config), config.segments), [stride.fields(config) for stride in strides]
    )
    await fill_weights(dut, edge, rows, row_words(config.lanes * config.weight_bits))
    await fill(dut, edge, "write", case["memory"])

    waiting = [bits(command_layout(config), command._asdict()) for command in commands]
    offered = False  # a command is on the port
    step: int | None = None  # of the drain, while it runs
    showing = False  # the lanes of a step are on `drain` after the next edge
    shown: list[int] = []
    events = 0
    while len(shown) < len(jobs) * config.lanes:
        await edge
        events += int(dut.event.value)
        if offered and dut.commands__ready.value:
            waiting.pop(0)
            offered = False
        if showing:
            row = dut.drain.value.to_unsigned()
            shown += [row >> i * config.acc_bits & (1 << config.acc_bits) - 1 for i in range(config.fire_lanes)]
        showing = step is not None
        if step is not None:
            step = step + 1 if step + 1 < config.drain_steps else None
        elif dut.full.value and not dut.release.value and rng.random() < 0.5:
            step = 0
        if waiting and (offered or rng.random() < 0.6):
            dut.commands__payload.value = waiting[0]
            offered = True
        dut.commands__valid.value = int(offered)
        dut.take.value = int(step is not None)
        dut.release.value = int(step == release_step(config))

    half = 1 << (config.acc_bits - 1)
    shadows = [[0] * config.lanes, *(shown[i : i + config.lanes] for i in range(0, len(shown), config.lanes))]
    for number, job in enumerate(jobs):
        before, after = shadows[number], shadows[number + 1]
        sums = [(b - a + half) % (2 * half) - half for a, b in zip(before, after, strict=True)]
        assert sums == job.sums, f"job {number}: sums {sums}, golden {job.sums}"
    assert events == sum(job.events for job in jobs), f"{events} events, golden {sum(job.events for job in jobs)}"
    dut._log.info(f"{len(jobs)} jobs, {events} events")
