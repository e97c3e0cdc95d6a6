# SPDX-License-Identifier: Apache-2.0
"""Bit time: measured against a clock of any other frequency, and followed when the clock changes; a UART on it."""

from functools import partial

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from onespike.hw.fronts.bit_time import BITS, BitTime, bit_time_window
from onespike.hw.fronts.uart import Uart
from onespike.model.errors import OneSpikeError
from onespike.model.machine.bit_time import bit_time


@pytest.mark.parametrize("clock_mhz", [3.3, 25.0, 24.999, 61.7, 87.02, 145.4])
@pytest.mark.parametrize(("reference_mhz", "baud"), [(25, 1_000_000), (27, 921_600), (12, 230_400)])
def test_measures(clock_mhz: float, reference_mhz: float, baud: int) -> None:
    window = bit_time_window(reference_mhz * 1e6, baud)
    dut = BitTime(window)
    m = Module()
    m.domains += [ClockDomain("sync"), ClockDomain("reference", reset_less=True)]
    m.submodules.dut = dut
    low, high = bit_time(clock_mhz * 1e6, reference_mhz * 1e6, window)
    assert low <= clock_mhz * 1e6 / baud * 1.02 + 1 and high >= clock_mhz * 1e6 / baud * 0.98 - 1 and high - low <= 1
    seen = set()

    async def bench(ctx):
        assert ctx.get(dut.cycles) == 0xFFFF
        await ctx.tick().repeat(int(2.2 * BITS * clock_mhz * 1e6 / baud) + 8)
        for _ in range(int(3 * BITS * clock_mhz * 1e6 / baud)):
            await ctx.tick()
            seen.add(ctx.get(dut.cycles))

    simulator = Simulator(m)
    simulator.add_clock(1e-6 / clock_mhz, domain="sync")
    simulator.add_clock(1e-6 / reference_mhz, domain="reference", phase=0.3e-6 / reference_mhz)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen <= {low, high}


def test_refuses_what_the_oscillator_cannot_time() -> None:
    with pytest.raises(OneSpikeError, match=r"^An oscillator of 12 MHz cannot time 8000000 baud within 2 %; choose a "):
        bit_time_window(12e6, 8_000_000)


def test_uart_at_a_measured_speed() -> None:
    """Bytes back and forth between a UART that measures and one that knows, at two clocks."""
    m = Module()
    m.domains += [ClockDomain("sync"), ClockDomain("reference", reset_less=True)]
    m.submodules.bit_time = bit_time_ = BitTime(bit_time_window(25e6, 1_000_000))
    m.submodules.measured = measured = Uart(None, silence=12)
    m.submodules.known = known = Uart(61, silence=12)  # at 61 MHz
    m.d.comb += [measured.bit_time.eq(bit_time_.cycles), measured.rx.eq(known.tx), known.rx.eq(measured.tx)]
    text = [0x00, 0xFF, 0x55, 0xA3, 0x10]
    heard: dict[str, list[int]] = {"measured": [], "known": []}

    async def sender(ctx, uart):
        await ctx.tick().repeat(5000)
        for byte in text:
            ctx.set(uart.bytes.sent.payload, byte)
            ctx.set(uart.bytes.sent.valid, 1)
            await ctx.tick().until(uart.bytes.sent.ready)
            ctx.set(uart.bytes.sent.valid, 0)
            await ctx.tick()

    async def hear(ctx, uart, name):
        async for _, _, valid, byte in ctx.tick().sample(uart.bytes.received.valid, uart.bytes.received.payload):
            if valid:
                heard[name].append(byte)

    simulator = Simulator(m)
    simulator.add_clock(1e-6 / 61)
    simulator.add_clock(1e-6 / 25, domain="reference")
    for uart, name in ((measured, "measured"), (known, "known")):
        simulator.add_testbench(partial(sender, uart=uart))
        simulator.add_testbench(partial(hear, uart=uart, name=name), background=True)
    simulator.run_until(200e-6)
    assert heard == {"measured": text, "known": text}


def test_golden_at_the_edges():
    """A cycle less than the half of a bit is rounded down, and two more are past it."""
    half = 5 * BITS // 2
    assert bit_time(1.0, 1.0, half) == (2, 3) and bit_time(1.0, 1.0, half + 1) == (3, 3)
    assert bit_time(1.0, 1.0, half - 2) == (2, 3) and bit_time(1.0, 1.0, half - 3) == (2, 2)
