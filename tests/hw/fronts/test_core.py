# SPDX-License-Identifier: Apache-2.0
"""The core around an engine that is played: a stop in any cycle, above all while the first logit is on offer."""

import dataclasses
import random

import pytest
from amaranth.hdl import ResetInserter
from amaranth.sim import Simulator

from engine_stand_in import BEATS, CLASSES, CONFIG, FIRST, PlayedEngine
from onespike.hw.engine.faults import FAULTS
from onespike.hw.fronts.core import Core
from onespike.hw.fronts.registers import flag, word


class Host:
    """Drives the registers, offers images without end and takes logits where `ready` says so."""

    def __init__(self, ready):
        self.dut = Core(CONFIG, streams=True, make_engine=lambda config, reset: ResetInserter(reset)(PlayedEngine()))
        self.ready, self.cycle = ready, 0
        self.beats: list[tuple[int, int, int]] = []  # cycle, value, last of all that was taken
        self.offers: list[int] = []  # cycles in which a logit was on offer
        self.waiting = None
        self.sends, self.place = False, 0

    async def tick(self, ctx) -> tuple[int, int]:
        """One cycle: (bus.done, bus.answer)."""
        dut = self.dut
        # A frame that has begun is sent to its end; as the source is not stopped, it goes on with the next one.
        ctx.set(dut.image.valid, self.sends)
        ctx.set(dut.image.payload, {"data": 1 + self.place, "last": self.place == BEATS - 1})
        ready = self.ready(self.cycle)
        ctx.set(dut.logits.ready, ready)
        _, _, done, answer, taken, valid, value, last = await ctx.tick().sample(
            dut.bus.done, dut.bus.answer, dut.image.ready, dut.logits.valid, dut.logits.payload.value,
            dut.logits.payload.last,
        )  # fmt: skip
        if self.sends and taken:
            self.place = (self.place + 1) % BEATS
        if self.waiting is not None:
            assert (valid, value, last) == (1, *self.waiting), f"an offer changed in cycle {self.cycle}"
        self.waiting = (value, last) if valid and not ready else None
        if valid:
            self.offers.append(self.cycle)
            if ready:
                self.beats.append((self.cycle, value, last))
        self.cycle += 1
        return done, answer

    async def access(self, ctx, name: str, value: int | None = None) -> int:
        bus = self.dut.bus
        for port, bits in ((bus.address, word(name)), (bus.data, value or 0), (bus.write, value is not None)):
            ctx.set(port, bits)
        ctx.set(bus.valid, 1)
        for _ in range(20):
            done, answer = await self.tick(ctx)
            if done:
                ctx.set(bus.valid, 0)
                return answer
        raise AssertionError("no answer")

    def run(self, bench) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()


def stopped(at: int, ready) -> tuple[Host, dict[str, int], int]:
    """Run, write the stop in cycle `at`, run again: the host, what registers say while it is stopped and in the end,
    and the beats that had been taken when the second run began to give results."""
    host = Host(ready)
    state: dict[str, int] = {}
    marks = []

    async def bench(ctx):
        await host.access(ctx, "beats", BEATS)
        await host.access(ctx, "control", 1)
        host.sends = True
        while host.cycle < at - 2:
            await host.tick(ctx)
        begin = host.cycle
        status = await host.access(ctx, "status")  # its answer is of its first cycle
        assert bool(status & flag("status", "result")) == (begin in host.offers)
        host.sends = False
        await host.access(ctx, "control", 0)
        for name in ("status", "events", "images"):
            state[name] = await host.access(ctx, name)
        for _ in range(12):
            await host.tick(ctx)
        marks.append(len(host.beats))
        host.place = 0
        await host.access(ctx, "control", 1)
        host.sends = True
        for cycle in range(60):
            host.sends = cycle < 40 or host.place > 0
            await host.tick(ctx)
        for name in ("class", "images"):
            state[f"{name} again"] = await host.access(ctx, name)

    host.run(bench)
    return host, state, marks[0]


WHOLE = [(FIRST - i, int(i == CLASSES - 1)) for i in range(CLASSES)]


