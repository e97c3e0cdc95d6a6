# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random
from collections.abc import Sequence

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bank_cases import SPARSE, rival_case, sparse_case
from blocks import preload
from onespike.hw.config import EngineConfig
from onespike.hw.engine.fetch import READ_LATENCY, Fetch, command_layout, engine_word, mask_entry, stride_layout
from onespike.hw.memory import PagedMemory
from onespike.hw.program import DIGITS_LEVELS, DIGITS_RADIX, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_UNARY
from onespike.model.machine.extract import Word, chunk_events
from onespike.model.machine.fetch import Command, Mask, Meta, Stride, fetch
from onespike.model.machine.values import value_event
from onespike.model.network.codes import CHUNK, Term
from onespike.sim.stream import Transfer, run_stream

CONFIG = EngineConfig(word_bits=16, segments=3, spike_depth=100, weight_depth=2000)


class Harness(wiring.Component):
    """Fetch with a filled spike memory."""

    def __init__(self, config: EngineConfig, memory: list[int], masks: Sequence[Mask] = ()):
        self.config, self.memory, self.masks = config, memory, masks
        super().__init__(
            {
                "commands": In(stream.Signature(command_layout(config))),
                "strides": In(data.ArrayLayout(stride_layout(config), config.segments)),
                "words": Out(stream.Signature(engine_word(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = dut = Fetch(self.config)
        filled = preload(m, "spikes", dut.write, self.memory)
        if self.masks:
            entry, read = mask_entry(self.config), dut.masks
            rows = [entry.const(row._asdict()).as_value().value for row in self.masks]
            memory = PagedMemory(m, "mask_memory", entry.size, self.config.mask_depth)
            port = Signal(data.StructLayout({"enable": 1, "address": self.config.mask_addr_bits, "data": entry.size}))
            filled = filled & preload(m, "masks", port, rows)
            memory.write(m, enable=port.enable, address=port.address, data=port.data)
            found = memory.read(m, read.address, first=read.first, second=read.second)
            m.d.comb += Value.cast(read.entry).eq(found)
        wiring.connect(m, dut.words, wiring.flipped(self.words))
        m.d.comb += [
            dut.strides.eq(self.strides),
            dut.commands.payload.eq(self.commands.payload),
            dut.commands.valid.eq(self.commands.valid & filled),
            self.commands.ready.eq(dut.commands.ready & filled),
        ]
        return m


# Terms of two tables.
TABLES = [tuple((Term(1, shift, False),) if f % 16 else () for f in range(32)) for shift in (0, 7)]


def golden(commands, strides, memory, config=CONFIG, masks=()) -> list[Word | None]:
    """The whole walk, one entry per cycle."""
    return [word for command in commands for word in fetch(config, command, strides, memory, TABLES, masks)]


def rtl(commands, strides, memory, config=CONFIG, masks=(), **options) -> dict[str, list[Transfer]]:
    """When each command was taken; when each word was kept, and which."""
    kept = [word for word in golden(commands, strides, memory, config, masks) if word is not None]
    stamps = run_stream(
        Harness(config, memory, masks),
        {"commands": [command._asdict() for command in commands]},
        {"words": len(kept)},
        fixed={"strides": [stride.fields(config) for stride in strides]},
        stamps=True,
        **options,
    )
    for index, (cycle, found) in enumerate((t.cycle, t.payload) for t in stamps["words"]):
        meta = Meta(found.meta.weight, found.meta.segment)
        if config.multiplies:
            stamps["words"][index] = Transfer(cycle, value_word(config, found, kept[index], meta))
            continue
        flags = (bool(found.digits), bool(found.pairs), bool(found.twos))
        table = TABLES[found.table] if config.tables and found.tabled else None
        upper = table is not None and config.term_fields > 16 and bool(found.upper)
        sparse = (found.mask, bool(found.own)) if config.row_masks else ()
        word = Word(found.word, bool(found.last), meta, *flags, table, upper, *sparse)
        stamps["words"][index] = Transfer(cycle, word)
        chunks = [bool(chunk_events(kept[index], chunk, (1,))) for chunk in range(config.word_bits // CHUNK)]
        if kept[index].own:
            chunks = [any(chunks)]
        assert found.chunks == sum(has << chunk for chunk, has in enumerate(chunks))
        assert found.single == (sum(chunks) <= 1)
    return stamps


def value_word(config: EngineConfig, found, golden: Word, meta: Meta) -> Word:
    """What came out, where lanes multiply, with what no hardware says; which pieces are events is looked up."""
    chunks = [bool(value_event(golden, chunk, config.worths)) for chunk in range(config.word_bits // CHUNK)]
    if golden.own:
        chunks = [bool(golden.mask if config.arithmetic == "dense" else golden.word)]
    assert found.chunks == sum(has << chunk for chunk, has in enumerate(chunks))
    assert found.single == (sum(chunks) <= 1)
    assert found.wide == (golden.width > 4) if config.product_bits == 8 else found.pairs == golden.pairs & golden.twos
    sparse = {"mask": found.mask, "own": bool(found.own)} if config.row_masks else {}
    return golden._replace(word=found.word, last=bool(found.last), meta=meta, twos=bool(found.twos), **sparse)


def random_case(rng: random.Random, count: int, share: float, tables: int = 0, field: int = 2):
    memory = [rng.getrandbits(16) if rng.random() < share else 0 for _ in range(CONFIG.spike_depth)]
    forms = [(f, DIGITS_RADIX) for f in range(5)] + [(f, DIGITS_UNARY) for f in range(5)]
    forms += [(3, DIGITS_SIGNED), (2, DIGITS_TWOS), (3, DIGITS_TWOS)]
    strides = [Stride(rng.randrange(20), rng.randrange(100), *rng.choice(forms)) for _ in range(3)]
    for index in range(tables):  # the sources of two tables, and one of another code
        strides[index] = strides[index]._replace(field=field if index else 2, code=DIGITS_LEVELS, table=index)
    commands = []
    while len(commands) < count:
        command = Command(
            address=rng.randrange(100), weight=rng.randrange(500), run=rng.choice([0, 0, 1, 2, 7]),
            rows=rng.choice([0, 0, 1, 2]), segment=rng.randrange(3), last=rng.random() < 0.5,
        )  # fmt: skip
        stride = strides[command.segment]
        if command.address + command.rows * stride.row_stride + command.run < CONFIG.spike_depth:
            commands.append(command)
    return commands, strides, memory


def test_golden():
    memory = [0, 5, 0, 0, 7, 0] + [0] * 94
    command = Command(address=0, weight=10, run=1, rows=1, segment=1, last=True)
    strides = [Stride(0, 0, 0, 0), Stride(4, 100, 3, DIGITS_SIGNED)]  # 2 fields of 8 bits in a word
    assert fetch(CONFIG, command, strides, memory) == [
        None,
        Word(5, False, Meta(12, 1), True, True, False),
        Word(7, False, Meta(110, 1), True, True),
        Word(0, True, Meta(112, 1), True, True),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"address": 99}, "spike word 100 lies outside the memory"),
        ({"weight": 1990}, "weight row 2006 lies outside the memory"),
        ({"rows": 256}, "a walk of no or too many words"),
    ],
)
def test_golden_ranges(change, message):
    command = Command(address=0, weight=0, run=1, rows=0, segment=0, last=True)._replace(**change)
    with pytest.raises(AssertionError, match=message):
        fetch(CONFIG, command, [Stride(0, 0, 0, 0)], [0] * 100)


@pytest.mark.parametrize("seed", range(6))
def test_random_stalls(seed):
    rng = random.Random(seed)
    case = random_case(rng, 40, rng.choice([0.1, 0.5, 1]))
    words = [t.payload for t in rtl(*case, seed=seed, stall=rng.choice([0.2, 0.7]))["words"]]
    assert words == [word for word in golden(*case) if word is not None]


@pytest.mark.parametrize(("codes", "field"), [(16, 2), (32, 2), (32, 3)])
def test_tables(codes, field):
    """Words of the levels code say so, in which table they are, and whether their upper chunks have fields in it."""
    config = dataclasses.replace(CONFIG, tables=2, table_codes=codes)
    case = random_case(random.Random(11), 40, 0.7, tables=2, field=field)
    words = [t.payload for t in rtl(*case, config, stall=0.3)["words"]]
    assert words == [word for word in golden(*case, config) if word is not None]
    assert {word.table for word in words} == {None, *TABLES}
    assert {word.upper for word in words if word.table == TABLES[1]} == {field == 3}


@pytest.mark.parametrize("seed", range(4))
def test_masks(seed):
    """Parts of pixels, masks of every kind, words for lanes of their own; a word that a mask empties is dropped."""
    rng = random.Random(seed)
    config = dataclasses.replace(SPARSE, mask_depth=(96, 1100)[seed % 2])
    commands, strides, memory, _, masks = sparse_case(config, rng, 40, 0.7)
    case = (commands, strides, memory, config, masks)
    walk = golden(*case)
    stamps = rtl(*case, seed=seed, stall=0 if seed == 2 else 0.3)
    assert [t.payload for t in stamps["words"]] == [word for word in walk if word is not None]
    if seed == 2:  # and without stalls: one word a cycle, kept or dropped
        start = stamps["commands"][0].cycle + 1 + READ_LATENCY
        assert [t.cycle for t in stamps["words"]] == [start + i for i, word in enumerate(walk) if word is not None]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("arithmetic", "bits"), [("zero-skip", 4), ("zero-skip", 8), ("dense", 4), ("dense", 8)])
def test_rivals(arithmetic, bits, sparse):
    """Values of all widths: which are events, and, of a dense engine, which chunks hold some; a word a cycle."""
    config = dataclasses.replace(
        SPARSE, arithmetic=arithmetic, product_bits=bits, row_masks=sparse, depthwise=sparse, weight_depth=2000
    )
    commands, strides, memory, _, *masks = rival_case(config, random.Random(bits), 40, 0.6)
    case = (commands, strides, memory, config, *masks)
    walk = golden(*case)
    stamps = rtl(*case, stall=0)
    start = stamps["commands"][0].cycle + 1 + READ_LATENCY
    assert stamps["words"] == [Transfer(start + i, word) for i, word in enumerate(walk) if word is not None]
    stalled = rtl(*case, seed=bits, stall=0.4)
    assert [t.payload for t in stalled["words"]] == [word for word in walk if word is not None]


def test_golden_dense():
    """Two words of each pixel, the second one of three chunks: empty words are words like others."""
    config = dataclasses.replace(CONFIG, arithmetic="dense")
    strides = [Stride(0, 0, 2, DIGITS_RADIX, span=1, tail=2)]
    found = fetch(config, Command(0, 0, 3, 0, 0, False), strides, [0, 5, 0, 0] + [0] * 96)
    assert [(word.word, word.mask, word.width) for word in found] == [(0, 15, 4), (5, 7, 4), (0, 15, 4), (0, 7, 4)]


def test_golden_masks():
    """Two words of each pixel of three, from the second one on; a mask may leave nothing of a word."""
    config = dataclasses.replace(SPARSE, word_bits=16)
    memory = [0, 0x1234, 0x5678, 0, 0x9ABC, 0xDEF0] + [0] * 58
    masks = [Mask(0b0101, 7), Mask(0, 0), Mask(0b1000, 9), Mask(0b1111, 30)]
    strides = [Stride(0, 0, 2, DIGITS_RADIX, span=1, tap_step=2)]
    found = fetch(config, Command(1, 0, 3, 0, 0, False), strides, memory, (), masks)
    kept = {"digits": True, "last": False}
    assert found == [
        Word(0x0204, meta=Meta(7, 0), mask=0b0101, **kept), None, Word(0x9000, meta=Meta(9, 0), mask=0b1000, **kept),
        Word(0xDEF0, meta=Meta(30, 0), mask=0b1111, **kept),
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_cycles(share):
    """One word a cycle, kept or dropped, from command to command without a gap."""
    case = random_case(random.Random(7), 40, share)
    commands, strides, memory = case
    stamps = rtl(*case, stall=0)
    start = stamps["commands"][0].cycle + 1 + READ_LATENCY
    walk = golden(*case)
    assert stamps["words"] == [Transfer(start + i, word) for i, word in enumerate(walk) if word is not None]
    # A command is taken while the last word of the one before it is issued.
    lengths = [len(fetch(CONFIG, command, strides, memory)) for command in commands]
    taken = [t.cycle - stamps["commands"][0].cycle for t in stamps["commands"]]
    assert taken == [sum(lengths[:i]) for i in range(len(commands))]


def test_longest_walks():
    """As many tap rows, and as long a run, as a command can name."""
    memory = [i % 3 for i in range(100)]
    strides = [Stride(0, 1, 4, 0), Stride(1, 2, 4, 0), Stride(0, 0, 4, 0)]
    commands = [Command(5, 0, 0, 255, 0, False), Command(0, 7, 0, 99, 1, True), Command(0, 9, 99, 0, 2, True)]
    words = [t.payload for t in rtl(commands, strides, memory, stall=0)["words"]]
    assert words == [word for word in golden(commands, strides, memory) if word is not None]


def test_wide_fields():
    """A field as wide as the word, in 32 bits, and all widths below it."""
    config = EngineConfig(word_bits=32, segments=6, spike_depth=16, weight_depth=512)
    memory = [1 << 31] * 16
    strides = [Stride(4, 100, field, 0) for field in range(6)]
    commands = [Command(0, 3, 2, 1, segment, True) for segment in range(6)]
    words = [t.payload for t in rtl(commands, strides, memory, config)["words"]]
    assert words == golden(commands, strides, memory, config)
