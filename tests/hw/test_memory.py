# SPDX-License-Identifier: Apache-2.0
"""Paged memories: every word, whatever its page, two steps after its address, and no more block RAMs than needed."""

import itertools
import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import pattern, random_bits
from onespike.hw import memory
from onespike.hw.memory import PAGE_BITS, PagedMemory, page_depths
from onespike.sim.stream import run_pipeline, run_stream


class Harness(wiring.Component):
    """Writes and reads as streams; the word that arrives, whenever a pattern lets the second step be taken."""

    def __init__(self, width: int, depth: int, steps: list[int], hop: bool):
        self.width, self.depth, self.steps, self.hop = width, depth, steps, hop
        address = range(depth)
        super().__init__(
            {
                "write": In(stream.Signature(data.StructLayout({"address": address, "data": width}))),
                "read": In(stream.Signature(address)),
                "word": Out(stream.Signature(width, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory = PagedMemory(m, "memory", self.width, self.depth)
        step = pattern(m, "steps", self.steps)
        write = self.write.payload
        memory.write(m, enable=self.write.valid, address=write.address, data=write.data, hop=self.hop)
        m.d.comb += [self.write.ready.eq(1), self.read.ready.eq(step)]
        m.d.comb += self.word.payload.eq(memory.read(m, self.read.payload, first=step, second=step, hop=self.hop))
        latency = 2 + (self.hop and len(page_depths(self.width, self.depth)) > 1)
        stages = [self.read.valid, *(Signal(name=f"stage{i}") for i in range(latency))]
        for earlier, later in itertools.pairwise(stages):
            with m.If(step):
                m.d.sync += later.eq(earlier)
        m.d.comb += self.word.valid.eq(stages[-1] & step)
        return m


@pytest.mark.parametrize(
    ("width", "depth"), [(8, 40), (40, 512), (30, 1100), (16, 3072), (256, 2560), (72, 1), (36, 5000)]
)
@pytest.mark.parametrize("hop", [False, True])
def test_words(width: int, depth: int, hop: bool) -> None:
    rng = random.Random(depth)
    ends = list(itertools.accumulate(page_depths(width, depth)))
    edges = {0, *(place for end in ends for place in (end - 1, end) if place < depth)}
    places = sorted(edges | {rng.randrange(depth) for _ in range(60)})
    contents = {place: rng.getrandbits(width) for place in places}
    writes = [{"address": place, "data": contents[place]} for place in rng.sample(places, len(places))]
    reads = rng.choices(places, k=100)
    # Reads begin when all is written: a word that is read and written in one cycle has no value.
    steps = [0] * (3 * len(writes)) + ([] if hop else random_bits(rng, 400, 0.7))  # a hop does not wait
    harness = Harness(width, depth, steps, hop)
    words = run_stream(harness, {"write": writes, "read": reads}, {"word": len(reads)}, seed=depth, stall=0.1)["word"]
    assert words == [contents[place] for place in reads]


@pytest.mark.parametrize("depth", [1, 8, 9, 20])
def test_single_port(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One port for reads and writes, with pages and without. Of both in one cycle the write is done; the word of the
    read before it stands."""
    monkeypatch.setattr(memory, "SINGLE_PORT_ROWS", 8)
    depths = memory.single_port_depths(depth)
    assert sum(depths) == depth and set(depths[:-1]) <= {8} and 1 <= depths[-1] <= 8
    rng = random.Random(depth)
    contents: dict[int, int] = {}
    rows, expected = [], []
    for cycle in range(300):
        row = {"write": rng.random() < 0.4, "address": rng.randrange(depth), "data": rng.getrandbits(12)}
        row["place"] = row["address"] if rng.random() < 0.3 else rng.randrange(depth)
        row["read"] = row["place"] in contents and rng.random() < 0.6
        if row["write"]:
            contents[row["address"]] = row["data"]
        elif row["read"]:
            expected.append((cycle + 2, contents[row["place"]]))
        if row["write"] and row["read"] and len(depths) == 1 and expected:
            expected.append((cycle + 2, expected[-1][1]))
        rows.append(row)
    inputs = {name: [*(int(row[name]) for row in rows), 0, 0] for name in rows[0]}
    words = run_pipeline(SinglePort(depth), inputs, ["word"])["word"]
    assert len(expected) > 80 and [words[cycle] for cycle, _ in expected] == [word for _, word in expected]


class SinglePort(wiring.Component):
    """A memory of 12 bits whose reads and writes share a port."""

    def __init__(self, depth: int):
        self.depth = depth
        place = In(range(max(2, depth)))
        super().__init__(
            {"write": In(1), "address": place, "data": In(12), "read": In(1), "place": place, "word": Out(12)}
        )

    def elaborate(self, platform):
        m = Module()
        words = PagedMemory(m, "memory", 12, self.depth, single_port=True)
        words.write(m, enable=self.write, address=self.address, data=self.data)
        m.d.comb += self.word.eq(words.read(m, self.place, first=self.read))
        return m


@pytest.mark.parametrize("width", [1, 9, 16, 36, 64, 128, 256, 300])
def test_pages(width: int) -> None:
    """They hold every word, begin at multiples of their size, and take the fewest block RAMs that any cut takes."""

    def rams(words: int) -> int:
        return min(-(-width // bits) for size, bits in PAGE_BITS.items() if size >= words)

    for depth in (1, 100, 512, 513, 1536, 2048, 2560, 4096, 5000, 7168, 16384, 16385, 40000, 65536):
        pages = page_depths(width, depth)
        starts = list(itertools.accumulate(pages, initial=0))
        assert starts.pop() == depth
        assert all(start % (1 << (words - 1).bit_length()) == 0 for start, words in zip(starts, pages, strict=True))
        found = sum(rams(words) for words in pages)
        assert all(found <= (depth - 1) // size * rams(size) + rams((depth - 1) % size + 1) for size in PAGE_BITS), (
            depth,
            pages,
        )
        assert len(pages) == 1 or found < rams(depth) if depth <= max(PAGE_BITS) else True


def test_shapes_of_a_block_ram() -> None:
    """18 Kbit, of which widths below 9 leave the ninth bits alone."""
    assert list(PAGE_BITS.values()) == [1, 2, 4, 9, 18, 36]
    assert all(words * bits == (18 if bits % 9 == 0 else 16) * 1024 for words, bits in PAGE_BITS.items())


def test_hundreds_of_pages(monkeypatch):
    """Their words are combined in groups, which Python's stack can follow."""
    monkeypatch.setattr(memory, "PAGE_BITS", {4: 37})
    monkeypatch.setattr(memory, "page_depths", page_depths.__wrapped__)
    m = Module()
    address, word = Signal(range(1600)), Signal(37)
    pages = PagedMemory(m, "memory", 37, 1600)
    pages.write(m, enable=word[0], address=address, data=word)
    level, depth = [pages.read(m, address)], 0
    while level:
        level, depth = [part for value in level for part in getattr(value, "operands", ())], depth + 1
    assert len(pages.pages) == 400 and depth < 100
