# SPDX-License-Identifier: Apache-2.0
"""Fetch: a bank's walk over the spike words of one job, and its slice of the spike memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...model.network.codes import CHUNK, piece_bits
from ..config import EngineConfig
from ..memory import PagedMemory
from ..parity import Parity, parity_bits
from ..program import DIGITS_LEVELS, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_UNARY, segment_fields
from .extract import at_most_one, chunk_count, tabled_layout, word_chunks, word_layout
from .values import pieces, value_word_layout

READ_LATENCY = 3  # cycles from issuing a word to the decision to keep it


def segment_bits(config: EngineConfig) -> int:
    return max(1, (config.segments - 1).bit_length())


def command_layout(config: EngineConfig) -> data.StructLayout:
    """One source's part of a job: `rows` + 1 runs of `run` + 1 consecutive spike words."""
    return data.StructLayout(
        {
            "address": config.spike_addr_bits,
            "weight": config.row_addr_bits,
            "run": config.spike_addr_bits,
            "rows": 8,
            "segment": segment_bits(config),
            "last": 1,  # the job ends with this command
        }
    )


def stride_layout(config: EngineConfig) -> data.StructLayout:
    """What a source's commands have in common, constant while a layer runs, as its record has it."""
    fields = segment_fields(config)
    names = ["row_stride", "weight_row_stride", "field", "code", "shift"]
    names += ["table"] * (config.tables > 0) + ["span", "tap_step"] * config.row_masks + ["own"] * config.depthwise
    names += ["span", "tail"] * config.counts_values
    return data.StructLayout({name: fields[name] for name in names})


def meta_layout(config: EngineConfig) -> data.StructLayout:
    """What an event needs besides its bit: the weight row of the word's first channel, and how to read the bit."""
    return data.StructLayout({"weight": config.weight_addr_bits, "segment": segment_bits(config)})


def mask_entry(config: EngineConfig) -> data.StructLayout:
    """A row of masks: the chunks of a spike word that have a weight row, and the first of these rows."""
    return data.StructLayout({"mask": config.word_chunks, "weight": config.weight_addr_bits})


def masks_signature(config: EngineConfig) -> wiring.Signature:
    """A read of a bank's masks: `entry` comes two cycles after `address`, if both steps are taken."""
    members = {
        "address": Out(config.mask_addr_bits),
        "first": Out(1),
        "second": Out(1),
        "entry": In(mask_entry(config)),
    }
    return wiring.Signature(members)


def engine_word(config: EngineConfig) -> data.StructLayout:
    """A spike word between fetch and the extractor."""
    meta, options = meta_layout(config), {"masks": config.row_masks, "depthwise": config.depthwise}
    if config.multiplies:
        return value_word_layout(config.word_bits, config.worths, meta, config.tables, **options)
    return word_layout(config.word_bits, meta, config.tables, fields=config.term_fields, **options)


