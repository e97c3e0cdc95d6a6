# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import random_mapping
from onespike.hw.config import EngineConfig
from onespike.hw.engine.load import HEAD, TARGETS, Load, row_words, target_widths
from onespike.hw.program import WORD
from onespike.model.mapping.images import MemoryImages, load_words, memory_images
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """The unit, with its writes as a stream."""

    def __init__(self, config: EngineConfig):
        self.load = Load(config)
        self.words_of_weights = row_words(self.load.widths["weights"])
        width = max(self.load.longest, self.words_of_weights) * WORD
        write = {"target": len(Load(config).target), "bank": 8, "address": 24, "data": width}
        super().__init__(
            {
                "words": In(stream.Signature(WORD)),
                "writes": Out(stream.Signature(data.StructLayout(write), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.load = dut = self.load
        wiring.connect(m, wiring.flipped(self.words), dut.words)
        m.d.comb += self.writes.valid.eq(dut.target.any())
        m.d.comb += [getattr(self.writes.payload, n).eq(getattr(dut, n)) for n in ("target", "bank", "address")]
        row = Signal(self.words_of_weights * WORD)  # as a bank puts its weights together
        next_row = Mux(dut.shift, Cat(row[WORD:], dut.data[-WORD:]), row)
        m.d.sync += row.eq(next_row)
        m.d.comb += self.writes.payload.data.eq(Mux(dut.target[TARGETS.index("weights")], next_row, dut.data))
        return m


def rtl(config: EngineConfig, words: list[int], rows: int, **options):
    """Rows as (name of the memory, bank, address, value), and the cycles of words and rows."""
    stamps = run_stream(Harness(config), {"words": words}, {"writes": rows}, stamps=True, **options)
    writes = []
    for transfer in stamps["writes"]:
        payload = transfer.payload
        assert payload.target.bit_count() == 1, "a row goes to one memory"
        name = TARGETS[payload.target.bit_length() - 1]
        width = target_widths(config)[name]
        row = payload.data >> (Load(config).longest - row_words(width)) * WORD if name != "weights" else payload.data
        writes.append((name, payload.bank, payload.address, row & ((1 << width) - 1)))
    return writes, [t.cycle for t in stamps["words"]], [t.cycle for t in stamps["writes"]]


def rows_of(images: MemoryImages) -> list[tuple[str, int, int, int]]:
    """What `load_words` has to write, in its order."""
    memories = [(name, 0, getattr(images, name)) for name in TARGETS if name != "weights"]
    memories += [("weights", bank, rows) for bank, rows in enumerate(images.weights)]
    return [(name, bank, address, row) for name, bank, rows in memories for address, row in enumerate(rows)]


@pytest.mark.parametrize("seed", range(4))
def test_networks(seed):
    """A network's load stream writes its memory images, every target and bank."""
    mapping = random_mapping(random.Random(seed))
    images = memory_images(mapping)
    expected = rows_of(images)
    writes, _, _ = rtl(mapping.config, load_words(images, mapping.config), len(expected), seed=seed, stall=0.3)
    assert writes == expected
    assert {name for name, *_ in writes} == set(target_widths(mapping.config))


@pytest.mark.parametrize(("lanes", "tables", "masks"), [(1, 0, False), (2, 0, True), (5, 2, False), (32, 2, True)])
def test_random_blocks(lanes, tables, masks):
    """Blocks of any memory, bank and address, rows of one to many words, in any order, with all their bits."""
    rng = random.Random(lanes)
    config = EngineConfig(lanes=lanes, fire_lanes=1 if lanes < 32 else 4, weight_bits=16, acc_bits=33, tables=tables,
                          row_masks=masks)  # fmt: skip
    widths = target_widths(config)
    words, expected = [], []
    for _ in range(30):
        name, bank, start = rng.choice(list(widths)), rng.randrange(64), rng.choice([0, 7, 0xABCDE0])
        target = TARGETS.index(name)
        top = (1 << widths[name]) - 1
        rows = [rng.choice([0, top, rng.randint(0, top)]) for _ in range(rng.randint(1, 5))]
        words += [HEAD.const({"target": target, "bank": bank, "rows": len(rows) - 1}).as_value().value, start]
        words += [row >> WORD * i & 0xFFFFFFFF for row in rows for i in range(-(-widths[name] // WORD))]
        expected += [(name, bank, start + i, row) for i, row in enumerate(rows)]
    writes, _, _ = rtl(config, words, len(expected), stall=rng.choice([0, 0.5]))
    assert writes == expected


def test_cycles():
    """A word in every cycle; a row is written in the cycle after its last word, also when the next head follows."""
    config = EngineConfig(lanes=4, fire_lanes=2, weight_bits=16)  # 64 bits a weight row
    images = MemoryImages(program=[1, 2, 3], rows=[], columns=[], channels=[], weights=[[1 << 63, 5], [7]])
    words = load_words(images, config)
    writes, taken, written = rtl(config, words, 6, stall=0)
    assert writes == rows_of(images)
    assert taken == list(range(len(words)))
    assert written == [3, 4, 5, 9, 11, 15]
