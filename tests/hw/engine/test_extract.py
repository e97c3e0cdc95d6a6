# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import fill_terms, pattern, random_bits, random_terms
from onespike.hw.engine.extract import (
    EventExtractor,
    at_most_one,
    clear_lowest,
    lowest_index,
    term_layout,
    word_chunks,
    word_layout,
)
from onespike.model.machine.extract import ONE, Event, Extracted, Word, extract
from onespike.model.machine.fetch import Terms
from onespike.model.network.codes import MULTIPLES, Term, chunk_digit, factors, terms
from onespike.sim.stream import run_pipeline, run_stream

META = 8


class Harness(wiring.Component):
    """The extractor with `end_ready` from a pattern, its events as a stream, with the cycles waited so far."""

    def __init__(
        self, word_bits: int, multiples: tuple[int, ...], end_ready: list[int], tables: Terms = (), sparse=False
    ):
        form = {"fields": len(tables[0]) if tables else 16, "masks": sparse, "depthwise": sparse}
        self.extractor = EventExtractor(
            word_bits=word_bits, multiples=multiples, meta=META, tables=len(tables), **form
        )
        self.sparse = sparse
        self.end_ready, self.tables, self.multiples = end_ready, tables, multiples
        term = term_layout(multiples, tables=bool(tables))
        event = data.StructLayout(
            {"spike": 1, "index": range(word_bits), "row": range(word_bits), "term": term, "meta": META, "end": 1,
             "fresh": 1, "waited": 16, "own": 1, "digits": word_bits, "number": 3}
        )  # fmt: skip
        super().__init__(
            {
                "words": In(stream.Signature(word_layout(word_bits, META, len(tables), **form))),
                "events": Out(stream.Signature(event, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.extractor = dut = self.extractor
        filled = fill_terms(m, dut.terms, self.tables, self.multiples) if self.tables else Const(1)
        word = self.words.payload
        m.d.comb += [
            Value.cast(dut.words.payload).eq(Value.cast(word)),
            dut.words.valid.eq(self.words.valid & filled),
            self.words.ready.eq(dut.words.ready & filled),
        ]
        chunks = word_chunks(word.word, word.pairs, word.twos)
        if self.sparse:
            chunks = Mux(word.own, word.word.any(), chunks)
        m.d.comb += [dut.words.payload.chunks.eq(chunks), dut.words.payload.single.eq(at_most_one(chunks))]
        event = self.events.payload
        m.d.sync += event.waited.eq(event.waited + dut.waiting)
        m.d.comb += [
            dut.end_ready.eq(pattern(m, "end_ready", self.end_ready)),
            self.events.valid.eq(dut.valid),
            event.spike.eq(dut.spike),
            event.index.eq(dut.index),
            event.row.eq(dut.row if self.sparse else dut.index),
            *(event[name].eq(getattr(dut, name)) for name in ("own", "digits", "number") if self.sparse),
            event.term.eq(dut.term),
            event.meta.eq(dut.meta),
            event.fresh.eq(dut.fresh),
            event.end.eq(dut.end),
        ]
        return m


def rtl(
    words, word_bits, multiples=(1, 3, 5), *, end_ready=(), tables=(), sparse=False, **options
) -> tuple[list[int], Extracted]:
    """When each word was taken, and what came out."""
    count = len(extract(words, word_bits=word_bits, multiples=multiples).events)
    left_out = {"width", "table"} if sparse else {"width", "table", "mask", "own"}
    left_out |= set() if tables and len(tables[0]) > 16 else {"upper"}
    payloads = [{name: value for name, value in word._asdict().items() if name not in left_out} for word in words]
    for payload, word in zip(payloads, words, strict=True):
        if tables:
            payload |= {"tabled": word.table is not None, "table": tables.index(word.table) if word.table else 0}
    harness = Harness(word_bits, multiples, list(end_ready), tables, sparse)
    stamps = run_stream(harness, {"words": payloads}, {"events": count}, stamps=True, **options)
    out = [t.payload for t in stamps["events"]]
    events = []
    for event in out:
        multiple = factors(multiples)[event.term.multiple] if len(multiples) > 1 else 1
        term = Term(multiple, event.term.shift, bool(event.term.negative))
        what = (event.index, None if event.own else term) if event.spike else (None, None)
        digits = [event.digits >> i & 15 for i in range(0, word_bits, 4)] if event.own and event.spike else []
        own = [terms(digit, multiples)[event.number : event.number + 1] for digit in digits]
        own_terms = tuple(found[0] if found else None for found in own)
        row = event.row if event.spike else None
        events.append(Event(*what, event.meta, bool(event.end), row, bool(event.fresh), own_terms))
    taken, cycles = ([t.cycle for t in stamps[name]] for name in ("words", "events"))
    return taken, Extracted(events, cycles, out[-1].waited)


def random_words(rng, word_bits, count, densities=(0.03, 0.1, 0.5, 1.0), tables=()) -> list[Word]:
    words = []
    for index in range(count):
        density = rng.choice(densities)
        value = sum(1 << i for i in range(word_bits) if rng.random() < density)
        last = rng.random() < 0.4 or index == count - 1
        if last and rng.random() < 0.3:
            value = 0  # the end of a job, without an event
        value = value if value or last else 1 << rng.randrange(word_bits)
        forms = [*FORMS, *((True, False, False, table) for table in tables)]
        forms += [(True, False, False, table, True) for table in tables if len(table) > 16]
        words.append(Word(value, last, rng.randrange(1 << META), *rng.choice(forms)))
    return words


# Bits, digits, signed digits in pairs; two's complement of four bits, of eight.
FORMS = [(False, False, False), (True, False, False), (True, True, False), (True, False, True), (True, True, True)]


def test_golden():
    words = [Word(0b1010, False, 7), Word(0b0001, True, 8), Word(0, True, 9)]
    assert extract(words, word_bits=4, multiples=(1,), end_ready=[1, 1, 1, 1, 1, 0, 0]) == Extracted(
        [
            Event(1, ONE, 7, False, 1),
            Event(3, ONE, 7, False, 3, False),
            Event(0, ONE, 8, True, 0),
            Event(None, None, 9, True),
        ],
        [3, 4, 7, 8],
        2,
    )


def test_golden_digits():
    """12 is one event, 7 two; 0xF8 are the signed digits -8 and 16."""
    words = [Word(0x7C, False, 1, True), Word(0xF8, True, 2, True, True)]
    found = extract(words, word_bits=8, multiples=(1, 3, 5))
    assert [(e.place, e.term, e.end) for e in found.events] == [
        (0, Term(3, 2, False), False),
        (4, Term(1, 3, False), False),
        (4, Term(1, 0, True), False),
        (0, Term(1, 3, True), False),
        (4, Term(2, 3, False), True),
    ]
    assert found.cycles == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([Word(16, False, 0)], "word 0 must have 4 bits, not 0x10"),
        ([Word(1, False, 0), Word(0, False, 0)], "word 1 is empty but does not end a job"),
        ([Word(1, True, 0, False, True)], "word 0 has pairs or signs, but no digits"),
        ([Word(1, True, 0, True, True, False, ((),) * 16)], "word 0 has a table, and pairs or signs"),
        ([Word(2, True, 0, True, table=((),) * 16)], r"a table must have terms for every digit but 0, not \(\) for 2"),
        ([Word(1, True, 0, True, table=((), (ONE,) * 4))], "more terms than a chunk may have"),
    ],
)
def test_golden_ranges(words, message):
    with pytest.raises(AssertionError, match=message):
        extract(words, word_bits=4, multiples=(1,))


@pytest.mark.parametrize("word_bits", [8, 12, 16, 32])
@pytest.mark.parametrize("seed", range(3))
def test_random_stalls(word_bits, seed):
    """Gaps between words, ends that wait: every event and its cycle."""
    rng = random.Random(seed)
    words, multiples = random_words(rng, word_bits, 60), MULTIPLES[seed]
    end_ready = random_bits(rng, 400, rng.choice([0.1, 0.5]))
    taken, result = rtl(words, word_bits, multiples, end_ready=end_ready, seed=seed, stall=rng.choice([0.2, 0.8]))
    assert result == extract(words, word_bits=word_bits, multiples=multiples, offered=taken, end_ready=end_ready)


@pytest.mark.parametrize("fields", [16, 32])
@pytest.mark.parametrize(("count", "multiples"), [(1, (1, 3, 5)), (2, (1, 3)), (4, (1,)), (8, (1, 3, 5))])
def test_tables(count, multiples, fields):
    """Words of several tables among those of all forms, with gaps and ends that wait: every event and its cycle.

    Upper chunks have terms of their own where the word says so.
    """
    rng = random.Random(count)
    tables = random_terms(rng, count, multiples, fields)
    words = random_words(rng, 16, 120, tables=tables * 5)
    end_ready = random_bits(rng, 500, 0.4)
    taken, result = rtl(words, 16, multiples, end_ready=end_ready, tables=tables, seed=count, stall=0.3)
    assert result == extract(words, word_bits=16, multiples=multiples, offered=taken, end_ready=end_ready)


def sparse_words(rng: random.Random, word_bits: int, count: int) -> list[Word]:
    """Words with masks, whose other chunks are 0, and words whose digits are for lanes of their own."""
    words = []
    for word in random_words(rng, word_bits, count):
        mask = rng.getrandbits(word_bits // 4)
        own = rng.random() < 0.4
        bits = sum(15 << 4 * i for i in range(word_bits // 4) if mask >> i & 1)
        pairs = word.pairs and not own
        if pairs or (word.twos and not own):  # fields of 8 bits: both chunks or none
            bits = sum(255 << 8 * i for i in range(word_bits // 8) if mask >> i & 1)
            mask = sum(3 << 2 * i for i in range(word_bits // 8) if mask >> i & 1)
        digits = (True, False, False) if own else (word.digits, word.pairs, word.twos)
        value, last = word.word & bits, word.last
        words.append(Word(value, last or not value, word.meta, *digits, None, False, mask, own))
    return words


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize("word_bits", [16, 32])
def test_masks_and_own_digits(word_bits, multiples):
    """Weight rows of chunks that have one; all digits of a word at a time: every event and its cycle."""
    rng = random.Random(word_bits + len(multiples))
    words = sparse_words(rng, word_bits, 150)
    end_ready = random_bits(rng, 500, 0.5)
    taken, result = rtl(words, word_bits, multiples, end_ready=end_ready, sparse=True, seed=1, stall=0.2)
    assert result == extract(words, word_bits=word_bits, multiples=multiples, offered=taken, end_ready=end_ready)


def test_golden_own_digits():
    """12 is one event, 7 two: the word takes two, whatever lies beside; its row is its own, whatever the mask."""
    found = extract([Word(0x7C0, True, 5, True, mask=0b110, own=True)], word_bits=16, multiples=(1, 3, 5))
    first, second = (None, Term(3, 2, False), Term(1, 3, False), None), (None, None, Term(1, 0, True), None)
    assert found.events == [Event(0, None, 5, False, 0, True, first), Event(0, None, 5, True, 0, False, second)]
    assert found.cycles == [3, 4]


def test_golden_masks():
    """The rows of a word with a mask lie side by side: chunk 2 has the first one, chunk 3 the second."""
    found = extract([Word(0xB200, True, 0, True, mask=0b1100)], word_bits=16, multiples=(1,))
    assert [event.row for event in found.events] == [0, 4, 4, 4]


def test_every_field_of_a_table():
    """Each field alone and beside each other one, without a gap: fields of one and of two terms; 0 makes no event."""
    tables = random_terms(random.Random(1), 2, (1, 3, 5))
    words = [Word(byte, bool(byte & 1), byte, True, table=table) for table in tables for byte in range(1, 256)]
    taken, result = rtl(words, 8, tables=tables, stall=0)
    assert result == extract(words, word_bits=8, multiples=(1, 3, 5), offered=taken)
    assert len(result.events) == result.cycles[-1] - result.cycles[0] + 1


def test_throughput_and_latency():
    """Words on offer in every cycle: the first event after three cycles, then one in each, whatever the values."""
    words = random_words(random.Random(4), 16, 80)
    taken, result = rtl(words, 16, stall=0)
    golden = extract(words, word_bits=16, multiples=(1, 3, 5))
    assert result == golden
    assert taken[0] == 0 and result.cycles == list(range(3, 3 + len(golden.events)))


@pytest.mark.parametrize("multiples", MULTIPLES)
def test_every_digit(multiples):
    """Every byte in every form, beside another byte."""
    words = [Word(byte | 0x5A00, bool(byte & 1), byte, *form) for byte in range(256) for form in FORMS]
    result = rtl(words, 16, multiples, stall=0)[1]
    assert result == extract(words, word_bits=16, multiples=multiples)
    assert len(result.events) == result.cycles[-1] - 2


def test_full_words_and_single_bits():
    """The ends of the range: all bits, and every one-bit word, alternating."""
    words = [Word(w, last, i) for i, (w, last) in enumerate([(0xFFFF, False), (1, True), (1 << 15, False), (0, True)])]
    words += [Word(1 << i, bool(i & 1), i, *form) for i in range(16) for form in FORMS]
    words += [Word(0xFFFF ^ 1 << i, True, i, *form) for i in range(16) for form in FORMS]
    assert rtl(words, 16, stall=0)[1] == extract(words, word_bits=16, multiples=(1, 3, 5))


def test_end_waits_for_ready():
    """An end held up for long holds up the words behind it, and nothing is lost or repeated."""
    words = [Word(0b110, True, 1), Word(7, True, 2, True), *[Word(1, True, i) for i in range(3, 7)]]
    end_ready = [0] * 30 + [1] + [0] * 9 + [1, 1]
    taken, result = rtl(words, 8, end_ready=end_ready, stall=0)
    assert result == extract(words, word_bits=8, multiples=(1, 3, 5), end_ready=end_ready)
    assert result.cycles[:5] == [3, 30, 31, 40, 41]
    assert taken[:5] == [0, 1, 2, 30, 40]


def test_helpers():
    class Helpers(wiring.Component):
        word: In(8)
        pairs: In(1)
        twos: In(1)
        cleared: Out(8)
        single: Out(1)
        index: Out(3)
        chunks: Out(2)

        def elaborate(self, platform):
            m = Module()
            m.d.comb += [
                self.cleared.eq(clear_lowest(self.word)),
                self.single.eq(at_most_one(self.word)),
                self.index.eq(lowest_index(self.word)),
                self.chunks.eq(word_chunks(self.word, self.pairs, self.twos)),
            ]
            return m

    words = list(range(256)) * 3
    flags = {"pairs": [0] * 256 + [1] * 512, "twos": [0] * 512 + [1] * 256}
    out = run_pipeline(Helpers(), {"word": words, **flags}, ["cleared", "single", "index", "chunks"])
    assert out["cleared"] == [w & (w - 1) for w in words]
    assert out["single"] == [int(w.bit_count() <= 1) for w in words]
    assert out["index"] == [7, *((w & -w).bit_length() - 1 for w in words[1:256])] * 3
    forms = zip(words, flags["pairs"], flags["twos"], strict=True)
    digits = [[chunk_digit(word, chunk, *map(bool, form)) for chunk in (0, 1)] for word, *form in forms]
    assert out["chunks"] == [(low != 0) | (high != 0) << 1 for low, high in digits]


@pytest.mark.parametrize("word_bits", [4, 14])
def test_arguments(word_bits):
    with pytest.raises(ValueError, match=f"word_bits must be a multiple of 4, at least 8, not {word_bits}"):
        EventExtractor(word_bits=word_bits, multiples=(1,), meta=1)
    with pytest.raises(ValueError, match="multiples must be one of"):
        EventExtractor(word_bits=16, multiples=(1, 7), meta=1)
