# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import fill_terms, pattern, random_bits, random_terms
from onespike.hw.engine.extract import EXTRACT_LATENCY, at_most_one, term_layout
from onespike.hw.engine.values import ValueExtractor, pieces, value_word_layout
from onespike.model.machine.extract import Event, Extracted, Word
from onespike.model.machine.fetch import Terms
from onespike.model.machine.values import values
from onespike.model.network.codes import PRODUCTS, Term, piece_bits
from onespike.sim.stream import run_stream

META = 8
KINDS = list(PRODUCTS.values())
WIDTHS = [(4, False), (8, False), (16, False), (4, True), (8, True)]  # of values, and whether they have a sign


class Harness(wiring.Component):
    """The extractor with `end_ready` from a pattern, its events as a stream, with the cycles waited so far.

    What fetch says of a word is found here by its own rule, `pieces`.
    """

    def __init__(self, multiples: tuple[int, ...], end_ready: list[int], tables: Terms, sparse: bool):
        form = {"tables": len(tables), "masks": sparse, "depthwise": sparse}
        self.extractor = ValueExtractor(word_bits=16, multiples=multiples, meta=META, **form)
        self.multiples, self.end_ready, self.tables, self.sparse = multiples, end_ready, tables, sparse
        event = data.StructLayout(
            {"spike": 1, "index": range(16), "row": range(16), "term": term_layout(multiples, tables=bool(tables)),
             "meta": META, "fresh": 1, "end": 1, "waited": 16, "own": 1, "digits": 16}
        )  # fmt: skip
        layout = value_word_layout(16, multiples, META, len(tables), masks=sparse, depthwise=sparse)
        word = data.StructLayout({"word": layout, "known": 4})
        super().__init__(
            {"words": In(stream.Signature(word)), "events": Out(stream.Signature(event, always_ready=True))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.extractor = dut = self.extractor
        filled = fill_terms(m, dut.terms, self.tables, self.multiples) if self.tables else Const(1)
        word, found = self.words.payload.word, dut.words.payload
        m.d.comb += [
            Value.cast(found).eq(Value.cast(word)),
            dut.words.valid.eq(self.words.valid & filled),
            self.words.ready.eq(dut.words.ready & filled),
        ]
        known = self.words.payload.known if self.multiples[0] == 0 else None
        wide, carries = (word.wide, Const(0)) if piece_bits(self.multiples) == 8 else (Const(0), word.pairs)
        chunks = pieces(word.word, wide, carries, known)
        if self.sparse:
            chunks = Mux(word.own, word.word.any() if known is None else known.any(), chunks)
        m.d.comb += [found.chunks.eq(chunks), found.single.eq(at_most_one(chunks))]
        event = self.events.payload
        m.d.sync += event.waited.eq(event.waited + dut.waiting)
        m.d.comb += [
            dut.end_ready.eq(pattern(m, "end_ready", self.end_ready)),
            self.events.valid.eq(dut.valid),
            event.row.eq(dut.row if self.sparse else dut.index),
            *(event[name].eq(getattr(dut, name)) for name in ("spike", "index", "term", "meta", "fresh", "end")),
            *(event[name].eq(getattr(dut, name)) for name in ("own", "digits") if self.sparse),
        ]
        return m


def rtl(words, multiples, *, end_ready=(), tables=(), sparse=False, **options) -> tuple[list[int], Extracted]:
    """When each word was taken, and what came out."""
    count = len(values(words, word_bits=16, multiples=multiples).events)
    layout = value_word_layout(16, multiples, META, len(tables), masks=sparse, depthwise=sparse)
    payloads = []
    for word in words:
        wide = word.width > 4
        known = {**word._asdict(), "wide": wide, "pairs": wide and word.twos, "tabled": word.table is not None}
        known |= {"table": tables.index(word.table) if word.table else 0, "chunks": 0, "single": 0}
        fields = {name: known[name] for name in layout.members}
        payloads.append({"word": fields, "known": 15 if word.mask is None else word.mask})
    harness = Harness(multiples, list(end_ready), tables, sparse)
    stamps = run_stream(harness, {"words": payloads}, {"events": count}, stamps=True, **options)
    events = []
    for event in (t.payload for t in stamps["events"]):
        size = event.term.multiple
        term = Term(size, event.term.shift, bool(event.term.negative) and size > 0)  # there is no zero with a sign
        what = (event.index, None if event.own else term) if event.spike else (None, None)
        digits = [event.digits >> i & 15 for i in range(0, 16, 4)] if event.own and event.spike else []
        own = tuple(Term(digit, 0, False) if digit >= multiples[0] else None for digit in digits)
        row = event.row if event.spike else None
        events.append(Event(*what, event.meta, bool(event.end), row, bool(event.fresh), own))
    taken, cycles = ([t.cycle for t in stamps[name]] for name in ("words", "events"))
    return taken, Extracted(events, cycles, stamps["events"][-1].payload.waited)


def random_words(rng: random.Random, multiples, count: int, tables: Terms = (), *, sparse: bool = False) -> list[Word]:
    """Words of every form, empty ones at the ends of jobs; masks of any values, or of the first ones."""
    words = []
    for index in range(count):
        width, twos = rng.choice(WIDTHS)
        table = rng.choice(tables) if tables and rng.random() < 0.5 else None
        if table is not None:
            width, twos = 4, False
        places = [rng.random() < 0.6 for _ in range(16 // width)]
        own = sparse and rng.random() < 0.4
        if own:
            width, twos, table, places = 4, False, None, [True] * 4
        mask = None
        if sparse or multiples[0] == 0:
            known = [rng.random() < 0.7 if sparse else i < len(places) - 1 for i in range(len(places))]
            known = known if any(known) else [True, *known[1:]]
            places = [a and b for a, b in zip(places, known, strict=True)]
            mask = sum(((1 << width // 4) - 1) << width // 4 * i for i, has in enumerate(known) if has)
        value = sum(rng.getrandbits(width) << width * i for i, has in enumerate(places) if has)
        last = rng.random() < 0.4 or index == count - 1
        if last and rng.random() < 0.3:
            value, mask = 0, None if mask is None else rng.choice([0, mask])
        value = value or (0 if last or multiples[0] == 0 else 1 if mask is None or mask & 1 else (mask & -mask) ** 4)
        form = {"digits": True, "twos": twos, "table": table, "mask": mask, "own": own, "width": width}
        words.append(Word(value, last, rng.getrandbits(META), **form))
    return words


def test_golden():
    """0xF5 and 0 as bytes, and as chunks; -1 is a value of 8 bits, or the digits -1 and 0."""
    zero, dense = PRODUCTS["zero-skip", 8], PRODUCTS["dense", 8]
    word = Word(0x00F5, True, 1, True, mask=0b1111, width=8)
    assert [(e.place, e.term.worth) for e in values([word], word_bits=16, multiples=zero).events] == [(0, 0xF5)]
    found = values([word], word_bits=16, multiples=dense)
    assert [(e.place, e.term.worth, e.end) for e in found.events] == [(0, 0xF5, False), (8, 0, True)]
    assert found.cycles == [3, 4]
    found = values([word], word_bits=16, multiples=PRODUCTS["zero-skip", 4])
    assert [(e.place, e.term.worth) for e in found.events] == [(0, 5), (4, 15)]
    minus = Word(0x00FF, True, 1, True, twos=True, mask=0b0011, width=8)
    assert [e.term.worth for e in values([minus], word_bits=16, multiples=dense).events] == [-1]
    found = values([minus], word_bits=16, multiples=PRODUCTS["dense", 4])
    assert [e.term.worth for e in found.events] == [-1, 0]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (Word(1 << 16, False, 0, width=4, mask=1), "word 0 must have 16 bits"),
        (Word(1, False, 0, width=4, mask=0), "word 0 is empty but does not end a job"),
        (Word(1, True, 0, width=2, mask=1), "values have 4 bits or more, not the 2 of word 0"),
        (Word(1, True, 0, width=4), "word 0 does not say which of its chunks hold values"),
        (Word(1, True, 0, twos=True, table=((),) * 16, width=4, mask=1), "word 0 has a table, and signs"),
        (Word(1, True, 0, table=((),) * 16, width=4, mask=1), "a table must have a term for every digit but 0"),
    ],
)
def test_golden_ranges(word, message):
    with pytest.raises(AssertionError, match=message):
        values([word], word_bits=16, multiples=PRODUCTS["dense", 4])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("multiples", KINDS)
def test_random_stalls(multiples, sparse):
    """Gaps between words, ends that wait, tables, masks, words for lanes of their own: every event and its cycle."""
    rng = random.Random(len(multiples) + sparse)
    tables = random_terms(rng, 2, multiples)
    tables = [tuple(tuple(t._replace(multiple=t.multiple or 1) for t in terms) for terms in table) for table in tables]
    words = random_words(rng, multiples, 120, tables, sparse=sparse)
    end_ready = random_bits(rng, 400, 0.4)
    taken, result = rtl(words, multiples, end_ready=end_ready, tables=tables, sparse=sparse, seed=1, stall=0.3)
    assert result == values(words, word_bits=16, multiples=multiples, offered=taken, end_ready=end_ready)


@pytest.mark.parametrize("multiples", KINDS)
def test_every_byte_of_every_width(multiples):
    """Every byte in every form, beside what it is short of 255, without a gap: an event a cycle, after the first."""
    words = [
        Word(byte | (255 - byte) << 8, bool(byte & 1), byte, True, twos=twos, mask=15, width=width)
        for byte in range(128)
        for width, twos in WIDTHS
    ]
    if multiples[0]:
        words = [word._replace(mask=None) for word in words]
    taken, result = rtl(words, multiples, stall=0)
    assert result == values(words, word_bits=16, multiples=multiples)
    first = taken[0] + EXTRACT_LATENCY
    assert result.cycles == list(range(first, first + len(result.events)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"word_bits": 12}, "word_bits must be a multiple of 8, not 12"),
        ({"multiples": (1, 3, 5)}, r"multiples must be one of PRODUCTS, not \(1, 3, 5\)"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ValueExtractor(**{"word_bits": 16, "multiples": KINDS[0], "meta": META} | arguments)
