# SPDX-License-Identifier: Apache-2.0
import random
from itertools import islice

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from onespike.hw.config import EngineConfig
from onespike.hw.engine.axi_read import ASK_CYCLES, BURST_INCR, QUEUE_LATENCY, AxiRead
from onespike.model.machine.axi_read import Burst, bursts

BASE = 0x7000
OKAY, SLVERR = 0, 2


class Memory:
    """Answers bursts in order: word i holds `i * 3 + 1`; at random, or after `latency` cycles a beat in every one."""

    def __init__(self, config: EngineConfig, *, latency: int = 0, seed: int = 0, stall: float = 0, bad: int = -1):
        self.config, self.latency, self.bad, self.stall = config, latency, bad, stall
        self.rng = random.Random(seed)
        self.bursts: list[Burst] = []
        self.asked: list[int] = []
        self.due: list[tuple[int, int, bool]] = []  # cycle, word, last
        self.held = None

    def drive(self, ctx, dut, cycle: int) -> None:
        ctx.set(dut.arready, self.rng.random() >= self.stall)
        ready = bool(self.due) and self.due[0][0] <= cycle and self.rng.random() >= self.stall
        ctx.set(dut.rvalid, ready)
        if ready:
            _, word, last = self.due.pop(0)
            ctx.set(dut.rdata, word * 3 + 1)
            ctx.set(dut.rlast, last)
            ctx.set(dut.rresp, SLVERR if word == self.bad else OKAY)

    def watch(self, cycle: int, arvalid: int, arready: int, araddr: int, arlen: int, arsize: int, arburst: int) -> None:
        if self.held is not None:
            assert arvalid and (araddr, arlen) == self.held, "an address was changed before it was taken"
        self.held = (araddr, arlen) if arvalid and not arready else None
        if arvalid and arready:
            size = self.config.external_weights // 8
            assert (1 << arsize, arburst, araddr % size) == (size, BURST_INCR, 0)
            assert araddr % 4096 + (arlen + 1) * size <= 4096, "a burst crosses a 4 KB boundary"
            start = (araddr - BASE) // size
            self.bursts.append(Burst(start, arlen + 1))
            self.asked.append(cycle)
            wait = cycle + self.latency + int(self.rng.random() * 30 * (self.stall > 0))
            self.due += [(wait, start + i, i == arlen) for i in range(arlen + 1)]


def read(config: EngineConfig, memory: Memory, plan: tuple[int, int, int], count: int, *, stall: float = 0.0,
         pauses: tuple[int, ...] = ()):  # fmt: skip
    """(words, the cycles in which they left) of each run; a new one begins after every pause, as many words later."""
    dut = AxiRead(config)
    m = Module()
    m.submodules.dut = dut
    runs: list[tuple[list[int], list[int]]] = [([], [])]
    rng = random.Random(7)

    async def bench(ctx) -> None:
        first, beats, restart = plan
        for port, value in ((dut.base, BASE), (dut.first_beats, first), (dut.beats, beats), (dut.restart, restart)):
            ctx.set(port, value)
        assert (ctx.get(dut.arcache), ctx.get(dut.arprot)) == (0b0011, 0b000)  # may be merged and buffered; data
        low = 0
        for cycle in range(20000):
            memory.drive(ctx, dut, cycle)
            ctx.set(dut.run, low == 0)
            ctx.set(dut.words.ready, low == 0 and rng.random() >= stall)
            address = (dut.arvalid, dut.arready, dut.araddr, dut.arlen, dut.arsize, dut.arburst)
            _, _, rready, valid, ready, word, *bus = await ctx.tick().sample(
                dut.rready, dut.words.valid, dut.words.ready, dut.words.payload, *address
            )
            assert rready
            memory.watch(cycle, *bus)
            low = max(0, low - 1)
            if valid and ready:
                runs[-1][0].append(word)
                runs[-1][1].append(cycle)
                if len(runs) <= len(pauses) and len(runs[-1][0]) == pauses[len(runs) - 1]:
                    runs.append(([], []))
                    low = 2
                if len(runs) > len(pauses) and len(runs[-1][0]) == count:
                    return
        raise AssertionError(f"only {[len(words) for words, _ in runs]} words, error {ctx.get(dut.error)}")

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert runs[-1][0][count - 1 :], "the simulation stopped before its end"
    return runs


def words(config: EngineConfig, plan: tuple[int, int, int], count: int) -> list[int]:
    found = [at * 3 + 1 for burst in islice(bursts(config, *plan), count) for at in range(sum(burst))[burst.start :]]
    return found[:count]


PLANS = [(100, 100, 0), (1, 1, 0), (64, 16, 64), (37, 83, 48), (5, 3, 16)]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("bits, burst, outstanding", [(32, 4, 2), (64, 16, 4), (128, 8, 8)])
def test_reads_over_and_over(bits, burst, outstanding, plan):
    config = EngineConfig(external_weights=bits, burst=burst, bursts=outstanding)
    memory = Memory(config, seed=sum(plan), stall=0.4)
    ((found, _),) = read(config, memory, plan, 300, stall=0.3)
    assert found == words(config, plan, 300)
    assert memory.bursts == list(islice(bursts(config, *plan), len(memory.bursts)))


def test_cycles():
    """The next burst three cycles after the one before, until the queue is spoken for; then a word in every cycle."""
    config = EngineConfig(external_weights=64, burst=8, bursts=4)
    memory = Memory(config, latency=20)
    ((_, cycles),) = read(config, memory, (1000, 1000, 0), 200)
    asked = memory.asked
    assert asked[1:4] == [asked[0] + ASK_CYCLES * i for i in (1, 2, 3)]
    assert cycles[0] == asked[0] + 20 + QUEUE_LATENCY
    assert cycles[:32] == list(range(cycles[0], cycles[0] + 32))
    # A burst of the queue is free when its last word has left: two cycles later the next one is chosen, then asked for.
    assert asked[4] == cycles[7] + 3


@pytest.mark.parametrize("pause", [1, 5, 40, 77])
def test_a_pause_starts_over(pause):
    """Beats on their way are dropped, also when the pause is short and addresses wait."""
    config = EngineConfig(external_weights=64, burst=8, bursts=4)
    memory = Memory(config, seed=pause, stall=0.6)
    runs = read(config, memory, (60, 40, 64), 90, stall=0.2, pauses=(pause, 30))
    assert [found for found, _ in runs] == [words(config, (60, 40, 64), count) for count in (pause, 30, 90)]


def test_an_error_ends_the_stream():
    config = EngineConfig(external_weights=64, burst=8, bursts=4)
    memory = Memory(config, bad=21)
    with pytest.raises(AssertionError, match=r"only \[22\] words, error 1"):
        read(config, memory, (60, 60, 0), 90)
