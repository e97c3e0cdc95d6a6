# SPDX-License-Identifier: Apache-2.0
"""ValueExtractor: in place of the EventExtractor where lanes multiply: from spike words to values, one a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from ...model.network.codes import CHUNK, PRODUCTS, piece_bits
from ..memory import plain_memory
from .extract import (
    FIELDS,
    at_most_one,
    chunk_count,
    clear_lowest,
    extractor_members,
    lowest_index,
    ones_below,
    table_bits,
    term_layout,
)


def value_word_layout(
    word_bits: int, multiples: tuple[int, ...], meta: ShapeLike, tables: int = 0, *, masks: bool = False,
    depthwise: bool = False,
) -> data.StructLayout:  # fmt: skip
    """A spike word on its way to the extractor.

    chunks: where a value begins, or a piece of one, that is an event; single: at most one does; wide: pieces are bytes
    (only if lanes multiply by bytes), pairs: two of four bits are a value, with a carry (only if not); twos: values are
    in two's complement; last: the word ends a job. tabled, table, mask, own: as in `extract.word_layout`.
    """
    chunks = chunk_count(word_bits)
    flags = {"single": 1, "wide" if piece_bits(multiples) > CHUNK else "pairs": 1, "twos": 1, "last": 1}
    if tables:
        flags |= {"tabled": 1, "table": table_bits(tables)}
    if masks:
        flags |= {"mask": chunks}
    if depthwise:
        flags |= {"own": 1}
    return data.StructLayout({"word": word_bits, "chunks": chunks, **flags, "meta": meta})


def pieces(word: Value, wide: Value, carries: Value, known: Value | None) -> Value:
    """Where a piece of a spike word begins that is an event: bytes, if `wide`, else chunks of four bits.

    carries: two of them are a value with a sign. known: the chunks that hold values; then values of 0 are events, too.
    """
    found = []
    for i in range(chunk_count(len(word))):
        if known is not None:
            some: Value = known[i]
        elif i % 2:
            chunk, carry = word.word_select(i, CHUNK), carries & word[CHUNK * i - 1]
            some = (chunk.any() | carry) & ~(carry & chunk.all())
        else:
            some = word.word_select(i, CHUNK).any() | (wide & word.word_select(i + 1, CHUNK).any())
        found.append(some & ~wide if i % 2 else some)
    return Cat(found)


class ValueExtractor(wiring.Component):
    """Turns each word into values, the lowest first, one a cycle: whole ones, or a wider one's pieces.

    A piece is as wide as a lane's multiplier: four bits, or eight of values that have them. A word of n events takes
    max(1, n) cycles; one without (allowed only as the last of a job) emits `end` alone. Which pieces are events, those
    that are not 0 or all that hold a value, says the word (`pieces`).

    Latency, throughput, back-pressure and the three stages are the EventExtractor's: EXTRACT_LATENCY cycles from a
    word's transfer to its first event, one event a cycle, the event that ends a job waits for `end_ready`.

    Golden function: `onespike.model.machine.values.values`.

    Parameters
    ----------
    word_bits : bits of a spike word, a multiple of 2 * CHUNK.
    multiples : what a lane multiplies by, one of `onespike.model.network.codes.PRODUCTS`.
    meta : shape of what travels along with every word.
    tables : tables of terms, each field of which has one.
    masks : whether words have masks of the chunks that have a weight row.
    depthwise : whether a word may be taken as one: its event is a value for each of its digits.

    Members
    -------
    words : In(stream) spike words, with what `value_word_layout` says of them.
    valid, spike, index, term, row, meta, fresh, end, end_ready, waiting, terms : see EventExtractor; a term's
        `multiple` is the value's size.
    own, digits : Out each digit of the word `digits` is a value for the lanes of its own (only with depthwise).
    """

    def __init__(
        self, *, word_bits: int, multiples: tuple[int, ...], meta: ShapeLike, tables: int = 0, masks: bool = False,
        depthwise: bool = False,
    ):  # fmt: skip
        if word_bits < 2 * CHUNK or word_bits % (2 * CHUNK):
            raise ValueError(f"word_bits must be a multiple of {2 * CHUNK}, not {word_bits!r}")
        if multiples not in PRODUCTS.values():
            raise ValueError(f"multiples must be one of PRODUCTS, not {multiples!r}")
        self.word_bits = word_bits
        self.multiples = multiples
        self.meta_shape = meta
        self.tables = tables
        self.masks = masks
        self.depthwise = depthwise
        self.term_layout = term_layout(multiples, tables=tables > 0)
        layout = value_word_layout(word_bits, multiples, meta, tables, masks=masks, depthwise=depthwise)
        super().__init__(
            extractor_members(layout, word_bits=word_bits, multiples=multiples, meta=meta, tables=tables, masks=masks)
            | ({"own": Out(1), "digits": Out(word_bits)} if depthwise else {})
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = piece_bits(self.multiples)
        meta = Shape.cast(self.meta_shape).width
        place = {"some": 1, "number": range(chunk_count(self.word_bits)), "meta": meta, "fresh": 1}
        if self.masks:
            place |= {"rank": range(chunk_count(self.word_bits))}
        if self.depthwise:
            place |= {"own": 1, "word": self.word_bits}
        tabled = {"tabled": 1, "table": table_bits(self.tables)} if self.tables else {}
        flags = {"carry": int(bits == CHUNK), "signed": 1, "last": 1, **tabled}
        piece = data.StructLayout({"bits": bits, **flags, **place})
        word_valid, word = Signal(), Signal(self.words.payload.shape(), reset_less=True)
        whole = Signal(reset_less=True)  # no piece of the word has gone on
        next_valid, next_ = Signal(), Signal(piece, name="next", reset_less=True)
        valid, ends = Signal(), Signal()
        current = Signal(data.StructLayout({"term": self.term_layout, **place}), reset_less=True)

        # Third stage: the value of one piece.
        take, take_next, take_word = Signal(), Signal(), Signal()
        m.d.comb += [
            take.eq(~ends | self.end_ready),
            take_next.eq(~next_valid | take),
            take_word.eq(~word_valid | (word.single & take_next)),
        ]
        with m.If(take):
            m.d.sync += [valid.eq(next_valid), ends.eq(next_valid & next_.last)]
            m.d.sync += [current.term.eq(self._term(m, next_)), *(current[name].eq(next_[name]) for name in place)]
        m.d.comb += [
            self.valid.eq(valid & take),
            self.spike.eq(current.some),
            self.index.eq(Cat(Const(0, CHUNK.bit_length() - 1), current.number)),
            Value.cast(self.term).eq(Value.cast(current.term)),
            Value.cast(self.meta).eq(current.meta),
            self.fresh.eq(current.fresh),
            self.end.eq(ends),
            self.waiting.eq(ends & ~self.end_ready),
        ]
        if self.masks:
            m.d.comb += self.row.eq(Cat(Const(0, CHUNK.bit_length() - 1), current.rank))
        if self.depthwise:
            m.d.comb += [self.own.eq(current.own), self.digits.eq(current.word)]

        # Second stage: the next piece.
        with m.If(take_next):
            number = lowest_index(word.chunks)
            chosen = word.word.word_select(number, CHUNK)
            if bits > CHUNK:
                upper = word.word.word_select(number[1:], bits)[CHUNK:]
                sign = word.twos & chosen[-1]
                chosen = Cat(chosen, Mux(word.wide, upper, sign.replicate(CHUNK)))
                carry: Value = Const(0, 0)
            else:
                borrows = Cat(word.word[i + CHUNK - 1] for i in range(0, self.word_bits, 2 * CHUNK))
                carry = word.pairs & number[0] & borrows.bit_select(number[1:], 1)
            m.d.sync += [
                next_valid.eq(word_valid),
                next_.some.eq(word.chunks.any()),
                next_.number.eq(number),
                next_.bits.eq(chosen),
                next_.carry.eq(carry),
                next_.signed.eq(word.twos),
                next_.last.eq(word.last & word.single),
                next_.meta.eq(word.meta),
                next_.fresh.eq(whole),
                *([next_.rank.eq(ones_below(word.mask, number))] if self.masks else []),
                *([next_.own.eq(word.own), next_.word.eq(word.word)] if self.depthwise else []),
                *(next_[name].eq(word[name]) for name in tabled),
            ]

        # First stage: the pieces of one word that are left.
        m.d.comb += self.words.ready.eq(take_word)
        with m.If(take_word):
            m.d.sync += [word_valid.eq(self.words.valid), word.eq(self.words.payload), whole.eq(1)]
        with m.Elif(take_next):
            rest = clear_lowest(word.chunks)
            m.d.sync += [word.chunks.eq(rest), word.single.eq(at_most_one(rest)), whole.eq(0)]
        return m

    def _term(self, m: Module, piece: Any) -> Value:
        """Size and sign of a piece, or what its table has for it."""
        term = Signal(self.term_layout)
        minus = piece.signed & piece.bits[-1]
        m.d.comb += [
            # -x = ~x + 1; with a carry, -(x + 1) = ~x.
            term.multiple.eq((piece.bits ^ minus.replicate(len(piece.bits))) + (piece.carry ^ minus)),
            term.negative.eq(minus),
        ]
        if self.tables:
            memory_term = self._table_term(m, piece)
            with m.If(piece.tabled):
                m.d.comb += Value.cast(term).eq(Value.cast(memory_term))
        return term

    def _table_term(self, m: Module, piece: Any) -> Any:
        """The term of a chunk's bits, in the table of its word."""
        write = self.terms
        m.submodules.term_memory = memory = plain_memory(self.term_layout.size, self.tables * FIELDS)
        port, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [
            port.en.eq(write.enable),
            port.addr.eq(Cat(write.field, write.table)),
            port.data.eq(Value.cast(write.terms[0])),
            read.addr.eq(Cat(piece.bits[:CHUNK], piece.table)),
        ]
        return data.View(self.term_layout, read.data)
