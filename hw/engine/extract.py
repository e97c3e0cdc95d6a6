# SPDX-License-Identifier: Apache-2.0
"""SetBitExtractor: from spike words to the places of their set bits, one set bit a cycle, sustained."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

CHUNK = 4  # bits of a spike word that are taken apart at once: everything about so few fits one LUT
EXTRACT_LATENCY = 3  # cycles from a word's transfer to its first event


def clear_lowest(word: Value) -> Value:
    """word with its lowest set bit cleared; by logic, for a few bits."""
    return Cat(word[i] & word[:i].any() if i else Const(0, 1) for i in range(len(word)))


def at_most_one(word: Value) -> Value:
    """Whether no two bits are set."""
    return ~clear_lowest(word).any()


def lowest_index(word: Value) -> Value:
    """Number of the lowest set bit; of the highest bit if none is set."""
    index: Value = Const(len(word) - 1, range(len(word)))
    for i in reversed(range(len(word) - 1)):
        index = Mux(word[i], Const(i, range(len(word))), index)
    return index


def chunk_count(word_bits: int) -> int:
    return word_bits // CHUNK


def word_layout(word_bits: int, meta: ShapeLike) -> data.StructLayout:
    """A spike word on its way to the extractor.

    chunks: which groups of CHUNK bits hold a set bit; single: at most one of them does; last: the word ends a job.
    """
    chunks = chunk_count(word_bits)
    return data.StructLayout({"word": word_bits, "chunks": chunks, "single": 1, "last": 1, "meta": meta})


def word_chunks(word: Value) -> Value:
    """Which chunks of a spike word hold a set bit."""
    return Cat(word.word_select(i, CHUNK).any() for i in range(chunk_count(len(word))))


class SetBitExtractor(wiring.Component):
    """Emits the places of the set bits of each word, lowest first, one a cycle.

    A word of n ones takes max(1, n) cycles; an empty word (allowed only as the last of a job) emits `end` alone.

    Latency: EXTRACT_LATENCY from a word's transfer to its first event. Throughput: one event a cycle, no bubble between
    words. Back-pressure: the event that ends a job waits for `end_ready`; all others leave at once.

    A word is taken apart in two steps, so that no loop is wider than a chunk: the first stage gives its chunks that
    hold a bit, one after the other, the second waits with the next of them, the third gives the bits of one chunk.
    As every chunk has a bit, the third stage is never kept waiting inside a word.

    Golden function: `onespike.model.machine.extract.extract`.

    Parameters
    ----------
    word_bits : bits of a spike word, a multiple of CHUNK.
    meta : shape of what travels along with every word.

    Members
    -------
    words : In(stream) spike words, with their `chunks`, `last` and `meta`.
    valid : Out(1) an event leaves in this cycle.
    spike : Out(1) it is a set bit; low if the word was empty.
    index : Out its place in the word.
    meta : Out(meta) of the event's word.
    end : Out(1) this event ends a job.
    end_ready : In(1) an ending event may leave.
    waiting : Out(1) an ending event waits for `end_ready`.
    """

    def __init__(self, *, word_bits: int, meta: ShapeLike):
        if word_bits < 2 * CHUNK or word_bits % CHUNK:
            raise ValueError(f"word_bits must be a multiple of {CHUNK}, at least {2 * CHUNK}, not {word_bits!r}")
        self.word_bits = word_bits
        self.meta_shape = meta
        super().__init__(
            {
                "words": In(stream.Signature(word_layout(word_bits, meta))),
                "valid": Out(1),
                "spike": Out(1),
                "index": Out(range(word_bits)),
                "meta": Out(meta),
                "end": Out(1),
                "end_ready": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        meta = Shape.cast(self.meta_shape).width
        chunks = chunk_count(self.word_bits)
        piece = data.StructLayout({"bits": CHUNK, "number": range(chunks), "last": 1, "meta": meta})
        word_valid, word = Signal(), Signal(self.words.payload.shape(), reset_less=True)
        next_valid, next_ = Signal(), Signal(piece, name="next", reset_less=True)
        valid, current = Signal(), Signal(piece, reset_less=True)
        more = Signal()  # the current chunk holds another bit after this one
        ends = Signal()  # this event ends a job

        # Third stage: the bits of one chunk. It makes room with its last bit.
        take, take_next, take_word = Signal(), Signal(), Signal()
        m.d.comb += [
            take.eq(~more & (~ends | self.end_ready)),
            take_next.eq(~next_valid | take),
            take_word.eq(~word_valid | (word.single & take_next)),
        ]
        with m.If(take):
            single = at_most_one(next_.bits)
            m.d.sync += [valid.eq(next_valid), current.eq(next_)]
            m.d.sync += [more.eq(next_valid & ~single), ends.eq(next_valid & single & next_.last)]
        with m.Elif(more):
            rest = clear_lowest(current.bits)
            m.d.sync += [current.bits.eq(rest), more.eq(~at_most_one(rest))]
            m.d.sync += ends.eq(at_most_one(rest) & current.last)
        m.d.comb += [
            self.valid.eq(valid & (~ends | self.end_ready)),
            self.spike.eq(current.bits.any()),
            self.index.eq(Cat(lowest_index(current.bits), current.number)),
            Value.cast(self.meta).eq(current.meta),
            self.end.eq(ends),
            self.waiting.eq(ends & ~self.end_ready),
        ]

        # Second stage: the next chunk.
        with m.If(take_next):
            number = lowest_index(word.chunks)
            m.d.sync += [
                next_valid.eq(word_valid),
                next_.number.eq(number),
                next_.bits.eq(word.word.word_select(number, CHUNK)),
                next_.last.eq(word.last & word.single),
                next_.meta.eq(word.meta),
            ]

        # First stage: the chunks of one word that are left.
        m.d.comb += self.words.ready.eq(take_word)
        with m.If(take_word):
            m.d.sync += [word_valid.eq(self.words.valid), word.eq(self.words.payload)]
        with m.Elif(take_next):
            rest = clear_lowest(word.chunks)
            m.d.sync += [word.chunks.eq(rest), word.single.eq(at_most_one(rest))]
        return m
