# SPDX-License-Identifier: Apache-2.0
"""An engine in Amaranth's simulator with a host that is played, and its memories at hand, to damage them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from onespike.hw import memory
from onespike.hw.engine.engine import Engine
from onespike.hw.engine.faults import FAULTS
from onespike.model.mapping.images import image_beats, load_words, memory_images


@contextmanager
def kept_memories(monkeypatch):
    """Every memory that is made meanwhile, in its order: (width, depth, memory)."""
    made: list[Memory] = []

    class Kept(Memory):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(memory, "Memory", Kept)
        yield made


class Played:
    """Runs `play(self, ctx)` with an engine, and moves time: `tick` takes what comes out meanwhile."""

    def __init__(self, config, *, patience: int = 20_000):
        self.config, self.dut, self.patience = config, Engine(config), patience
        self.logits: list[int] = []
        self.cycle, self.takes = 0, True
        self.each: Callable[[Any], Any] | None = None  # called before every clock edge

    async def tick(self, ctx) -> None:
        ctx.set(self.dut.logits.ready, self.takes)
        if self.each is not None:
            await self.each(ctx)
        logits = self.dut.logits
        _, _, valid, value = await ctx.tick().sample(logits.valid, logits.payload.value)
        if valid and self.takes:
            self.logits.append(value)
        self.cycle += 1
        assert self.cycle < self.patience, "no end"

    def faults(self, ctx) -> set[str]:
        found = ctx.get(self.dut.faults)
        return {name for i, name in enumerate(FAULTS) if found >> i & 1}

    async def stop(self, ctx) -> None:
        ctx.set(self.dut.enable, 0)
        for _ in range(4):
            await self.tick(ctx)
        self.logits.clear()

    async def load(self, ctx, mapping, words: list[int] | None = None) -> None:
        """Load a network, or these words, and start."""
        await self.stop(ctx)
        for word in load_words(memory_images(mapping), self.config) if words is None else words:
            ctx.set(self.dut.load.payload, word)
            ctx.set(self.dut.load.valid, 1)
            await self.tick(ctx)
        ctx.set(self.dut.load.valid, 0)
        for _ in range(6):
            await self.tick(ctx)
        ctx.set(self.dut.enable, 1)

    async def image(self, ctx, mapping, codes, pause: int = 0, before_last=lambda: None) -> None:
        """Send one image [C, H, W]; pause: cycles before every beat."""
        beats = image_beats(mapping, codes[None])[0]
        for index, beat in enumerate(beats):
            if index == len(beats) - 1:
                before_last()
            for _ in range(pause):
                await self.tick(ctx)
            ctx.set(self.dut.image.payload, int(beat))
            ctx.set(self.dut.image.valid, 1)
            while True:
                taken = ctx.get(self.dut.image.ready)
                await self.tick(ctx)
                if taken:
                    break
            ctx.set(self.dut.image.valid, 0)

    async def answer(self, ctx, number: int, cycles: int = 5000) -> list[int]:
        """The next logits, or those that have come when the engine says that something is wrong with it for good."""
        for _ in range(cycles):
            if len(self.logits) >= number or "watchdog" in self.faults(ctx):
                break
            await self.tick(ctx)
        found, self.logits[:] = self.logits[:number], self.logits[number:]
        return found

    def run(self, play) -> None:
        async def bench(ctx):
            await play(ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()

