# SPDX-License-Identifier: Apache-2.0
import random
from bisect import bisect_left

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import pattern, random_bits
from onespike.hw.config import EngineConfig
from onespike.hw.engine.prefetch import BLOCK, Prefetch, beat_rows, head_beats, row_beats
from onespike.model.mapping.prefetch import Block, block_beats, prefetch, to_beats
from onespike.sim.stream import run_stream

GAP = 4  # cycles of the shortest layer


class Harness(wiring.Component):
    """The unit, its writes as a stream, and layers that begin and end when patterns say so."""

    def __init__(self, config: EngineConfig, *, begins: list[int], ends: list[int]):
        self.config, self.begins, self.ends = config, begins, ends
        self.dut = Prefetch(config)
        write = data.StructLayout({name: member.shape for name, member in self.dut.write.signature.members.items()})
        super().__init__(
            {
                "words": In(stream.Signature(config.external_weights)),
                "writes": Out(stream.Signature(write, always_ready=True)),
                "starts": Out(stream.Signature(1, always_ready=True)),
                "dones": Out(stream.Signature(1, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self.words), dut.words)
        busy, age = Signal(), Signal(range(GAP + 1))
        m.d.comb += [
            dut.run.eq(1),
            dut.start.eq(dut.ready & ~busy & (age == GAP) & pattern(m, "begins", self.begins)),
            dut.done.eq(busy & (age == GAP) & pattern(m, "ends", self.ends)),
            self.writes.valid.eq(dut.write.banks.any()),
            *(getattr(self.writes.payload, name).eq(getattr(dut.write, name)) for name in ("banks", "address", "data")),
            self.starts.valid.eq(dut.start),
            self.dones.valid.eq(dut.done),
        ]
        m.d.sync += age.eq(age + (age != GAP))
        with m.If(dut.start | dut.done):
            m.d.sync += [busy.eq(dut.start), age.eq(0)]
        return m


def rtl(config: EngineConfig, words: list[int], writes: int, layers: int, *, begins=(), ends=(), **options):
    harness = Harness(config, begins=list(begins), ends=list(ends))
    counts = {"writes": writes, "starts": layers, "dones": layers}
    return run_stream(harness, {"words": words}, counts, stamps=True, **options)


def random_image(rng: random.Random, config: EngineConfig, parts: int) -> tuple[list[int], list[int]]:
    """Beats of random blocks, some of them empty, and the `hold` of each part."""
    row_bits = config.lanes * config.weight_bits
    words, holds = [], []
    for _ in range(parts):
        copies = rng.choice([n for n in (1, 2, 4) if n <= config.banks])
        hold, size = rng.choice([0, 1, 2, 255]), rng.choice([0, 1, 2, 3, 9])
        for copy in range(copies):
            address = rng.randrange(config.weight_depth - size)
            block = Block(size, address, copy, copies, hold, copy == copies - 1)
            words += to_beats(config, block, [rng.getrandbits(row_bits) for _ in range(size)])
        holds.append(hold)
    return words, holds


WIDTHS = [(32, 16, 8), (32, 3, 5), (64, 4, 8), (64, 9, 8), (128, 2, 4), (128, 16, 16)]


@pytest.mark.parametrize("bits, lanes, weight_bits", WIDTHS)
def test_rows_of_every_width(bits, lanes, weight_bits):
    """Rows of several beats and several rows to a beat reach their banks, and only when `hold` allows it."""
    rng = random.Random(lanes)
    config = EngineConfig(banks=4, lanes=lanes, fire_lanes=1, weight_bits=weight_bits, external_weights=bits)
    assert (row_beats(config) == 1) or (beat_rows(config) == 1)
    words, holds = random_image(rng, config, 12)
    expected, complete = prefetch(config, words)
    stalls = [random_bits(rng, 600, share) for share in (0.1, 0.05)]
    found = rtl(config, words, len(expected), len(holds), begins=stalls[0], ends=stalls[1], seed=lanes, stall=0.3)
    assert [(t.payload.banks, t.payload.address, t.payload.data) for t in found["writes"]] == expected
    written, starts, dones = ([t.cycle for t in found[name]] for name in ("writes", "starts", "dones"))
    for part, (begin, end) in enumerate(zip([0, *complete], complete, strict=False)):
        for cycle in written[begin:end]:
            assert bisect_left(dones, cycle) >= part - holds[part], f"part {part} was written too early"
        if end:
            assert starts[part] > written[end - 1], f"layer {part} began before its weights were there"


def test_cycles():
    """A beat a cycle and two cycles at a head; the layer may begin two cycles after its last beat."""
    config = EngineConfig(banks=2, lanes=16, external_weights=64)
    rows = list(range(1, 6))
    blocks = [Block(5, 7, copy, 2, 3, copy == 1) for copy in (0, 1)]
    words = [beat for block in blocks for beat in to_beats(config, block, rows)]
    assert len(words) == 2 * block_beats(config, 5) == 2 * (head_beats(config) + 10)
    found = rtl(config, words, 10, 1, stall=0)
    first = found["words"][0].cycle
    taken = [0, *range(2, 13), *range(14, 24)]  # the second head follows the first block at once
    assert [t.cycle - first for t in found["words"]] == taken
    assert [t.cycle - first for t in found["writes"]] == [*range(4, 14, 2), *range(16, 26, 2)]
    assert found["starts"][0].cycle == first + 23 + 2


def test_head_fills_whole_beats():
    assert BLOCK.size == 64
    assert [head_beats(EngineConfig(external_weights=bits)) for bits in (32, 64, 128)] == [2, 1, 1]