class Fetch(wiring.Component):
    """Walks the tap rows of each command, reads their spike words and drops those without a spike.

    Word i of a row has address + i and starts at weight row weight + i * codes_per_word; the next row lies row_stride
    and weight_row_stride further. An empty word that ends a job is kept, to carry the end.

    With masks, `weight` counts rows of masks instead, one for each word, which say where its weights are; the chunks
    that have none become 0. `span` + 1 words of a row follow one another, then the walk goes on `tap_step` further.

    Where lanes multiply, what is worth an event is a value that is not 0, or, in dense engines, any: without masks,
    `tail` + 1 chunks of the last of a pixel's `span` + 1 words hold some, and all chunks of the others.

    Latency: READ_LATENCY cycles from a word's turn to its offer. Throughput: one word a cycle, kept or dropped; the
    next command follows without a gap. Back-pressure: an offered word that is not taken stops the walk.

    Golden function: `onespike.model.machine.fetch.fetch`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    commands : In(stream) commands.
    strides : In(array) strides and field format of each segment.
    words : Out(stream) spike words with at least one spike, or the end of a job; how to read their chunks.
    write : In write port of the spike memory: enable, address, data.
    masks : Out read port of the masks, as `PagedMemory.read` takes it (only if `config.row_masks`).
    arrived, fault : Out(1) what the memories give in this cycle has been asked for; a spike word had a wrong parity
        (only if `config.parity`, whose words have their parity bits when they are written).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        members: dict[str, Any] = {
            "commands": In(stream.Signature(command_layout(config))),
            "strides": In(data.ArrayLayout(stride_layout(config), config.segments)),
            "words": Out(stream.Signature(engine_word(config))),
            "write": In(
                wiring.Signature(
                    {
                        "enable": Out(1),
                        "address": Out(config.spike_addr_bits),
                        "data": Out(config.stored_bits(config.word_bits)),
                    }
                )
            ),
        }
        if config.row_masks:
            members["masks"] = Out(masks_signature(config))
        if config.parity:
            members |= {"arrived": Out(1), "fault": Out(1)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        spare = parity_bits(config.word_bits) if config.parity else 0
        spikes = PagedMemory(m, "spike_memory", config.word_bits, config.spike_depth, spare)
        spikes.write(m, enable=self.write.enable, address=self.write.address, data=self.write.data)

        # The walk: one command at a time, one word a cycle. What is left counts down to below zero, so that a sign bit
        # tells the last word of a row and the last row; where the next row begins is known before it is needed.
        command = Signal(command_layout(config), reset_less=True)  # address, weight: of the next row
        active = Signal()
        address = Signal(config.spike_addr_bits, reset_less=True)
        weight = Signal(config.row_addr_bits, reset_less=True)
        words_left = Signal(config.spike_addr_bits + 1, reset_less=True)
        rows_left = Signal(len(command.rows) + 1, reset_less=True)
        row_ends, ends, fresh = Signal(), Signal(), Signal()
        issue_ready = Signal()  # the read pipeline takes a word
        codes_per_word = Signal(range(config.word_bits + 1))
        begins = Signal(command_layout(config))  # what the next row, or the next command, begins with
        strides = self.strides[begins.segment]
        m.d.comb += [
            row_ends.eq(words_left[-1]),
            ends.eq(row_ends & rows_left[-1]),
            fresh.eq(~active | ends),
            begins.eq(Mux(fresh, Value.cast(self.commands.payload), Value.cast(command))),
            codes_per_word.eq(config.word_bits >> self.strides[command.segment].field),
            self.commands.ready.eq(~active | (issue_ready & ends)),
        ]
        with m.If(~active | issue_ready):
            # The choice lies in front of the adders, whose cells have inputs for it.
            new = fresh | row_ends
            if config.row_masks:
                span_left = Signal(config.spike_addr_bits + 1, reset_less=True)
                step = Mux(new, 0, Mux(span_left[-1], strides.tap_step, 1))
                m.d.sync += [
                    address.eq(Mux(new, begins.address, address) + step),
                    weight.eq(Mux(new, begins.weight, weight) + ~new),
                    span_left.eq(Mux(new | span_left[-1], strides.span, span_left) - 1),
                ]
            else:
                if config.counts_values:
                    span_left = Signal(config.spike_addr_bits + 1, reset_less=True)
                    m.d.sync += span_left.eq(Mux(new | span_left[-1], strides.span, span_left) - 1)
                m.d.sync += [
                    address.eq(Mux(new, begins.address, address) + ~new),
                    weight.eq(Mux(new, begins.weight, weight) + Mux(new, 0, codes_per_word)),
                ]
            m.d.sync += words_left.eq(Mux(new, begins.run, words_left) - 1)
            with m.If(new):
                m.d.sync += [
                    rows_left.eq(Mux(fresh, begins.rows, rows_left) - 1),
                    command.eq(begins),
                    command.address.eq(begins.address + strides.row_stride),
                    command.weight.eq(begins.weight + strides.weight_row_stride),
                ]
            with m.If(fresh):
                m.d.sync += active.eq(self.commands.valid)

        # The read: the memory's own register, one more behind it, then the test for any spike. A stage moves if it or
        # one in front of it is free; only a word that is worth something waits at the end.
        meta = meta_layout(config)  # with masks, the weight comes with them
        tag = data.StructLayout({"last": 1, **({"tail": 1} if config.counts_values else {}), "meta": meta})
        tags = [Signal(tag, name=f"tag{i}", reset_less=True) for i in range(3)]
        valid = [Signal(name=f"valid{i}") for i in range(2)]
        offered = Signal()
        word = Signal(config.word_bits, reset_less=True)
        chunks = Signal(chunk_count(config.word_bits), reset_less=True)
        # Each is to be one LUT that looks at registers: kept as they are, and written so that they share no part, as
        # synthesis would chain them otherwise.
        moves = [Signal(name=f"moves{i}", attrs={"keep": 1}) for i in range(3)]
        m.d.comb += [
            moves[2].eq(~offered | self.words.ready),
            moves[1].eq((~valid[1] | self.words.ready) | ~offered),
            moves[0].eq((~valid[0] | self.words.ready) | (~valid[1] | ~offered)),
            issue_ready.eq(moves[0]),
        ]
        with m.If(moves[0]):
            m.d.sync += [
                valid[0].eq(active),
                tags[0].last.eq(ends & command.last),
                *([] if config.row_masks else [tags[0].meta.weight.eq(weight)]),
                tags[0].meta.segment.eq(command.segment),
                *([tags[0].tail.eq(span_left[-1])] if config.counts_values else []),
            ]
        with m.If(moves[1]):
            m.d.sync += [valid[1].eq(valid[0]), tags[1].eq(tags[0])]
        arrived: Value = spikes.read(m, address, first=moves[0], second=moves[1])
        if config.parity:
            m.submodules.parity = check = Parity(config.word_bits)
            m.d.comb += [check.row.eq(arrived), check.valid.eq(valid[1])]
            m.d.comb += [self.arrived.eq(valid[1]), self.fault.eq(check.fault)]
            arrived = arrived[: config.word_bits]
        if config.row_masks:
            mask = self.masks.entry
            m.d.comb += [self.masks.address.eq(weight), self.masks.first.eq(moves[0]), self.masks.second.eq(moves[1])]
            arrived = arrived & Cat(bit.replicate(CHUNK) for bit in mask.mask)
        # What a source's code says is constant while a layer runs, so it is decoded beforehand.
        tabled = tabled_layout(config.tables, config.term_fields) if config.tables else {}
        wide_pieces = piece_bits(config.worths) > CHUNK
        of_digits = {"wide" if wide_pieces else "pairs": 1} if config.multiplies else {"digits": 1, "pairs": 1}
        form = data.StructLayout({**of_digits, "twos": 1, **tabled, **({"own": 1} if config.depthwise else {})})
        forms = Signal(data.ArrayLayout(form, config.segments), reset_less=True)
        for source, stride in zip(forms, self.strides, strict=True):
            wide = stride.field >= CHUNK.bit_length() - 1
            twos = stride.code == DIGITS_TWOS
            if config.multiplies:
                bytes_ = stride.field >= CHUNK.bit_length()
                m.d.sync += source.wide.eq(bytes_) if wide_pieces else source.pairs.eq(twos & bytes_)
            else:
                m.d.sync += [
                    source.digits.eq((stride.code != DIGITS_UNARY) & wide),
                    source.pairs.eq((stride.code == DIGITS_SIGNED) | (twos & (stride.field == CHUNK.bit_length()))),
                ]
            m.d.sync += source.twos.eq(twos)
            if config.tables:
                m.d.sync += [source.tabled.eq(stride.code == DIGITS_LEVELS), source.table.eq(stride.table)]
            if "upper" in tabled:
                m.d.sync += source.upper.eq(stride.field >= CHUNK.bit_length())
            if config.depthwise:
                m.d.sync += source.own.eq(stride.own)
        form_of_word = Signal(form, reset_less=True)
        known: Value | None = None  # chunks that hold values, of a dense engine
        if config.counts_values:
            filled = Signal(data.ArrayLayout(chunk_count(config.word_bits), config.segments), reset_less=True)
            m.d.sync += [
                chunks_.eq(Cat(stride.tail >= i for i in range(chunk_count(config.word_bits))))
                for chunks_, stride in zip(filled, self.strides, strict=True)
            ]
            known = filled[tags[1].meta.segment] | ~tags[1].tail.replicate(chunk_count(config.word_bits))
        elif config.arithmetic == "dense":
            known = mask.mask
        some = arrived.any() if known is None else known.any()
        with m.If(moves[2]):
            source = forms[tags[1].meta.segment]
            if config.multiplies:
                none = Const(0, 1)
                found = pieces(*((arrived, source.wide, none) if wide_pieces else (arrived, none, source.pairs)), known)
            else:
                found = word_chunks(arrived, source.pairs, source.twos)
            if config.depthwise:  # the word is taken as one
                found = Mux(source.own, some, found)
            m.d.sync += form_of_word.eq(source)
            m.d.sync += [offered.eq(valid[1] & (some | tags[1].last)), tags[2].eq(tags[1])]
            m.d.sync += [word.eq(arrived), chunks.eq(found)]
            if config.row_masks:
                kept = Signal(mask_entry(config), name="kept_mask", reset_less=True)
                m.d.sync += kept.eq(mask)

        m.d.comb += [
            self.words.valid.eq(offered),
            self.words.payload.word.eq(word),
            self.words.payload.chunks.eq(chunks),
            self.words.payload.single.eq(at_most_one(chunks)),
            *(self.words.payload[name].eq(form_of_word[name]) for name in form.members),
            self.words.payload.last.eq(tags[2].last),
            self.words.payload.meta.eq(tags[2].meta),
        ]
        if config.row_masks:
            m.d.comb += [self.words.payload.meta.weight.eq(kept.weight), self.words.payload.mask.eq(kept.mask)]
        return m