def check(at: int, ready) -> Host:
    """Frames on the stream: whole ones, then at most one that was cut and closed with 0, then whole ones again."""
    host, state, before = stopped(at, ready)
    beats = [(value, last) for _, value, last in host.beats]
    first, second = beats[:before], beats[before:]
    while first and first[:CLASSES] == WHOLE:
        first = first[CLASSES:]
    if first and not first[-1][1]:  # it is closed in the second run, where nothing was taken meanwhile
        end = next(i for i, (_, last) in enumerate(second) if last) + 1
        first, second = first + second[:end], second[end:]
    if first:
        cut = len(first) - 1
        assert first[:cut] == WHOLE[:cut] and first[-1] in ((0, 1), WHOLE[cut]), f"stopped in cycle {at}: {first}"
    rest = [frame for i in range(0, len(second), CLASSES) if len(frame := second[i : i + CLASSES]) == CLASSES]
    assert len(rest) >= 2 and all(frame == WHOLE for frame in rest), f"stopped in cycle {at}: {second}"
    registers = {"status": 0, "events": 0, "images": 0, "class again": 7, "images again": len(rest)}
    assert state == registers, f"stopped in cycle {at}"
    return host


@pytest.mark.parametrize(("share", "begin"), [(1.0, 8), (0.5, 11)])
def test_a_stop_in_any_cycle(share, begin):
    rng = random.Random(3)
    pattern = [rng.random() < share for _ in range(400)]
    for at in range(begin, begin + 11):
        check(at, pattern.__getitem__)


@pytest.mark.parametrize("taken", range(-3, 6))
def test_a_stop_while_the_first_logit_is_on_offer(taken):
    """It stands; taken in any cycle around the reset, it is followed by one beat of 0 that closes the frame."""
    at = 20

    def ready(cycle: int) -> bool:
        return cycle == at + taken or cycle > at + 30

    host = check(at, ready)
    assert host.offers[0] < at - 3, "the first logit is on offer before"
    beats = [(value, last) for _, value, last in host.beats]
    assert beats[0] == WHOLE[0] and host.beats[0][0] == at + taken
    # The second logit is on offer, too, where the first one was taken before the reset, a cycle behind the write.
    closing = beats[1 : next(i for i, (_, last) in enumerate(beats) if last) + 1]
    assert closing == ([WHOLE[1], (0, 1)] if taken <= 0 else [(0, 1)])


class Registers(Host):
    """The same without streams: everything goes through the registers."""

    def __init__(self):
        self.dut = Core(CONFIG, streams=False, make_engine=lambda config, reset: ResetInserter(reset)(PlayedEngine()))
        self.cycle = 0

    async def tick(self, ctx) -> tuple[int, int]:
        self.cycle += 1
        _, _, done, answer = await ctx.tick().sample(self.dut.bus.done, self.dut.bus.answer)
        return done, answer


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_stop_drops_the_logits_that_wait_for_the_registers(taken):
    """Also in mid-result: what is read afterwards are the logits of the next image."""
    host = Registers()

    async def bench(ctx):
        await host.access(ctx, "beats", BEATS)
        for logits in (taken, CLASSES, CLASSES):
            await host.access(ctx, "control", 1)
            await host.access(ctx, "image", 1)
            await host.access(ctx, "image_last", 2)
            assert [await host.access(ctx, "logit") for _ in range(logits)] == [value for value, _ in WHOLE[:logits]]
            for _ in range(4):
                await host.tick(ctx)
            status = await host.access(ctx, "status")
            assert bool(status & flag("status", "result")) == (logits < CLASSES)
            await host.access(ctx, "control", 0)
            assert await host.access(ctx, "status") == 0

    host.run(bench)


@pytest.mark.parametrize("at", range(20, 24))
def test_a_fault_is_told_in_its_own_cycle(at):
    """A read gives what the engine says in the cycle in which it begins; a cycle later, and the host could miss it."""
    host, engine = Registers(), PlayedEngine(damaged_at=at)
    config = dataclasses.replace(CONFIG, parity=True)
    host.dut = Core(config, streams=False, make_engine=lambda config, reset: engine)
    told = []

    async def bench(ctx):
        await host.access(ctx, "control", 1)
        for _ in range(20):
            now = ctx.get(engine.faults)
            assert await host.access(ctx, "faults") == now
            told.append(now)

    host.run(bench)
    assert set(told) == {0, 1 << FAULTS.index("weights")}
