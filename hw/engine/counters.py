# SPDX-License-Identifier: Apache-2.0
"""Counters: what the machine really did, per layer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..memory import plain_memory
from ..program import layer_bits, layer_depth
from .fire import population

COUNTERS = ("cycles", "event", "empty", "waiting")
COUNTER_BITS = 32


def counter_names(config: EngineConfig) -> tuple[str, ...]:
    """The counters of one layer, by their place."""
    return (*COUNTERS, "stalled") if config.streams_weights else COUNTERS


def counter_stride(config: EngineConfig) -> int:
    """Addresses of one layer's counters: their number as a power of two."""
    return 1 << (len(counter_names(config)) - 1).bit_length()


class Counters(wiring.Component):
    """Counts cycles, events, empty jobs and cycles in which a bank waits for the drain, over all banks.

    A layer's counts are written when it is done and stay until the same layer of the next image: counter c of layer l
    has the address counter_stride * l + c, in the order of `counter_names`. A layer's cycles run from its first to its
    last; those in which it waited for its weights (`stalled`) come before.

    Latency: one cycle from `address` to `data`. No back-pressure.

    Golden function: `onespike.model.cost.cycles.predict`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    start, done, index : In the layer's first cycle, its last, its number.
    event, empty, waiting : In one bit per bank.
    stalled : In(1) the next layer waits for nothing but its weights (only if `config.streams_weights`).
    address, data : In, Out read port.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        members: dict[str, Any] = {
            "start": In(1),
            "done": In(1),
            "index": In(layer_bits(config)),
            "event": In(config.banks),
            "empty": In(config.banks),
            "waiting": In(config.banks),
            "address": In(range(counter_stride(config) * layer_depth(config))),
            "data": Out(COUNTER_BITS),
        }
        if config.streams_weights:
            members["stalled"] = In(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, names = self.config, counter_names(self.config)
        m.submodules.counter_memory = memory = plain_memory(COUNTER_BITS, counter_stride(config) * layer_depth(config))
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]

        # A layer's cycles restart with its first. Its events end long before it does, and those of the next begin only
        # cycles after its first, so a register in front of their sums changes no count, and each may restart when it
        # has been written: one word a cycle, after `done`.
        totals = [Signal(COUNTER_BITS, name=name) for name in names]
        place = Signal(range(len(names)))
        layer = Signal(layer_bits(config))
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
            now = Signal(range(config.banks + 1), name=f"{name}_now")
            m.d.sync += [now.eq(population(getattr(self, name))), totals[number].eq(totals[number] + now)]
            with m.If(left & (place == number)):
                m.d.sync += totals[number].eq(0)
        if config.streams_weights:
            next_waited, waited = Signal(COUNTER_BITS), Signal(COUNTER_BITS)  # the next layer, this one
            m.d.sync += next_waited.eq(next_waited + self.stalled)
            with m.If(self.start):
                m.d.sync += [waited.eq(next_waited), next_waited.eq(0)]
            with m.If(self.done):
                m.d.sync += totals[-1].eq(waited)
        with m.If(self.done):
            m.d.sync += layer.eq(self.index)
        with m.If(ended):
            m.d.sync += [cycles.eq(totals[0]), place.eq(0), left.eq(1)]
        with m.Elif(left):
            m.d.sync += place.eq(place + 1)
            with m.If(place == len(names) - 1):
                m.d.sync += left.eq(0)
        return m
