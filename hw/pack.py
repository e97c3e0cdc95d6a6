# SPDX-License-Identifier: Apache-2.0
"""Pack: codes become spike words at the addresses where the next layer expects them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import EngineConfig
from .drain import tag_layout
from .fire import code_width
from .program import layer_fields, layout


def slice_mask(banks: int, slice_: Any, slices: Any) -> Any:
    """One bit per bank: whether it holds slice `slice_` of `slices` + 1 (a power of two)."""
    return Cat(((b ^ slice_) & slices) == 0 for b in range(banks))


class Pack(wiring.Component):
    """Puts F codes a cycle into words and writes each complete word to the banks that hold its slice.

    A pixel's channels arrive in order: `dest_slices` + 1 slices of `dest_slice_groups` + 1 groups of F codes; what
    follows them in the pixel is padding and dropped. `dest_word_groups` + 1 groups fill a word; a slice's last word may
    be partly filled. Where F codes fill `dest_group_words` + 1 words, the group takes as many cycles. Word w of pixel p
    lies at dest_base + p * dest_words + w in every bank of the slice. A part of a layer begins each pixel at slice
    first_slice, group first_group, word first_word (only if `config.streams_weights`).

    Latency: one cycle from the last code of a word to its write. Throughput: F codes or one word a cycle. No
    back-pressure.

    Golden function: `onespike.model.pack.pack`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    layer, start : In the current layer's record; the layer begins.
    valid, codes, tag : In what Fire gives.
    enable, address, data, slice : Out one write.
    done : Out(1) the layer's last word is being written.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(layout(layer_fields(config.streams_weights))),
                "start": In(1),
                "valid": In(1),
                "codes": In(data.ArrayLayout(unsigned(code_width(config)), config.fire_lanes)),
                "tag": In(tag_layout(config)),
                "enable": Out(1),
                "address": Out(config.spike_addr_bits),
                "data": Out(config.word_bits),
                "slice": Out(6),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        pixel = Signal(config.spike_addr_bits, reset_less=True)  # address of the pixel's first word
        offset = Signal(config.spike_addr_bits, reset_less=True)  # word inside the slice
        place = Signal(6, reset_less=True)  # group inside the word
        group = Signal(12, reset_less=True)  # group inside the slice
        slice_ = Signal(7, reset_less=True)

        # Where F codes fill several words, they are kept and leave one word a cycle; the drain waits as long.
        kept = Signal(self.codes.shape(), reset_less=True)
        kept_last = Signal(reset_less=True)  # the kept group is the layer's last
        kept_row_last = Signal(reset_less=True)
        part = Signal(6)  # word of the group
        parts_left = Signal()
        valid = Signal()
        row_last, layer_last, part_last = Signal(), Signal(), Signal()
        codes_now = Signal(self.codes.shape())
        m.d.comb += [
            valid.eq(self.valid | parts_left),
            codes_now.eq(Mux(parts_left, Value.cast(kept), Value.cast(self.codes))),
            row_last.eq(Mux(parts_left, kept_row_last, self.tag.row_last)),
            layer_last.eq(Mux(parts_left, kept_last, self.tag.layer_last)),
            part_last.eq(part == layer.dest_group_words),
        ]
        with m.If(self.valid):
            m.d.sync += [kept.eq(self.codes), kept_last.eq(self.tag.layer_last), kept_row_last.eq(self.tag.row_last)]
        with m.If(valid):
            m.d.sync += [part.eq(Mux(part_last, 0, part + 1)), parts_left.eq(~part_last)]

        # Each field width gives the group another place in the word.
        placed = Signal(config.word_bits)
        with m.Switch(layer.dest_field):
            for field in range(6):
                width = 1 << field
                if width <= config.word_bits:
                    with m.Case(field):
                        groups = config.word_bits // (width * config.fire_lanes)
                        codes = Cat(_fit(codes_now[f], width) for f in range(config.fire_lanes))
                        if groups == 0:
                            m.d.comb += placed.eq(codes.word_select(part, config.word_bits))
                        elif groups == 1:
                            m.d.comb += placed.eq(codes)
                        else:
                            index = place[: (groups - 1).bit_length()]
                            m.d.comb += placed.word_select(index, width * config.fire_lanes).eq(codes)
        word = Signal(config.word_bits, reset_less=True)
        merged = Signal(config.word_bits)
        slice_ends, word_ends = Signal(), Signal()
        m.d.comb += [
            merged.eq(Mux(place == 0, 0, word) | placed),
            slice_ends.eq((group == layer.dest_slice_groups) & part_last),
            word_ends.eq((place == layer.dest_word_groups) | slice_ends),
        ]
        wanted = Signal()
        m.d.comb += wanted.eq(valid & (slice_ <= layer.dest_slices) & ~layer.final)
        m.d.sync += [
            self.enable.eq(wanted & word_ends),
            self.address.eq(pixel + offset),
            self.data.eq(merged),
            self.slice.eq(slice_),
            self.done.eq(valid & layer_last & part_last),
        ]
        # Where each pixel begins: with its first channel, or that of the layer's part.
        first: dict[str, Any] = dict.fromkeys(("slice", "group", "word"), 0)
        if config.streams_weights:
            first = {name: layer[f"first_{name}"] for name in first}
        begin = [place.eq(0), group.eq(first["group"]), slice_.eq(first["slice"]), offset.eq(first["word"])]
        with m.If(valid):
            with m.If(wanted):
                m.d.sync += [word.eq(merged), place.eq(place + 1), group.eq(group + part_last)]
                with m.If(word_ends):
                    m.d.sync += [place.eq(0), offset.eq(offset + 1)]
                with m.If(slice_ends):
                    m.d.sync += [group.eq(0), offset.eq(0), slice_.eq(slice_ + 1)]
            with m.If(row_last & part_last):
                m.d.sync += [pixel.eq(pixel + layer.dest_words), *begin]
        with m.If(self.start):
            m.d.sync += [pixel.eq(layer.dest_base), *begin]
        return m


def _fit(code: Any, width: int) -> Any:
    """A code in a field of `width` bits; the mapper chose a width that holds it."""
    return code[:width] if len(code) >= width else Cat(code, Const(0, width - len(code)))
