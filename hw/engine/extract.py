# SPDX-License-Identifier: Apache-2.0
"""EventExtractor: from spike words to events, one a cycle, sustained."""

from __future__ import annotations

import itertools
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...model.network.codes import CHUNK, LARGEST_DIGIT, MULTIPLES, factors, most_terms, multiplies, terms
from ..memory import plain_memory

FIELDS = 1 << CHUNK  # digits of a table, if its fields are chunks
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


def ones_below(word: Value, place: Value) -> Value:
    """Set bits of `word` below bit number `place`."""
    below = Array(Const((1 << i) - 1, len(word)) for i in range(len(word)))[place]
    return sum((word[i] & below[i] for i in range(len(word) - 1)), Const(0, 1))


def chunk_count(word_bits: int) -> int:
    return word_bits // CHUNK


def word_layout(
    word_bits: int,
    meta: ShapeLike,
    tables: int = 0,
    *,
    fields: int = FIELDS,
    masks: bool = False,
    depthwise: bool = False,
) -> data.StructLayout:
    """A spike word on its way to the extractor.

    chunks: which groups of CHUNK bits have an event; single: at most one of them does; digits: each is a digit; pairs:
    two of them are a value, with a carry; twos: values are in two's complement; last: the word ends a job. tabled,
    table: the digits stand for the terms of a table (only where there are tables); upper: two chunks are a value, and
    the upper one has digits of its own in the table (only where it has more than 16 fields). mask: chunks that have a
    weight row (only with masks). own: each digit is for the lanes of its own channel; then `chunks` has one bit for the
    whole word (only with depthwise).
    """
    chunks = chunk_count(word_bits)
    flags = dict.fromkeys(("single", "digits", "pairs", "twos", "last"), 1)
    if tables:
        flags |= tabled_layout(tables, fields)
    if masks:
        flags |= {"mask": chunks}
    if depthwise:
        flags |= {"own": 1}
    return data.StructLayout({"word": word_bits, "chunks": chunks, **flags, "meta": meta})


def table_bits(tables: int) -> int:
    """Bits of the number of a table; none where there is one only."""
    return max(0, (tables - 1).bit_length())


def term_layout(multiples: tuple[int, ...], *, tables: bool = False) -> data.StructLayout:
    """What an event adds: (-1)**negative * factors(multiples)[multiple] << shift; those of tables are shifted more."""
    shifts = range(8 if tables else 1 if multiplies(multiples) else 4 if len(multiples) > 1 else 5)
    return data.StructLayout({"multiple": range(len(factors(multiples))), "shift": shifts, "negative": 1})


def tabled_layout(tables: int, fields: int) -> dict[str, int]:
    """Whether a word's digits stand for terms of a table, which one, and whether its upper chunks have their own."""
    return {"tabled": 1, "table": table_bits(tables), **({"upper": 1} if fields > FIELDS else {})}


def terms_write_layout(multiples: tuple[int, ...], tables: int, fields: int = FIELDS) -> data.StructLayout:
    """The terms of one field of a table, on their way to the extractor."""
    most = most_terms(multiples)
    return data.StructLayout(
        {
            "enable": 1,
            "table": table_bits(tables),
            "field": range(fields),
            "number": range(most + 1),
            "terms": data.ArrayLayout(term_layout(multiples, tables=True), most),
        }
    )


def word_chunks(word: Value, pairs: Value, twos: Value) -> Value:
    """Which chunks of a spike word have an event: are no digit 0, after the carry of the lower chunk of a pair."""
    chunks = [word.word_select(i, CHUNK).any() for i in range(chunk_count(len(word)))]
    for i in range(1, len(chunks), 2):
        carry = pairs & word[CHUNK * i - 1]
        chunks[i] = (chunks[i] | carry) & ~(carry & twos & word.word_select(i, CHUNK).all())
    return Cat(chunks)


