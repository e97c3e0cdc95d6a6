# SPDX-License-Identifier: Apache-2.0
"""The Wishbone front around a played engine: whole words, partial writes, and masters that give a cycle up."""

import pytest
from amaranth.sim import Simulator

from engine_stand_in import BEATS, CONFIG, FIRST, played
from onespike.hw.fronts.registers import ID, flag, word
from onespike.hw.fronts.wishbone import Wishbone

IMAGE = (0x80000001, 0x7FFE8003)


class Master:
    def __init__(self):
        self.dut = Wishbone(CONFIG, make_engine=played)

    def offer(self, ctx, name: str, value: int | None, select: int = 0xF) -> None:
        dut = self.dut
        ctx.set(dut.wb_adr_i, word(name))
        ctx.set(dut.wb_dat_i, value or 0)
        ctx.set(dut.wb_sel_i, select)
        ctx.set(dut.wb_we_i, value is not None)
        for strobe in (dut.wb_cyc_i, dut.wb_stb_i):
            ctx.set(strobe, 1)

    async def tick(self, ctx) -> tuple[int, int]:
        _, _, ack, answer = await ctx.tick().sample(self.dut.wb_ack_o, self.dut.wb_dat_o)
        return ack, answer

    async def access(self, ctx, name: str, value: int | None = None, select: int = 0xF) -> int:
        self.offer(ctx, name, value, select)
        for _ in range(40):
            ack, answer = await self.tick(ctx)
            if ack:
                break
        assert ack, f"no end of an access to {name}"
        ctx.set(self.dut.wb_stb_i, 0)
        assert not (await self.tick(ctx))[0]
        return answer

    def run(self, bench) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()


def test_an_image_through_the_registers():
    """Every bit of a word arrives, and the interrupt."""
    master = Master()

    async def bench(ctx):
        assert await master.access(ctx, "id") == ID
        await master.access(ctx, "beats", BEATS)
        await master.access(ctx, "irq_enable", flag("events", "done"))
        await master.access(ctx, "control", 1)
        await master.access(ctx, "image", IMAGE[0])
        assert not ctx.get(master.dut.irq)
        await master.access(ctx, "image_last", IMAGE[1])
        logits = [await master.access(ctx, "logit") for _ in range(3)]
        assert logits == [IMAGE[1] & 0xFFFF, IMAGE[1] >> 16, FIRST - 2]
        assert ctx.get(master.dut.irq)

    master.run(bench)


@pytest.mark.parametrize("select", [0, 1, 7, 8, 14])
def test_a_partial_write_ends_and_does_nothing(select):
    master = Master()

    async def bench(ctx):
        await master.access(ctx, "irq_enable", 3)
        await master.access(ctx, "irq_enable", 1, select)
        assert await master.access(ctx, "irq_enable", None, select) == 3

    master.run(bench)


@pytest.mark.parametrize("signal", ["wb_cyc_i", "wb_stb_i"])
@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_a_cycle_that_is_given_up(signal, cycles):
    """Its end is told nobody, not even who asks for another register at once; before it was seen, nothing is asked."""
    master = Master()

    async def bench(ctx):
        await master.access(ctx, "irq_enable", 5)
        master.offer(ctx, "id", None)
        for _ in range(cycles):
            ack, _ = await master.tick(ctx)
        ctx.set(getattr(master.dut, signal), 0)
        if not ack:
            assert not (await master.tick(ctx))[0]
        assert await master.access(ctx, "irq_enable") == 5

    master.run(bench)


def test_width_of_words():
    dut = Wishbone(CONFIG, make_engine=played)
    assert (len(dut.wb_dat_i), len(dut.wb_dat_o), len(dut.wb_sel_i), len(dut.wb_adr_i)) == (32, 32, 4, 6)
