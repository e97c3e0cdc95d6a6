# SPDX-License-Identifier: Apache-2.0
"""Counters: what the machine really did, per layer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import EngineConfig
from .fire import population
from .memory import plain_memory
from .program import header_words, layer_words

COUNTERS = ("cycles", "event", "empty", "waiting")
COUNTER_BITS = 32


def counter_names(config: EngineConfig) -> tuple[str, ...]:
    """The counters of one layer, by their place."""
    return (*COUNTERS, "starved") if config.streams_weights else COUNTERS


def counter_stride(config: EngineConfig) -> int:
    """Addresses of one layer's counters: their number as a power of two."""
    return 1 << (len(counter_names(config)) - 1).bit_length()


def layer_depth(config: EngineConfig) -> int:
    """Layers that the program memory holds, as a power of two."""
    streamed = config.streams_weights
    layers = max(1, (config.program_depth - header_words(streamed)) // layer_words(config.segments, streamed))
    return 1 << (layers - 1).bit_length()


class Counters(wiring.Component):
    """Counts cycles, events, empty jobs and cycles in which a bank waits for the drain, over all banks.

    A layer's counts are written when it is done and stay until the same layer of the next image: counter c of layer l
    has the address counter_stride * l + c, in the order of `counter_names`. A layer's cycles run from its first to its
    last; those in which it waited for its weights (`starved`) come before.

    Latency: one cycle from `address` to `data`. No back-pressure.

    Golden function: `onespike.model.cycles.predict`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    start, done, index : In the layer's first cycle, its last, its number.
    event, empty, waiting : In one bit per bank.
    starved : In(1) the next layer waits for nothing but its weights (only if `config.streams_weights`).
    address, data : In, Out read port.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        members: dict[str, Any] = {
            "start": In(1),
            "done": In(1),
            "index": In(8),
            "event": In(config.banks),
            "empty": In(config.banks),
            "waiting": In(config.banks),
            "address": In(range(counter_stride(config) * layer_depth(config))),
            "data": Out(COUNTER_BITS),
        }
        if config.streams_weights:
            members["starved"] = In(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.counter_memory = memory = plain_memory(COUNTER_BITS, counter_stride(config) * layer_depth(config))
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]

        # Events of a layer end long before it does, so a register in front of the sums changes no count.
        totals = {name: Signal(COUNTER_BITS, name=name) for name in COUNTERS}
        for name in COUNTERS[1:]:
            bits = getattr(self, name)
            number = Signal(range(config.banks + 1), name=f"{name}_now")
            m.d.sync += [number.eq(population(bits)), totals[name].eq(Mux(self.start, 0, totals[name]) + number)]
        m.d.sync += totals["cycles"].eq(Mux(self.start, 0, totals["cycles"]) + 1)

        if config.streams_weights:
            totals["starved"] = Signal(COUNTER_BITS, name="starved")
            so_far = Signal(COUNTER_BITS)
            m.d.sync += so_far.eq(Mux(self.start, 0, so_far + self.starved))
            with m.If(self.start):
                m.d.sync += totals["starved"].eq(so_far)

        # One word a cycle, after `done`; totals restart with the next layer, so they are copied first.
        saved = Signal(COUNTER_BITS * len(totals))
        place = Signal(range(len(totals)))
        layer = Signal(8)
        left = Signal()
        m.d.comb += [write.en.eq(left), write.addr.eq(Cat(place, layer)[: len(write.addr)])]
        m.d.comb += write.data.eq(saved[:COUNTER_BITS])
        with m.If(self.done):
            now = [Mux(self.start, 0, totals["cycles"]) + 1, *(totals[name] for name in counter_names(config)[1:])]
            m.d.sync += [saved.eq(Cat(value[:COUNTER_BITS] for value in now)), layer.eq(self.index)]
            m.d.sync += [place.eq(0), left.eq(1)]
        with m.Elif(left):
            m.d.sync += [saved.eq(saved >> COUNTER_BITS), place.eq(place + 1)]
            with m.If(place == len(totals) - 1):
                m.d.sync += left.eq(0)
        return m
