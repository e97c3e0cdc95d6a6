# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator

from onespike.hw.later import later


@pytest.mark.parametrize("reset_less", [False, True])
@pytest.mark.parametrize("cycles", range(1, 4))
def test_values_come_so_many_cycles_later(cycles: int, reset_less: bool) -> None:
    """Random values and resets: a reset takes away what is on its way, unless it is told not to."""
    rng = random.Random(cycles)
    given = [(rng.randrange(256), int(rng.random() < 0.1)) for _ in range(200)]
    value, reset = Signal(8), Signal()
    m, outer = Module(), Module()
    found = Signal(8)
    m.d.comb += found.eq(later(m, value, cycles, reset_less=reset_less))
    outer.submodules.way = ResetInserter(reset)(m)
    seen = []

    async def bench(ctx):
        for number, stops in given:
            ctx.set(value, number)
            ctx.set(reset, stops)
            *_, got = await ctx.tick().sample(found)
            seen.append(got)

    simulator = Simulator(outer)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    expected, way = [], [0] * cycles
    for number, stops in given:
        way.append(number)
        expected.append(way.pop(0))
        if stops and not reset_less:
            way = [0] * cycles
    assert seen == expected


def test_no_register_on_a_short_way() -> None:
    value = Signal(8)
    assert later(Module(), value, 0) is value
