# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the AXI front whose engine streams its weights from cocotbext-axi's memory."""

from __future__ import annotations

import logging
import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiRamRead, AxiReadBus

from ..fpga.host import Board
from ..hw.fronts.registers import BY_NAME, flag
from .axi_bench import Bench, link_of, pauses
from .front_bench import Case, classify_two_networks

PLACES = (0x3000, 0x8000)  # where networks lie in turn


class Ram(AxiRamRead):
    """A memory that answers with an error while it is broken."""

    broken = False

    async def _read(self, address: int, length: int) -> bytes:
        if self.broken:
            raise OSError
        return await super()._read(address, length)


class Weights:
    """The core with its memory; watches the rules of the bus that a stop could break."""

    def __init__(self, dut: Any):
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        self.dut, self.bench = dut, Bench(dut)
        self.ram = Ram(AxiReadBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, reset_active_level=False,
                       size=1 << 17)  # fmt: skip
        self.stored = 0
        self.pending = 0  # beats on their way

    def stall(self, share: float) -> None:
        self.bench.stall(share)
        for seed, channel in enumerate((self.ram.ar_channel, self.ram.r_channel)):
            channel.set_pause_generator(pauses(seed, share))

    def store(self, weights: bytes) -> int:
        place = PLACES[self.stored % len(PLACES)]
        self.stored += 1
        self.ram.write(0, bytes(self.ram.size))
        self.ram.write(place, weights)
        return place

    async def watch(self) -> None:
        """A request, once made, stands until it is taken."""
        dut, before = self.dut, None
        while True:
            await RisingEdge(dut.aclk)
            now = (int(dut.m_axi_arvalid.value), int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value))
            assert before is None or now == before, "a request on m_axi changed"
            taken = now[0] and dut.m_axi_arready.value
            self.pending += (now[2] + 1) * int(taken) - int(dut.m_axi_rvalid.value)
            before = None if taken or not now[0] else now


async def started(dut: Any) -> Weights:
    weights = Weights(dut)
    await weights.bench.reset()
    cocotb.start_soon(weights.watch())
    return weights


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def board(dut: Any) -> None:
    """The host's Board classifies on two networks, with stalls on every channel."""
    weights = await started(dut)
    weights.stall(0.3)
    await cocotb.task.bridge(classify_two_networks)(link_of(weights.bench), weights.store)


async def loaded(weights: Weights) -> tuple[list[list[int]], list[list[int]]]:
    """Load network `one`: the frames of its images, and their logits."""
    case = Case.load("one")

    def load() -> Any:
        return Board(link_of(weights.bench)).load(case.net, store=weights.store)

    mapping = await cocotb.task.bridge(load)()
    assert not any(layer.resident for layer in mapping.layers), "weights stay on the chip"
    assert await weights.bench.read("weight_address") == PLACES[0]
    return case.beats(mapping), case.logits.tolist()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def stops(dut: Any) -> None:
    """A stop at any time leaves nothing under way on the bus, and the next image is right."""
    weights = await started(dut)
    beats, logits = await loaded(weights)
    bench, rng = weights.bench, random.Random(5)
    waited = 0
    for turn in range(24):
        for channel in (weights.ram.ar_channel, weights.ram.r_channel):
            channel.set_pause_generator(pauses(turn, 0.9 if turn % 2 else 0.3))
        await bench.send(beats[0])
        await ClockCycles(dut.aclk, rng.randrange(1, 900))
        await bench.source.wait()
        waited += weights.pending > 0
        await bench.write("control", 0)
        assert weights.pending == 0 and not dut.m_axi_arvalid.value, "the engine was reset under a request"
        await bench.write("control", 1)
        await ClockCycles(dut.aclk, 60)
        while not bench.sink.empty():
            await bench.receive()
        await bench.send(beats[1])
        assert await bench.receive() == logits[1], f"turn {turn}"
        assert not await bench.read("events") & flag("events", "refused")
    assert waited, "no stop came while the memory was at work"


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def errors(dut: Any) -> None:
    """An error of the memory gives no result but an event; after a stop the engine is as new."""
    weights = await started(dut)
    beats, logits = await loaded(weights)
    bench = weights.bench
    await bench.write("irq_enable", flag("events", "memory"))
    weights.ram.broken = True
    await bench.send(beats[0])
    await ClockCycles(dut.aclk, 2000)
    assert dut.irq.value == 1 and await bench.read("events") & flag("events", "memory")
    assert await bench.read("images") == 0 and bench.sink.empty()
    weights.ram.broken = False
    await bench.write("weight_address", 0)  # refused: the engine runs
    assert await bench.read("events") & flag("events", "refused")
    await bench.write("control", 0)
    assert dut.irq.value == 0 and await bench.lite.read_dword(BY_NAME["weight_address"].offset) == PLACES[0]
    await bench.write("control", 1)
    await bench.send(beats[1])
    assert await bench.receive() == logits[1]
