# SPDX-License-Identifier: Apache-2.0
"""Counters: what the machine really did, per layer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import EngineConfig
from .fire import population
from .memory import plain_memory
from .program import header_words, layer_words

COUNTERS = ("cycles", "event", "empty", "waiting")
COUNTER_BITS = 32


def layer_depth(config: EngineConfig) -> int:
    """Layers that the program memory holds, as a power of two."""
    layers = max(1, (config.program_depth - header_words()) // layer_words(config.segments))
    return 1 << (layers - 1).bit_length()


class Counters(wiring.Component):
    """Counts cycles, events, empty jobs and cycles in which a bank waits for the drain, over all banks.

    A layer's counts are written when it is done and stay until the same layer of the next image: counter c of layer l
    has the address 4 * l + c, in the order of COUNTERS. A layer's cycles run from its first to its last.

    Latency: one cycle from `address` to `data`. No back-pressure.

    Golden function: `onespike.model.cycles.predict`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    start, done, index : In the layer's first cycle, its last, its number.
    event, empty, waiting : In one bit per bank.
    address, data : In, Out read port.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "done": In(1),
                "index": In(8),
                "event": In(config.banks),
                "empty": In(config.banks),
                "waiting": In(config.banks),
                "address": In(range(len(COUNTERS) * layer_depth(config))),
                "data": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.counter_memory = memory = plain_memory(COUNTER_BITS, len(COUNTERS) * layer_depth(self.config))
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]

        # A layer's cycles restart with its first. Its events end long before it does, and those of the next begin only
        # cycles after its first, so a register in front of their sums changes no count, and each may restart when it
        # has been written: four words, one a cycle, after `done`.
        totals = [Signal(COUNTER_BITS, name=name) for name in COUNTERS]
        place = Signal(range(len(COUNTERS)))
        layer = Signal(8)
        left, ended = Signal(), Signal()
        cycles = Signal(COUNTER_BITS, reset_less=True)  # of the layer that is done
        m.d.comb += [
            write.en.eq(left),
            write.addr.eq(Cat(place, layer)[: len(write.addr)]),
            write.data.eq(Array([cycles, *totals[1:]])[place]),
        ]
        m.d.sync += [totals[0].eq(totals[0] + 1), ended.eq(self.done)]
        with m.If(self.start):
            m.d.sync += totals[0].eq(1)
        for number, name in enumerate(COUNTERS[1:], 1):
            now = Signal(range(self.config.banks + 1), name=f"{name}_now")
            m.d.sync += [now.eq(population(getattr(self, name))), totals[number].eq(totals[number] + now)]
            with m.If(left & (place == number)):
                m.d.sync += totals[number].eq(0)
        with m.If(self.done):
            m.d.sync += layer.eq(self.index)
        with m.If(ended):
            m.d.sync += [cycles.eq(totals[0]), place.eq(0), left.eq(1)]
        with m.Elif(left):
            m.d.sync += place.eq(place + 1)
            with m.If(place == len(COUNTERS) - 1):
                m.d.sync += left.eq(0)
        return m
