# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import pattern, random_bits
from onespike.hw.engine.extract import (
    SetBitExtractor,
    at_most_one,
    clear_lowest,
    lowest_index,
    word_chunks,
    word_layout,
)
from onespike.model.machine.extract import Event, Extracted, Word, extract
from onespike.sim.stream import run_pipeline, run_stream

META = 8


class Harness(wiring.Component):
    """The extractor with `end_ready` from a pattern, its events as a stream, with the cycles waited so far."""

    def __init__(self, word_bits: int, end_ready: list[int]):
        self.extractor, self.end_ready = SetBitExtractor(word_bits=word_bits, meta=META), end_ready
        event = data.StructLayout({"spike": 1, "bit": range(word_bits), "meta": META, "end": 1, "waited": 16})
        super().__init__(
            {
                "words": In(stream.Signature(word_layout(word_bits, META))),
                "events": Out(stream.Signature(event, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.extractor = dut = self.extractor
        wiring.connect(m, wiring.flipped(self.words), dut.words)
        chunks = word_chunks(self.words.payload.word)
        m.d.comb += [dut.words.payload.chunks.eq(chunks), dut.words.payload.single.eq(at_most_one(chunks))]
        event = self.events.payload
        m.d.sync += event.waited.eq(event.waited + dut.waiting)
        m.d.comb += [
            dut.end_ready.eq(pattern(m, "end_ready", self.end_ready)),
            self.events.valid.eq(dut.valid),
            event.spike.eq(dut.spike),
            event.bit.eq(dut.index),
            event.meta.eq(dut.meta),
            event.end.eq(dut.end),
        ]
        return m


def rtl(words: list[Word], word_bits: int, *, end_ready=(), **options) -> tuple[list[int], Extracted]:
    """When each word was taken, and what came out."""
    count = len(extract(words, word_bits=word_bits).events)
    payloads = [word._asdict() for word in words]
    harness = Harness(word_bits, list(end_ready))
    stamps = run_stream(harness, {"words": payloads}, {"events": count}, stamps=True, **options)
    out = [t.payload for t in stamps["events"]]
    events = [Event(event.bit if event.spike else None, event.meta, bool(event.end)) for event in out]
    taken, cycles = ([t.cycle for t in stamps[name]] for name in ("words", "events"))
    return taken, Extracted(events, cycles, out[-1].waited)


def random_words(rng, word_bits, count, densities=(0.03, 0.1, 0.5, 1.0)) -> list[Word]:
    words = []
    for index in range(count):
        density = rng.choice(densities)
        value = sum(1 << i for i in range(word_bits) if rng.random() < density)
        last = rng.random() < 0.4 or index == count - 1
        if last and rng.random() < 0.3:
            value = 0  # the end of a job, without a spike
        words.append(Word(value if value or last else 1 << rng.randrange(word_bits), last, rng.randrange(1 << META)))
    return words


def test_golden():
    words = [Word(0b1010, False, 7), Word(0b0001, True, 8), Word(0, True, 9)]
    assert extract(words, word_bits=4, end_ready=[1, 1, 1, 1, 1, 0, 0]) == Extracted(
        [Event(1, 7, False), Event(3, 7, False), Event(0, 8, True), Event(None, 9, True)], [3, 4, 7, 8], 2
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([Word(16, False, 0)], "word 0 must have 4 bits, not 0x10"),
        ([Word(1, False, 0), Word(0, False, 0)], "word 1 is empty but does not end a job"),
    ],
)
def test_golden_ranges(words, message):
    with pytest.raises(AssertionError, match=message):
        extract(words, word_bits=4)


@pytest.mark.parametrize("word_bits", [8, 12, 16, 32])
@pytest.mark.parametrize("seed", range(3))
def test_random_stalls(word_bits, seed):
    """Gaps between words, ends that wait: every event and its cycle."""
    rng = random.Random(seed)
    words = random_words(rng, word_bits, 60)
    end_ready = random_bits(rng, 400, rng.choice([0.1, 0.5]))
    taken, result = rtl(words, word_bits, end_ready=end_ready, seed=seed, stall=rng.choice([0.2, 0.8]))
    assert result == extract(words, word_bits=word_bits, offered=taken, end_ready=end_ready)


def test_throughput_and_latency():
    """Words on offer in every cycle: the first event after three cycles, then one in each."""
    words = random_words(random.Random(4), 16, 80)
    taken, result = rtl(words, 16, stall=0)
    golden = extract(words, word_bits=16)
    assert result == golden
    assert taken[0] == 0 and result.cycles == list(range(3, 3 + len(golden.events)))
    assert len(golden.events) == sum(max(1, word.word.bit_count()) for word in words)


def test_full_words_and_single_bits():
    """The ends of the range: all bits, and every one-bit word, alternating."""
    words = [Word(w, last, i) for i, (w, last) in enumerate([(0xFFFF, False), (1, True), (1 << 15, False), (0, True)])]
    words += [Word(1 << i, bool(i & 1), i) for i in range(16)]
    words += [Word(0xFFFF ^ 1 << i, True, i) for i in range(16)]
    assert rtl(words, 16, stall=0)[1] == extract(words, word_bits=16)


def test_end_waits_for_ready():
    """An end held up for long holds up the words behind it, and nothing is lost or repeated."""
    words = [Word(0b110, True, 1), *[Word(1, True, i) for i in range(2, 7)]]
    end_ready = [0] * 30 + [1] + [0] * 9 + [1, 1]
    taken, result = rtl(words, 8, end_ready=end_ready, stall=0)
    assert result == extract(words, word_bits=8, end_ready=end_ready)
    assert result.cycles[:4] == [3, 30, 40, 41]
    assert taken[:5] == [0, 1, 2, 30, 40]


def test_helpers():
    class Helpers(wiring.Component):
        word: In(8)
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
                self.chunks.eq(word_chunks(self.word)),
            ]
            return m

    words = list(range(256))
    out = run_pipeline(Helpers(), {"word": words}, ["cleared", "single", "index", "chunks"])
    assert out["cleared"] == [w & (w - 1) for w in words]
    assert out["single"] == [int(w.bit_count() <= 1) for w in words]
    assert out["index"] == [7, *((w & -w).bit_length() - 1 for w in words[1:])]
    assert out["chunks"] == [(w & 15 > 0) | (w >> 4 > 0) << 1 for w in words]


@pytest.mark.parametrize("word_bits", [4, 14])
def test_arguments(word_bits):
    with pytest.raises(ValueError, match=f"word_bits must be a multiple of 4, at least 8, not {word_bits}"):
        SetBitExtractor(word_bits=word_bits, meta=1)
