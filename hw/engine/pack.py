# SPDX-License-Identifier: Apache-2.0
"""Pack: codes become spike words at the addresses where the next layer expects them."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..loop import add_loop
from ..program import layer_fields, layout
from .drain import code_shape, code_width, group_parts, tag_layout


def slice_mask(banks: int, slice_: Any, slices: Any) -> Any:
    """One bit per bank: whether it holds slice `slice_` of `slices` + 1 (a power of two)."""
    return Cat(((b ^ slice_) & slices) == 0 for b in range(banks))


class Pack(wiring.Component):
    """Puts F codes a cycle into words and writes each complete word to the banks that hold its slice.

    A field holds the low bits of its code: of a negative one, its two's complement.

    A pixel's channels arrive in order: `dest_slices` + 1 slices of `dest_slice_groups` + 1 groups of F codes; what
    follows them in the pixel is padding and dropped. `dest_word_groups` + 1 groups fill a word; a slice's last word may
    be partly filled. Where F codes fill `dest_group_words` + 1 words, the group takes as many cycles. Word w of pixel p
    lies at dest_base + p * dest_words + w in every bank of the slice. A part of a layer begins each pixel at word
    first_word of slice first_slice, where first_slice_groups + 1 groups are left (only if `config.streams_weights`).

    Where `places` is not 0, a job has a word of each of places + 1 pixels side by side, one after the other: then word
    after word goes to the next of these pixels, and dest_slice_groups counts the groups of all. The jobs of a row's
    first pixels and of the next ones may overlap: from the last pixel of the former it is `dest_second` spike words to
    the first pixel of the latter, everywhere else it is dest_words (only if `config.depthwise`).

    Latency: one cycle from the last code of a word to its write. Throughput: F codes or one word a cycle. No
    back-pressure.

    Golden function: `onespike.model.machine.pack.pack`.

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
                "layer": In(layout(layer_fields(config))),
                "start": In(1),
                "valid": In(1),
                "codes": In(data.ArrayLayout(code_shape(config), config.fire_lanes)),
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
        slice_ = Signal(6, reset_less=True)
        valid, codes, row_last, layer_last, part_last, part = self._parts(m)

        # Groups fill words, words fill slices; a slice that ends also ends its word. What follows them is padding.
        pixel_ends, slice_ends, word_ends, padding = Signal(), Signal(), Signal(), Signal()
        starts = Signal()
        m.d.comb += starts.eq(self.start | pixel_ends)
        first_slice, first_word = 0, 0
        slice_groups, slices = layer.dest_slice_groups, layer.dest_slices
        if config.streams_weights:
            first_slice, first_word = layer.first_slice, layer.first_word
            slice_groups = Mux(starts, layer.first_slice_groups, slice_groups)
            slices = Mux(starts, slices & ~first_slice, slices)  # the number of slices is a power of two
        loop_word = add_loop(
            m, "word", limit=layer.dest_word_groups, advance=valid, restart=starts | (valid & slice_ends)
        )  # fmt: skip
        loop_slice = add_loop(m, "slice", limit=slice_groups, advance=valid & part_last, restart=starts)
        loop_pixel = add_loop(m, "pixel", limit=slices, advance=valid & slice_ends, restart=starts)
        m.d.comb += [
            pixel_ends.eq(valid & row_last & part_last),
            slice_ends.eq(loop_slice.last & part_last),
            word_ends.eq(loop_word.last | slice_ends),
        ]
        place_ends: Value = Const(1, 1)  # the next word is another one of the first of a job's pixels
        next_pixel: Value = layer.dest_words  # from a job's last pixel
        if config.depthwise:
            place_ends = add_loop(m, "place", limit=layer.places, advance=valid & word_ends, restart=starts).last
            first_jobs = add_loop(m, "column", limit=layer.columns, advance=pixel_ends, restart=self.start).first
            next_pixel = Mux(first_jobs & (layer.places != 0), layer.dest_second, layer.dest_words)
            with m.If(valid & word_ends):
                m.d.sync += pixel.eq(Mux(place_ends, pixel - layer.dest_back, pixel + layer.dest_words))
        with m.If(valid):
            with m.If(word_ends & place_ends):
                m.d.sync += offset.eq(offset + 1)
            with m.If(slice_ends):
                m.d.sync += [offset.eq(0), slice_.eq(slice_ + 1), padding.eq(padding | loop_pixel.last)]
        with m.If(pixel_ends):
            m.d.sync += pixel.eq(pixel + next_pixel)
        with m.If(starts):
            m.d.sync += [offset.eq(first_word), slice_.eq(first_slice), padding.eq(0)]
        with m.If(self.start):
            m.d.sync += pixel.eq(layer.dest_base)

        # Each field width gives the group another place in the word: one register per place and width, set in turn.
        word, placed = Signal(config.word_bits, reset_less=True), Signal(config.word_bits)
        terms = []
        for field in range(code_width(config).bit_length() + 1):
            width = 1 << field
            if width >= 2 * code_width(config) or width > config.word_bits:
                continue
            group = Cat(_fit(codes[f], width) for f in range(config.fire_lanes))
            groups, chosen = config.word_bits // len(group), layer.dest_field == field
            if groups:
                places = Signal(groups, name=f"places{width}")
                with m.If(starts | (valid & word_ends)):
                    m.d.sync += places.eq(chosen)
                with m.Elif(valid):
                    m.d.sync += places.eq(places << 1)
                terms.append(Cat(group & places[g].replicate(len(group)) for g in range(groups)))
            else:
                terms.append(group.word_select(part, config.word_bits) & chosen.replicate(config.word_bits))
        m.d.comb += placed.eq(functools.reduce(operator.or_, terms))
        merged = word | placed
        with m.If(valid):
            m.d.sync += word.eq(merged)
        with m.If(starts | (valid & word_ends)):
            m.d.sync += word.eq(0)
        m.d.sync += [
            self.enable.eq(valid & word_ends & ~padding & ~layer.final),
            self.address.eq(pixel + offset),
            self.data.eq(merged),
            self.slice.eq(slice_),
            self.done.eq(valid & layer_last & part_last),
        ]
        return m

    def _parts(self, m: Module) -> tuple[Any, ...]:
        """The group of this cycle, and the part of it that is due.

        Where F codes fill several words, they are kept and leave one word a cycle; the drain waits as long.
        """
        config, layer = self.config, self.layer
        if group_parts(config) == 1:
            return self.valid, self.codes, self.tag.row_last, self.tag.layer_last, Const(1, 1), Const(0, 1)
        kept = Signal(self.codes.shape(), reset_less=True)
        kept_row_last, kept_layer_last = Signal(reset_less=True), Signal(reset_less=True)
        part = Signal(range(group_parts(config)))  # word of the group
        left = Signal()  # parts of the kept group
        valid, part_last, row_last, layer_last = Signal(), Signal(), Signal(), Signal()
        codes = Signal(self.codes.shape())
        m.d.comb += [
            valid.eq(self.valid | left),
            codes.eq(Mux(left, Value.cast(kept), Value.cast(self.codes))),
            row_last.eq(Mux(left, kept_row_last, self.tag.row_last)),
            layer_last.eq(Mux(left, kept_layer_last, self.tag.layer_last)),
            part_last.eq(part == layer.dest_group_words),
        ]
        with m.If(self.valid):
            m.d.sync += [
                kept.eq(self.codes),
                kept_layer_last.eq(self.tag.layer_last),
                kept_row_last.eq(self.tag.row_last),
            ]
        with m.If(valid):
            m.d.sync += [part.eq(Mux(part_last, 0, part + 1)), left.eq(~part_last)]
        return valid, codes, row_last, layer_last, part_last, part


def _fit(code: Any, width: int) -> Any:
    """A code in a field of `width` bits; the mapper chose a width that holds it."""
    if len(code) >= width:
        return code[:width]
    above = code[-1].replicate(width - len(code)) if code.shape().signed else Const(0, width - len(code))
    return Cat(code, above)
