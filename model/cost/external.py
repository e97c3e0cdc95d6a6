# SPDX-License-Identifier: Apache-2.0
"""External memory: when streamed weights arrive, and how long each layer waits for them, to the cycle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from ...hw.config import EngineConfig
from ...hw.engine.axi_read import ASK_CYCLES, QUEUE_LATENCY
from ...hw.engine.prefetch import beat_rows, head_beats, row_beats
from ..machine.axi_read import bursts
from ..mapping.mapping import MappedLayer, Mapping
from ..mapping.prefetch import block_beats, blocks
from .cycles import LayerCycles

READY_LATENCY = 2  # cycles from a part's last beat to its first possible start


@dataclass(frozen=True, kw_only=True)
class ExternalMemory:
    """A memory that answers bursts in order.

    latency: cycles from taking an address to the first beat. interval: cycles from beat to beat. varied: both vary at
    random (simulation only, the prediction takes the given figures).
    """

    latency: int = 40
    interval: int = 1
    varied: bool = False


def beat_cycles(config: EngineConfig, memory: ExternalMemory) -> float:
    """Cycles per beat of a long transfer: the memory's own, or what bursts on their way leave of its latency."""
    round_trip = 1 + memory.latency + (config.burst - 1) * memory.interval + QUEUE_LATENCY + 2
    return max(float(memory.interval), round_trip / (config.burst * config.bursts))


def fetch_cycles(config: EngineConfig, memory: ExternalMemory, layer: MappedLayer) -> int:
    """Cycles in which the memory delivers one part's weights, once per image."""
    beats = sum(block_beats(config, block.rows) for block in blocks(layer, again=True))
    return round(beats * beat_cycles(config, memory))


def with_memory(
    mapping: Mapping, images: Sequence[Sequence[LayerCycles]], memory: ExternalMemory, *, back_to_back: bool = False
) -> list[list[LayerCycles]]:
    """Predicted layers of several images in turn, with the cycles in which each waits for its weights, if streamed.

    Every image begins when all weights that can be there are there, or, back to back, right after the one before.
    """
    config = mapping.config
    if not config.streams_weights:
        return [list(image) for image in images]
    stream = _Stream(mapping, memory)
    fill = memory.latency + config.burst * config.bursts * memory.interval + 10  # the reader's queue fills up
    fetch = [fetch_cycles(config, memory, layer) for layer in mapping.layers]
    count = len(mapping.layers)
    done: list[int] = []  # the last cycle of every part so far
    ready: list[int] = []  # from which cycle on a part may begin
    result = []
    for number, image in enumerate(images):
        begin = done[-1] if number else 0
        if not (back_to_back and number):
            while len(ready) < (number + 1) * count and stream.may_write(len(ready), len(done)):
                ready.append(stream.part(len(ready), done))
            begin = max(begin, ready[-1]) + fill
        stalled = []
        for index, layer in enumerate(image):
            part = number * count + index
            if part == len(ready):
                ready.append(stream.part(part, done))
            free = done[-1] if index else begin
            take = max(free, ready[part])
            done.append(take + layer.cycles)
            stalled.append(take - free)
        result.append(
            [
                dataclasses.replace(layer, stalled=waited, fetch=cycles)
                for layer, waited, cycles in zip(image, stalled, fetch, strict=True)
            ]
        )
    return result


class _Stream:
    """The reader and the prefetcher: every beat's times follow from those of the beats before it."""

    def __init__(self, mapping: Mapping, memory: ExternalMemory):
        self.config, self.memory, self.layers = mapping.config, memory, mapping.layers
        passes = [
            sum(block_beats(self.config, block.rows) for layer in layers for block in blocks(layer, again=again))
            for layers, again in (([x for x in self.layers if x.resident], False), (self.layers, True))
        ]
        restart = -(-passes[0] // self.config.burst) * self.config.burst
        self.bursts = bursts(self.config, passes[0] or passes[1], passes[1], restart)
        self.left = 0  # beats of the current burst
        self.asked = -ASK_CYCLES  # when the current burst was asked for
        self.beat = 0  # last beat on the bus
        self.taken: list[int] = []  # when each beat left the queue
        self.now = 0  # the prefetcher's next free cycle
        for layer in self.layers:
            if layer.resident:
                for block in blocks(layer):
                    self._block(block.rows, 0)

    def may_write(self, part: int, finished: int) -> bool:
        """Whether a part's weights may be written once `finished` parts are done."""
        return part - self.layers[part % len(self.layers)].hold <= finished

    def part(self, part: int, done: Sequence[int]) -> int:
        """From which cycle on the part may begin; done: the last cycles of the parts before it, as far as needed."""
        layer = self.layers[part % len(self.layers)]
        last = part - layer.hold - 1  # must be done before
        for block in blocks(layer, again=True):
            self._block(block.rows, done[last] + 1 if last >= 0 else 0)
        return self.now - 1 + READY_LATENCY

    def _block(self, rows: int, free: int) -> None:
        """One block; its rows may be written from cycle `free` on."""
        for _ in range(head_beats(self.config)):
            self._take(1)
        self.now = max(self.now, free) + 1
        shared, parts = beat_rows(self.config), row_beats(self.config)
        for at in range(0, rows, shared):
            for _ in range(parts):
                self._take(min(shared, rows - at))

    def _take(self, turns: int) -> None:
        """The next beat, in use for `turns` cycles."""
        config, memory = self.config, self.memory
        if self.left == 0:
            # The queue must have room for a whole burst.
            needed = len(self.taken) - config.burst * (config.bursts - 1) - 1
            self.asked = max(self.asked + ASK_CYCLES, self.taken[needed] + 2 if needed >= 0 else 0)
            self.left = next(self.bursts).length
            self.beat = max(self.beat, self.asked + 1 + memory.latency - memory.interval)
        self.left -= 1
        self.beat += memory.interval
        self.now = max(self.now, self.beat + QUEUE_LATENCY) + turns
        self.taken.append(self.now - 1)
