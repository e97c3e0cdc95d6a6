# SPDX-License-Identifier: Apache-2.0
"""Stops of an engine that streams its weights, when its memory is slow or never answers."""

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator

from onespike.hw.config import EngineConfig
from onespike.hw.fronts import control
from onespike.hw.fronts.registers import word
from onespike.model.mapping.images import checksum
from onespike.sim.stream import run_pipeline

PATIENCE = 5


@pytest.fixture
def dut(monkeypatch):
    monkeypatch.setattr(control, "PATIENCE", PATIENCE)
    return control.Control(EngineConfig(external_weights=64), streams=True, network=1)


def accesses(dut, steps) -> list[tuple[int, bool, int]]:
    """Cycles, refused, resets of each step (register, value, cycles until the memory is idle or None for never)."""
    found = []

    async def bench(ctx):
        for register, value, idle_after in steps:
            ctx.set(dut.bus.address, word(register))
            ctx.set(dut.bus.data, value)
            ctx.set(dut.bus.write, 1)
            ctx.set(dut.bus.valid, 1)
            cycles = resets = 0
            while True:
                ctx.set(dut.weight_idle, idle_after is not None and cycles >= idle_after)
                done, refused = ctx.get(dut.bus.done), ctx.get(dut.bus.refused)
                await ctx.tick()
                cycles += 1
                resets += ctx.get(dut.reset)
                assert cycles < 4 << PATIENCE, "no answer"
                if done:
                    break
            if register == "control" and not (value and refused):
                assert ctx.get(dut.run) == value, "a stop that is refused has stopped, too"
            found.append((cycles, bool(refused), resets))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("idle_after", [0, 1, 2, 17])
def test_a_stop_waits_for_the_memory(dut, idle_after):
    start, stop, again = accesses(dut, [("control", 1, 0), ("control", 0, idle_after), ("control", 1, 0)])
    assert start == again == (2, False, 0)
    assert stop == (max(3, idle_after + 2), False, 1)


def test_a_memory_that_never_answers(dut):
    """The stop is refused in the end, and so is every start until a stop has been done."""
    steps = [("control", 1, 0), ("control", 0, None), ("control", 1, 0), ("control", 0, 3), ("control", 1, 0)]
    found = accesses(dut, steps)
    assert [refused for _, refused, _ in found] == [False, True, True, False, False]
    assert [resets for *_, resets in found] == [0, 0, 0, 1, 0]
    assert found[1][0] <= (1 << PATIENCE) + 4


def test_the_address_stands_while_the_engine_runs(dut):
    address = ("weight_address", 0x3000, 0)
    assert [refused for _, refused, _ in accesses(dut, [address, ("control", 1, 0), address])] == [False, False, True]


def test_the_address_reads_back(dut):
    """So do the features of a core with streams; a clock cycle for the request, one for the answer."""
    writes = [("weight_address", 0xFEDC_3000, 1), ("weight_address", 0, 0), ("features", 0, 0)]
    steps = [access for access in writes for _ in range(2)]
    found = run_pipeline(
        dut,
        {
            "bus.valid": [1] * len(steps),
            "bus.address": [word(name) for name, *_ in steps],
            "bus.data": [value for _, value, _ in steps],
            "bus.write": [write for *_, write in steps],
        },
        ["bus.done", "bus.answer", "weight_address"],
    )
    assert found["bus.done"] == [0, 1] * len(writes)
    assert found["bus.answer"][3::2] == [0xFEDC_3000, 0x11] and found["weight_address"][-1] == 0xFEDC_3000


def test_a_reset_leaves_the_loaded_network():
    """Memories outlive a reset of the chip: `network` names what was loaded last, where it was whole; words behind a
    stop are those of another load."""
    dut = control.Control(EngineConfig(), streams=False, network=0x1234_5678)
    reset = Signal()
    m = Module()
    m.submodules.dut = ResetInserter(reset)(dut)
    seen, both = [], checksum([7, 8])

    async def bench(ctx):
        async def access(name, value=None):
            ctx.set(dut.bus.address, word(name))
            ctx.set(dut.bus.data, value or 0)
            ctx.set(dut.bus.write, value is not None)
            ctx.set(dut.bus.valid, 1)
            while not ctx.get(dut.bus.done):
                await ctx.tick()
            seen.append(ctx.get(dut.bus.answer))
            await ctx.tick()
            ctx.set(dut.bus.valid, 0)
            await ctx.tick()

        ctx.set(dut.load.ready, 1)
        read = "network"
        steps = [
            "reset", read, 7, read, "reset", read, 7, 8, read, "confirm", read, "reset", read, "stop", read, 9, read,
        ]  # fmt: skip
        for step in steps:
            if step == "stop":
                await access("control", 0)
                seen.pop()
            elif step == "reset":
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)
            else:
                value = {read: None, "confirm": both}.get(step, step)
                await access("load" if isinstance(step, int) else "network", value)
                if step != read:
                    seen.pop()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(1e-4)
    assert seen == [0x1234_5678, 0, 0, 0, both, both, both, 0]


def test_other_bits_of_control_mean_nothing():
    values = [1, 2, 3, 0xFFFFFFFE, 0xFFFFFFFF]
    dut = control.Control(EngineConfig(), streams=True, network=1)
    inputs = {"bus.valid": [1] * 10, "bus.address": [word("control")] * 10, "bus.write": [1] * 10,
              "bus.data": [value for value in values for _ in range(2)]}  # fmt: skip
    found = run_pipeline(dut, inputs, ["run", "reset"], latency=1)
    assert found["run"][::2] == [value & 1 for value in values]
    assert found["reset"][::2] == [1 - (value & 1) for value in values]
