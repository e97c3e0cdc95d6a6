# SPDX-License-Identifier: Apache-2.0
"""Logits: the last layer's accumulators, one by one, and the class that wins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..memory import plain_memory
from ..program import ends_image, header_fields, layer_fields, layout
from .drain import tag_layout


def logit_layout(config: EngineConfig) -> data.StructLayout:
    """One beat of the logits stream; `best` is the class with the largest logit so far (the lowest of equals), of a map
    in this place."""
    return data.StructLayout({"value": signed(config.acc_bits), "best": 16, "last": 1})


class Logits(wiring.Component):
    """Keeps the sums of the layer that does not fire and streams them out, class 0 first; `best` of the last is argmax.

    A map leaves place after place, row by row from the top, each with all its channels; `best` of a place's last beat
    is the place's argmax (only if `config.maps`). Row r of place p is kept in row p * dest_words + r, where r is below
    dest_words: the lanes behind the last channel leave nothing.

    Latency: four cycles from the layer's end to the first beat. Throughput: a class every two cycles, one cycle lost
    per row of F. Back-pressure: the next image may run meanwhile, up to its own last layer (`free`).

    Golden function: `onespike.model.network.golden.run`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    header, layer : In records.
    valid, sums, tag : In what Drain gives.
    done : In(1) the layer's last result has been written.
    free : Out(1) nothing waits to be read.
    logits : Out(stream) the beats.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "header": In(layout(header_fields(config))),
                "layer": In(layout(layer_fields(config))),
                "valid": In(1),
                "sums": In(data.ArrayLayout(signed(config.acc_bits), config.fire_lanes)),
                "tag": In(tag_layout(config)),
                "done": In(1),
                "free": Out(1),
                "logits": Out(stream.Signature(logit_layout(config))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        width = config.acc_bits * config.fire_lanes
        m.submodules.logit_memory = memory = plain_memory(width, config.class_depth)
        write, read = memory.write_port(), memory.read_port()
        # A part of the layer begins at row dest_base, and the last part completes the sums.
        kept_row: Value = self.tag.row + self.layer.dest_base if config.streams_weights else self.tag.row
        writes: Value = self.valid & self.layer.final
        if config.maps:
            place = Signal(range(max(2, config.class_depth)))  # its first row
            writes = writes & (kept_row < self.layer.dest_words)
            kept_row = kept_row + place
            with m.If(self.valid & self.tag.row_last):
                m.d.sync += place.eq(place + self.layer.dest_words)
            with m.If(self.done):
                m.d.sync += place.eq(0)
        m.d.comb += [write.en.eq(writes), write.addr.eq(kept_row), write.data.eq(self.sums)]
        # A logit is compared in one cycle, in two halves, and offered in the next, when they are put together.
        row = Signal(range(max(2, config.class_depth)))
        values = Signal(width, reset_less=True)
        left = Signal(range(config.fire_lanes))
        index = Signal(range(max(2, config.class_depth * config.fire_lanes)))
        best = Signal.like(index)
        best_value = Signal(signed(config.acc_bits), reset_less=True)
        payload, value = self.logits.payload, values[: config.acc_bits].as_signed()
        # What classes are counted by: all outputs, or those of a place.
        channel = Signal.like(index, name="channel") if config.maps else index
        place_last = Signal() if config.maps else Const(0, 1)
        better, last = Signal(), Signal()
        first, above, equal, above_below = Signal(), Signal(), Signal(), Signal()  # the last: in the lower half
        half = config.acc_bits // 2
        reading, loading, comparing, sending = Signal(), Signal(), Signal(), Signal()  # one state each
        free = Signal(init=1)
        begins, taken, row_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            read.addr.eq(row),
            self.free.eq(free),
            self.logits.valid.eq(sending),
            payload.value.eq(value),
            payload.best.eq(Mux(better, channel, best)),
            payload.last.eq(last),
            better.eq(first | above | (equal & above_below)),
            begins.eq(free & self.done & ends_image(self.layer, config.streams_weights)),
            taken.eq(sending & self.logits.ready),
            row_ends.eq((left == 0) | place_last if config.maps else left == 0),
        ]
        m.d.sync += [
            reading.eq(begins),
            loading.eq(reading | (taken & ~last & row_ends)),
            comparing.eq(loading | (taken & ~last & ~row_ends)),
            sending.eq(comparing | (sending & ~taken)),
        ]
        with m.If(begins):
            m.d.sync += [free.eq(0), row.eq(0), index.eq(0)]
        with m.If(loading):
            m.d.sync += [values.eq(read.data), left.eq(config.fire_lanes - 1), row.eq(row + 1)]
        with m.If(comparing):
            m.d.sync += [
                first.eq(channel == 0),
                above.eq((value >> half) > (best_value >> half)),
                equal.eq(value[half:] == best_value[half:]),
                above_below.eq(value[:half] > best_value[:half]),
                last.eq(index == self.header.classes),
            ]
            if config.maps:
                m.d.sync += place_last.eq(channel == self.header.channels)
        with m.If(taken):
            m.d.sync += [values.eq(values >> config.acc_bits), left.eq(left - 1), index.eq(index + 1)]
            with m.If(better):
                m.d.sync += [best.eq(channel), best_value.eq(value)]
            if config.maps:
                m.d.sync += channel.eq(Mux(place_last, 0, channel + 1))
            with m.If(last):
                m.d.sync += free.eq(1)
        return m
