# SPDX-License-Identifier: Apache-2.0
"""Checksum against zlib: whole loads, loads that are cut off and begun anew, resets in between."""

import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator

from onespike.hw.fronts.checksum import Checksum
from onespike.model.mapping.images import checksum


def rtl(network: int, steps: list) -> list[tuple[int, int]]:
    """Sum and cycles after each step: a word, "begin" or "reset"."""
    dut, reset = Checksum(network), Signal()
    m = Module()
    m.submodules.dut = ResetInserter(reset)(dut)
    found = []

    async def bench(ctx):
        for step in steps:
            port = {"begin": dut.begin, "reset": reset}.get(step, dut.valid)
            ctx.set(dut.word, step if isinstance(step, int) else random.Random(1).getrandbits(32))
            ctx.set(port, 1)
            cycles = 1
            while port is dut.valid and not ctx.get(dut.done):
                cycles += 1
                assert cycles < 9
                await ctx.tick()
            await ctx.tick()
            ctx.set(port, 0)
            found.append((ctx.get(dut.sum), cycles))

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("network", [0, 0x1234_5678, 0xFFFF_FFFF])
def test_sums_of_loads(network):
    rng = random.Random(network)
    words = [0, 1, 0xFFFF_FFFF, 1 << 31, *(rng.getrandbits(32) for _ in range(20))]
    steps = ["reset", "begin", *words[:7], "begin", *words, "reset", "begin", "begin"]
    found = rtl(network, steps)
    expected = [network] * 2 + [checksum(words[: i + 1]) for i in range(7)]
    expected += [expected[-1], *(checksum(words[: i + 1]) for i in range(len(words)))]
    expected += [expected[-1]] * 3
    assert [value for value, _ in found] == expected
    assert {cycles for (_, cycles), step in zip(found, steps, strict=True) if isinstance(step, int)} == {4}
    assert checksum([]) == 0 and checksum([0x34333231]) == 0x9BE3E0A3  # zlib.crc32(b"1234")


def test_a_word_in_the_cycle_of_a_reset_is_the_first_of_the_next_load():
    assert rtl(5, [7, "reset", 9])[-1][0] == checksum([9])
