# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.queue import Queue
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """The queue with both sides as streams."""

    def __init__(self, width: int, depth: int):
        self.queue = Queue(width=width, depth=depth)
        super().__init__({"write": In(stream.Signature(width)), "read": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = dut = self.queue
        m.d.comb += [
            dut.w_en.eq(self.write.valid),
            dut.w_data.eq(self.write.payload),
            self.write.ready.eq(dut.w_rdy),
            self.read.valid.eq(dut.r_rdy),
            self.read.payload.eq(dut.r_data),
            dut.r_en.eq(self.read.ready),
        ]
        return m


def golden(writes: list[int], reads: list[int], depth: int) -> bool:
    """Whether an entry was written while there was room, and read while there was one, cycle by cycle."""
    for index, read in enumerate(reads):
        assert read > writes[index], "read before it was written"
    return all(write > reads[index - depth] for index, write in enumerate(writes) if index >= depth)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("stall", [0, 0.2, 0.7])
def test_order_and_room(depth, stall):
    values = [random.Random(depth).randrange(256) for _ in range(100)]
    stamps = run_stream(Harness(8, depth), {"write": values}, {"read": 100}, stamps=True, seed=depth, stall=stall)
    assert [t.payload for t in stamps["read"]] == values
    assert golden([t.cycle for t in stamps["write"]], [t.cycle for t in stamps["read"]], depth)


@pytest.mark.parametrize("depth", [2, 5])
def test_cycles(depth):
    """An entry can be read in the cycle after its write, one in every cycle."""
    stamps = run_stream(Harness(8, depth), {"write": list(range(20))}, {"read": 20}, stamps=True, stall=0)
    assert [t.cycle for t in stamps["write"]] == list(range(20))
    assert [t.cycle for t in stamps["read"]] == list(range(1, 21))


def test_arguments():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        Queue(width=4, depth=0)
