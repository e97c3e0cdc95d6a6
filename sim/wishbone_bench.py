# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the Wishbone front: the host's Board over a classic bus master with random pauses."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from ..fpga.link import MmioLink
from ..hw.fronts.registers import ID, flag, word
from ..model.mapping.images import checksum
from .front_bench import CLOCK_NS, classify_two_networks, frames_of_wrong_length, stop_anywhere


class Master:
    """A bus master; `read` and `write` block, for code that runs in a thread of `bridge`."""

    def __init__(self, dut: Any, pause: float = 0.3):
        self.dut, self.pause, self.rng = dut, pause, random.Random(1)
        Clock(dut.clk, CLOCK_NS, unit="ns").start()
        self.edge = RisingEdge(dut.clk)
        access = cocotb.task.resume(self.access)
        self.read = lambda offset: access(offset // 4, None)
        self.write = lambda offset, value: access(offset // 4, value)

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0

    async def access(self, address: int, value: int | None, select: int = 15) -> int:
        dut = self.dut
        while self.rng.random() < self.pause:
            await self.edge
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 1
        dut.wb_adr_i.value = address
        dut.wb_we_i.value = value is not None
        dut.wb_sel_i.value = select
        dut.wb_dat_i.value = value or 0
        await self.edge
        while not dut.wb_ack_o.value:
            await self.edge
        answer = dut.wb_dat_o.value.to_unsigned()
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
        await self.edge
        assert not dut.wb_ack_o.value, "ACK outlives the cycle"
        return answer


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def board(dut: Any) -> None:
    """The host's Board on two networks, stops at any beat, frames of a wrong length."""
    master = Master(dut)
    await master.reset()
    for work in (classify_two_networks, lambda link: stop_anywhere(link, 12), frames_of_wrong_length):
        await cocotb.task.bridge(work)(MmioLink(master))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def patience(dut: Any) -> None:
    """A logit that never comes is refused after 65,536 cycles; a write with half its selects changes nothing."""
    master = Master(dut, 0)
    await master.reset()
    await master.access(word("beats"), 7)
    await master.access(word("beats"), 9, select=3)
    assert await master.access(word("beats"), None) == 7
    await master.access(word("load"), 0xFF)
    await master.access(word("network"), checksum([0xFF]))
    await master.access(word("control"), 1)
    await ClockCycles(dut.clk, 20)
    await master.access(word("image"), 1)  # one of seven beats: nothing will come of it
    started = cocotb.utils.get_sim_time("ns")
    assert await master.access(word("logit"), None) == 0
    cycles = (cocotb.utils.get_sim_time("ns") - started) / CLOCK_NS
    assert 1 << 16 <= cycles < (1 << 16) + 64
    assert await master.access(word("events"), None) == flag("events", "refused")
    await master.access(word("control"), 0)
    assert await master.access(word("status"), None) == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def cycles_given_up(dut: Any) -> None:
    """A cycle that the master ends early does not answer the next one."""
    master = Master(dut, 0)
    await master.reset()
    for wait in range(1, 5):
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 1
        dut.wb_we_i.value, dut.wb_adr_i.value = 0, word("version")
        await ClockCycles(dut.clk, wait)
        if dut.wb_ack_o.value:
            break
        dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
        await master.edge
        assert await master.access(word("id"), None) == ID
    dut.wb_cyc_i.value = dut.wb_stb_i.value = 0
