# SPDX-License-Identifier: Apache-2.0
"""The AXI front around a played engine: frames in, results out while registers are read, and the way to memory."""

import dataclasses
import random

import pytest
from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from engine_stand_in import BEATS, CONFIG, FIRST, PlayedEngine, played
from onespike.hw.engine.axi_read import axi_read_signals
from onespike.hw.fronts.axi import Axi
from onespike.hw.fronts.registers import ID, flag, word

STREAMED = dataclasses.replace(CONFIG, external_weights=32)


def run(dut: Axi, bench) -> None:
    """The front's clock and reset come in at pins."""
    m = Module()
    m.domains += ClockDomain("bus")
    m.submodules.dut = dut
    m.d.comb += dut.aclk.eq(ClockSignal("bus"))
    simulator = Simulator(m)
    simulator.add_clock(1e-8, domain="bus")
    simulator.add_testbench(bench)
    simulator.run()


READ_CYCLES = 3  # from an address to its answer: no register between the pins and AxiLite


class Host:
    """Registers over AXI4-Lite; beats that wait in `frames`, results in `results`."""

    def __init__(self, share: float):
        self.dut = Axi(CONFIG, make_engine=played)
        self.rng, self.share = random.Random(3), share
        self.frames: list[tuple[int, int]] = []
        self.results: list[tuple[int, int, int]] = []
        self.offered = False

    async def tick(self, ctx, *ports):
        dut = self.dut
        self.offered = bool(self.frames) and (self.offered or self.rng.random() < self.share)
        ready = self.rng.random() < self.share
        ctx.set(dut.s_axis_tvalid, self.offered)
        if self.offered:
            ctx.set(dut.s_axis_tdata, self.frames[0][0])
            ctx.set(dut.s_axis_tlast, self.frames[0][1])
        ctx.set(dut.m_axis_tready, ready)
        _, _, taken, valid, *beat = await ctx.tick("bus").sample(
            dut.s_axis_tready, dut.m_axis_tvalid, dut.m_axis_tdata, dut.m_axis_tuser, dut.m_axis_tlast, *ports
        )
        if self.offered and taken:
            self.frames.pop(0)
            self.offered = False
        if valid and ready:
            self.results.append(tuple(beat[:3]))
        return beat[3:]

    async def access(self, ctx, name: str, value: int | None = None) -> int:
        dut, kind = self.dut, "r" if value is None else "w"
        address = "ar" if value is None else "aw"
        ctx.set(getattr(dut, f"s_axi_{address}addr"), 4 * word(name))
        ctx.set(dut.s_axi_wdata, value or 0)
        ctx.set(dut.s_axi_wstrb, 0xF)
        waiting = {f"s_axi_{address}valid"} | ({"s_axi_wvalid"} if kind == "w" else set())
        end = "r" if kind == "r" else "b"
        ctx.set(getattr(dut, f"s_axi_{end}ready"), 1)
        for cycle in range(60):
            for port in ("s_axi_arvalid", "s_axi_awvalid", "s_axi_wvalid"):
                ctx.set(getattr(dut, port), port in waiting)
            asked = sorted(waiting)
            *taken, valid, answer = await self.tick(
                ctx, *(getattr(dut, port.replace("valid", "ready")) for port in asked),
                getattr(dut, f"s_axi_{end}valid"), dut.s_axi_rdata,
            )  # fmt: skip
            waiting -= {port for port, took in zip(asked, taken, strict=True) if took}
            if valid:
                assert cycle == READ_CYCLES or kind == "w"
                return answer
        raise AssertionError("no answer")


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_frames(share):
    """Every bit of a beat arrives; reset keeps the stream away; the interrupt comes."""
    host = Host(share)
    dut = host.dut
    images = [(0x80000001, 0x7FFE8003), (1, 2), (0xFFFFFFFF, 0x0001FFFE)]

    async def bench(ctx):
        assert not ctx.get(dut.s_axis_tready)
        ctx.set(dut.aresetn, 1)
        assert await host.access(ctx, "id") == ID
        await host.access(ctx, "beats", BEATS)
        await host.access(ctx, "irq_enable", flag("events", "done"))
        await host.access(ctx, "control", 1)
        host.frames = [(value, int(last)) for image in images for value, last in zip(image, (0, 1), strict=True)]
        assert not ctx.get(dut.irq)
        for _ in range(200):
            await host.tick(ctx)
        assert ctx.get(dut.irq) and await host.access(ctx, "images") == len(images)
        assert host.results == [
            beat for _, last in images for beat in ((last & 0xFFFF, 7, 0), (last >> 16, 7, 0), (FIRST - 2, 7, 1))
        ]
        assert await host.access(ctx, "events") == flag("events", "done")  # frames of the right length

    run(dut, bench)


class Reader(wiring.Component):
    """In place of the engine: what it asks memory for is what comes in, a cycle later."""

    def __init__(self):
        played_engine = PlayedEngine()
        channels = {f"m_axi_{name}": port for name, port in axi_read_signals(STREAMED).items()}
        weights = {"weight_address": In(32), "weight_error": Out(1), "weight_idle": Out(1)}
        super().__init__(dict(played_engine.signature.members) | channels | weights)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.weight_idle.eq(1)
        m.d.sync += [
            self.m_axi_araddr.eq(self.m_axi_rdata), self.m_axi_arvalid.eq(self.m_axi_rvalid),
            self.m_axi_arlen.eq(Cat(self.m_axi_rresp, self.m_axi_rlast, self.m_axi_arready)),
            self.m_axi_arsize.eq(2), self.m_axi_arburst.eq(1), self.m_axi_arcache.eq(3), self.m_axi_rready.eq(1),
        ]  # fmt: skip
        return m


def test_the_way_to_memory():
    dut = Axi(STREAMED, make_engine=lambda config, reset: Reader())
    names = ("araddr", "arvalid", "arlen", "arsize", "arburst", "arcache", "rready")

    async def bench(ctx):
        ctx.set(dut.aresetn, 1)
        for data, valid, resp, last, ready in ((0x80000001, 1, 3, 0, 1), (0x7FFFFFFE, 0, 0, 1, 0), (5, 1, 2, 1, 1)):
            given = {"rdata": data, "rvalid": valid, "rresp": resp, "rlast": last, "arready": ready}
            for name, value in given.items():
                ctx.set(getattr(dut, f"m_axi_{name}"), value)
            await ctx.tick("bus")
            found = [ctx.get(getattr(dut, f"m_axi_{name}")) for name in names]
            assert found == [data, valid, resp | last << 2 | ready << 3, 2, 1, 3, 1]

    run(dut, bench)