def extractor_members(
    layout: data.StructLayout,
    *,
    word_bits: int,
    multiples: tuple[int, ...],
    meta: ShapeLike,
    tables: int,
    fields: int = FIELDS,
    masks: bool,
) -> dict[str, wiring.Member]:
    """What every extractor of words of this layout has, but for lanes of their own; see EventExtractor."""
    return {
        "words": In(stream.Signature(layout)),
        "valid": Out(1),
        "spike": Out(1),
        "index": Out(range(word_bits)),
        "term": Out(term_layout(multiples, tables=tables > 0)),
        "meta": Out(meta),
        "fresh": Out(1),
        "end": Out(1),
        "end_ready": In(1),
        "waiting": Out(1),
        **({"terms": In(terms_write_layout(multiples, tables, fields))} if tables else {}),
        **({"row": Out(range(word_bits))} if masks else {}),
    }


class EventExtractor(wiring.Component):
    """Turns each word into events, the lowest first, one a cycle: digit by digit, or bit by bit.

    A digit gives its terms (`onespike.model.network.codes.terms`, or what its table has for it: at least one, but for
    0), a chunk that is none its set bits, each worth 1 here. A word of n events takes max(1, n) cycles; an empty word
    (allowed only as the last of a job) emits `end` alone.

    Latency: EXTRACT_LATENCY from a word's transfer to its first event. Throughput: one event a cycle, no bubble between
    values or words. Back-pressure: the event that ends a job waits for `end_ready`; all others leave at once.

    A word is taken apart in two steps, so that no loop is wider than a chunk: the first stage gives its chunks that
    have an event, one after the other, the second waits with the next of them, the third gives the events of one chunk.
    As every chunk has one, the third stage is never kept waiting inside a word.

    Golden function: `onespike.model.machine.extract.extract`.

    Parameters
    ----------
    word_bits : bits of a spike word, a multiple of CHUNK.
    multiples : odd multiples that an event may have.
    meta : shape of what travels along with every word.
    tables : tables of terms.
    fields : digits of each that have some: 16, or 32 where those of an upper chunk have their own.
    masks : whether words have masks of the chunks that have a weight row.
    depthwise : whether a word may be taken as one: event i adds term number i of every digit that has so many.

    Members
    -------
    words : In(stream) spike words, with what `word_layout` says of them.
    valid : Out(1) an event leaves in this cycle.
    spike : Out(1) it adds something; low if the word was empty.
    index : Out its place in the word: of its bit, or of its digit's lowest one.
    term : Out(term_layout) what it adds, times what its place is worth.
    row : Out which of the word's weight rows it adds, in units as `index`; without masks it is that (only with masks).
    own, digits, number : Out the event adds term `number` of each digit of the word `digits` (only with depthwise).
    meta : Out(meta) of the event's word.
    fresh : Out(1) it is the word's first.
    end : Out(1) this event ends a job.
    end_ready : In(1) an ending event may leave.
    waiting : Out(1) an ending event waits for `end_ready`.
    terms : In(terms_write_layout) the terms of a field, while no word is inside (only where there are tables).
    """

    def __init__(
        self, *, word_bits: int, multiples: tuple[int, ...], meta: ShapeLike, tables: int = 0, fields: int = FIELDS,
        masks: bool = False, depthwise: bool = False,
    ):  # fmt: skip
        if word_bits < 2 * CHUNK or word_bits % CHUNK:
            raise ValueError(f"word_bits must be a multiple of {CHUNK}, at least {2 * CHUNK}, not {word_bits!r}")
        if multiples not in MULTIPLES:
            raise ValueError(f"multiples must be one of {MULTIPLES}, not {multiples!r}")
        self.word_bits = word_bits
        self.multiples = multiples
        self.meta_shape = meta
        self.tables, self.fields = tables, fields
        self.masks = masks
        self.depthwise = depthwise
        self.term_layout = term_layout(multiples, tables=tables > 0)
        own = {"own": Out(1), "digits": Out(word_bits), "number": Out(range(most_terms(multiples)))}
        layout = word_layout(word_bits, meta, tables, fields=fields, masks=masks, depthwise=depthwise)
        members = extractor_members(
            layout, word_bits=word_bits, multiples=multiples, meta=meta, tables=tables, fields=fields, masks=masks
        )
        super().__init__(members | (own if depthwise else {}))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        meta = Shape.cast(self.meta_shape).width
        chunks = chunk_count(self.word_bits)
        place = {"number": range(chunks), "digits": 1, "last": 1, "meta": meta, "fresh": 1}
        if self.masks:
            place |= {"rank": range(chunks)}
        if self.depthwise:
            place |= {"own": 1, "word": self.word_bits}
        tabled = tabled_layout(self.tables, self.fields) if self.tables else {}
        piece = data.StructLayout({"bits": CHUNK, "carry": 1, "signed": 1, **tabled, **place})
        # The events that are left of a chunk, as set bits: those of a digit, or its own.
        listed = {"tabled": 1, "terms": self.terms.terms.shape()} if self.tables else {}
        part = data.StructLayout({"events": CHUNK, "size": range(LARGEST_DIGIT + 1), "negative": 1, **listed, **place})
        word_valid, word = Signal(), Signal(self.words.payload.shape(), reset_less=True)
        whole = Signal(reset_less=True)  # no chunk of the word has gone on
        next_valid, next_ = Signal(), Signal(piece, name="next", reset_less=True)
        valid, current = Signal(), Signal(part, reset_less=True)
        more = Signal()  # the current chunk has another event after this one
        ends = Signal()  # this event ends a job

        # Third stage: the events of one chunk. It makes room with its last one.
        take, take_next, take_word = Signal(), Signal(), Signal()
        m.d.comb += [
            take.eq(~more & (~ends | self.end_ready)),
            take_next.eq(~next_valid | take),
            take_word.eq(~word_valid | (word.single & take_next)),
        ]
        size, negative, events, single = self._digit(m, next_)
        if self.tables:
            row = self._table_row(m, next_)
            events = Mux(next_.tabled, Cat(row.number > i for i in range(most_terms(self.multiples))), events)
            single = Mux(next_.tabled, row.number < 2, single)
            with m.If(take):
                m.d.sync += [current.tabled.eq(next_.tabled), current.terms.eq(row.terms)]
        if self.depthwise:
            passes = self._passes(next_.word)
            events = Mux(next_.own, passes, events)
            single = Mux(next_.own, at_most_one(passes), single)
        with m.If(take):
            m.d.sync += [valid.eq(next_valid), current.size.eq(size), current.negative.eq(negative)]
            m.d.sync += [current.events.eq(events), *(current[name].eq(next_[name]) for name in place)]
            m.d.sync += [more.eq(next_valid & ~single), ends.eq(next_valid & single & next_.last)]
        with m.Elif(more):
            rest = clear_lowest(current.events)
            m.d.sync += [current.events.eq(rest), current.fresh.eq(0), more.eq(~at_most_one(rest))]
            m.d.sync += ends.eq(at_most_one(rest) & current.last)
        first = lowest_index(current.events)
        m.d.comb += [
            self.valid.eq(valid & (~ends | self.end_ready)),
            self.spike.eq(current.events.any()),
            self.index.eq(Cat(Mux(current.digits, 0, first), current.number)),
            Value.cast(self.meta).eq(current.meta),
            self.fresh.eq(current.fresh),
            self.end.eq(ends),
            self.waiting.eq(ends & ~self.end_ready),
        ]
        if self.masks:
            m.d.comb += self.row.eq(Cat(self.index[: CHUNK.bit_length() - 1], current.rank))
        if self.depthwise:
            m.d.comb += [self.own.eq(current.own), self.digits.eq(current.word), self.number.eq(first)]
        self._term(m, current, first)

        # Second stage: the next chunk.
        with m.If(take_next):
            number = lowest_index(word.chunks)
            borrows = Cat(word.word[i + CHUNK - 1] for i in range(0, self.word_bits, 2 * CHUNK))
            m.d.sync += [
                next_valid.eq(word_valid),
                next_.number.eq(number),
                next_.bits.eq(word.word.word_select(number, CHUNK)),
                next_.carry.eq(word.pairs & number[0] & borrows.bit_select(number[1:], 1)),
                next_.signed.eq(word.twos | (word.pairs & ~number[0])),
                next_.digits.eq(word.digits),
                next_.last.eq(word.last & word.single),
                next_.meta.eq(word.meta),
                next_.fresh.eq(whole),
                *([next_.rank.eq(ones_below(word.mask, number))] if self.masks else []),
                *([next_.own.eq(word.own), next_.word.eq(word.word)] if self.depthwise else []),
                *(next_[name].eq(word[name]) for name in tabled),
            ]

        # First stage: the chunks of one word that are left.
        m.d.comb += self.words.ready.eq(take_word)
        with m.If(take_word):
            m.d.sync += [word_valid.eq(self.words.valid), word.eq(self.words.payload), whole.eq(1)]
        with m.Elif(take_next):
            rest = clear_lowest(word.chunks)
            m.d.sync += [word.chunks.eq(rest), word.single.eq(at_most_one(rest)), whole.eq(0)]
        return m

    def _passes(self, word: Value) -> Value:
        """One bit for each event of a word that is taken as one: whether any of its digits has so many terms."""
        digits = [word.word_select(i, CHUNK) for i in range(chunk_count(self.word_bits))]
        numbers = [len(terms(digit, self.multiples)) for digit in range(1 << CHUNK)]
        return Cat(
            Cat(Array(Const(count > i, 1) for count in numbers)[digit] for digit in digits).any()
            for i in range(most_terms(self.multiples))
        )

    def _digit(self, m: Module, piece: Any) -> tuple[Value, Value, Value, Value]:
        """Size and sign of a chunk's digit, its events as set bits, and whether there is one at most.

        A table: arithmetic would go through a carry chain. A chunk that is no digit passes for a 1 in all its places.
        """
        digit = Signal(data.StructLayout({"size": range(LARGEST_DIGIT + 1), "negative": 1, "marks": 3}))
        with m.Switch(Cat(piece.bits, piece.carry, piece.signed)):
            for bits in range(1 << CHUNK):
                for carry, sign in itertools.product((0, 1), repeat=2):
                    value = bits + carry - 16 * (bits >> 3) * sign
                    marks = (1 << len(terms(value, self.multiples))) - 1
                    with m.Case(bits | carry << CHUNK | sign << CHUNK + 1):
                        known = {"size": abs(value), "negative": value < 0, "marks": marks}
                        m.d.comb += digit.eq(digit.shape().const(known))
        return (
            Mux(piece.digits, digit.size, 1),
            piece.digits & digit.negative,
            Mux(piece.digits, digit.marks, piece.bits),
            Mux(piece.digits, ~digit.marks[1], at_most_one(piece.bits)),
        )

    def _term(self, m: Module, part: Any, place: Value) -> None:
        """Term number `place` of the part's digit; of a digit 1, the same in every place."""
        layout = self.term_layout
        tables = []
        for i in range(most_terms(self.multiples)):
            rows = []
            for digit in range(LARGEST_DIGIT + 1):
                found = terms(digit, self.multiples) or terms(1, self.multiples)
                term = found[min(i, len(found) - 1)]
                number = factors(self.multiples).index(term.multiple)
                rows.append(
                    layout.const({"multiple": number, "shift": term.shift, "negative": term.negative}).as_value()
                )
            tables.append(Array(rows)[part.size])
        term = Signal(layout)
        m.d.comb += [
            Value.cast(term).eq(Array(tables)[place]),
            Value.cast(self.term).eq(Value.cast(term)),
            self.term.negative.eq(term.negative ^ part.negative),
        ]
        if self.tables:
            with m.If(part.tabled):
                own = Array([Value.cast(part.terms[i]) for i in range(most_terms(self.multiples))])
                m.d.comb += Value.cast(self.term).eq(own[place])

    def _table_row(self, m: Module, piece: Any) -> Any:
        """Number of terms and terms of a chunk's bits, in the table of its word."""
        write = self.terms
        row = data.StructLayout({"number": write.number.shape(), "terms": write.terms.shape()})
        m.submodules.term_memory = memory = plain_memory(row.size, self.tables * self.fields)
        port, read = memory.write_port(), memory.read_port(domain="comb")
        upper = piece.upper & piece.number[0] if self.fields > FIELDS else Const(0, 0)
        m.d.comb += [
            port.en.eq(write.enable),
            port.addr.eq(Cat(write.field, write.table)),
            port.data.eq(Cat(write.number, write.terms)),
            read.addr.eq(Cat(piece.bits, upper, piece.table)),
        ]
        return data.View(row, read.data)
