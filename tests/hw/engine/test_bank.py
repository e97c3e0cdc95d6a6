# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bank_cases import CONFIG, SPARSE, random_case, rival_case, sparse_case
from blocks import fill_terms, pattern, preload, preload_words, random_bits, random_mapping, random_terms
from onespike.hw import memory
from onespike.hw.config import EngineConfig
from onespike.hw.engine import bank as bank_module
from onespike.hw.engine.bank import Bank, capture_latency, row_latency
from onespike.hw.engine.drain import drain_latency, release_step
from onespike.hw.engine.fetch import command_layout, mask_entry, stride_layout
from onespike.hw.engine.fire import fire_latency
from onespike.hw.engine.load import row_words
from onespike.hw.engine.sequencer import SEQUENCER_LATENCY
from onespike.hw.later import later
from onespike.hw.program import DIGITS_LEVELS, DIGITS_RADIX, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_UNARY
from onespike.model.cost.cycles import predict
from onespike.model.machine.bank import Job, bank
from onespike.model.machine.fetch import Command, Stride, Terms
from onespike.model.machine.walk import records, tables, walk
from onespike.model.mapping.images import memory_images
from onespike.model.network.codes import MULTIPLES, decode, encode
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """A bank with filled memories and a drain that begins when a pattern allows it, `pace` cycles a step.

    shown: F sums a cycle. totals: events, empty ends and waits so far, as the last sums of a job are shown. events: an
    entry whenever one left, or (1) a job ended without one. fulls, releases: an entry whenever a job's sums were ready,
    were taken.
    """

    def __init__(self, config: EngineConfig, memory, weights, grants: list[int], pace=1, tables: Terms = (), masks=()):
        self.config, self.memory, self.grants, self.pace, self.tables = config, memory, grants, pace, tables
        self.masks = masks
        mask = (1 << config.weight_bits) - 1
        self.rows = [sum((w & mask) << i * config.weight_bits for i, w in enumerate(row)) for row in weights]
        row = data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)
        totals = data.StructLayout(dict.fromkeys(("read", "event", "empty", "waiting"), 16))
        super().__init__(
            {
                "commands": In(stream.Signature(command_layout(config))),
                "strides": In(data.ArrayLayout(stride_layout(config), config.segments)),
                "shown": Out(stream.Signature(row, always_ready=True)),
                "totals": Out(stream.Signature(totals, always_ready=True)),
                "events": Out(stream.Signature(1, always_ready=True)),
                "fulls": Out(stream.Signature(1, always_ready=True)),
                "releases": Out(stream.Signature(1, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = dut = Bank(self.config)
        words = row_words(self.config.lanes * self.config.weight_bits)
        spikes = preload(m, "spikes", dut.write, self.memory)
        weights = preload_words(m, "weights", dut.load, self.rows, words)
        steps = self.config.drain_steps
        step, shows, last_full = Signal(range(max(2, steps))), Signal(), Signal()
        pause = Signal(range(self.pace))
        take = (pause == 0) & ((step != 0) | (dut.full & pattern(m, "grants", self.grants)))
        release = release_step(self.config) if self.pace == 1 else steps - 1
        filled = spikes & weights
        if self.masks:
            entry = mask_entry(self.config)
            rows = [entry.const(row._asdict()).as_value().value for row in self.masks]
            filled = filled & preload(m, "masks", dut.load_masks, rows)
        if self.tables:
            filled = filled & fill_terms(m, dut.terms, self.tables, self.config.multiples)
        command = Cat(self.commands.valid & self.commands.ready, Value.cast(self.commands.payload))
        m.d.comb += [
            dut.strides.eq(self.strides),
            Cat(dut.commands.valid, Value.cast(dut.commands.payload)).eq(later(m, command, self.config.hops)),
            self.commands.ready.eq(dut.commands.ready & filled),
            dut.take.eq(take),
            dut.turn.eq(take),
            dut.release.eq(take & (step == release)),
            self.shown.valid.eq(shows),
            Value.cast(self.shown.payload).eq(Value.cast(dut.drain)),
            self.events.valid.eq(dut.event | dut.empty),
            self.events.payload.eq(dut.empty),
            self.fulls.valid.eq(dut.full & ~last_full),
            self.releases.valid.eq(dut.release),
        ]
        # One set is empty from its release on; of several, the last one when it has been read.
        done = dut.release if self.config.shadows == 1 else take & (step == steps - 1)
        m.d.sync += [shows.eq(take), last_full.eq(dut.full & ~done)]
        with m.If(take):
            m.d.sync += [step.eq(Mux(step == steps - 1, 0, step + 1)), pause.eq(self.pace - 1)]
        with m.Elif(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        totals = self.totals.payload
        m.d.comb += self.totals.valid.eq(self.shown.valid & (step == 0))
        for name in ("read", "event", "empty", "waiting"):
            m.d.sync += totals[name].eq(totals[name] + getattr(dut, name))
        return m


def rtl(config, commands, strides, memory, weights, masks=(), *, grants=(), pace=1, tables=(), **options):
    """The sums of every job, and the stamps of everything else."""
    jobs = bank(config, commands, strides, memory, weights, tables, masks)
    stamps = run_stream(
        Harness(config, memory, weights, list(grants), pace, tables, masks),
        {"commands": [command._asdict() for command in commands]},
        {
            "shown": len(jobs) * config.drain_steps,
            "totals": len(jobs),
            "events": sum(job.events + job.empty for job in jobs),
            "fulls": len(jobs),
            "releases": len(jobs),
        },
        fixed={"strides": [stride.fields(config) for stride in strides]},
        stamps=True,
        limit=40000,
        **options,
    )
    shown = [t.payload[f] for t in stamps["shown"] for f in range(config.fire_lanes)]
    shadows = np.array([0] * config.lanes + shown, dtype=object).reshape(-1, config.lanes)
    half = 1 << (config.acc_bits - 1)
    sums = (np.diff(shadows, axis=0) + half) % (2 * half) - half
    return sums.tolist(), stamps


def test_golden():
    """One word of four signed fields, 0xF5 = 256 - 10 - 1 and 16, and one of four radix fields."""
    config = EngineConfig(lanes=2, fire_lanes=1, word_bits=32, weight_bits=4, segments=2)
    memory = [0x1000F5, 0x00000263, 0]
    weights = [[1, -2], [3, 0], [0, 0], [5, -8]]
    strides = [Stride(0, 0, 3, DIGITS_SIGNED), Stride(0, 0, 3, DIGITS_RADIX)]
    commands = [Command(0, 0, 0, 0, 0, False), Command(1, 0, 0, 0, 1, True), Command(2, 0, 0, 0, 1, True)]
    assert bank(config, commands, strides, memory, weights) == [
        Job([0xF5 + 16 * 0 + 0x63 + 2 * 3, -2 * 0xF5 - 2 * 0x63], 3 + 1 + 2 + 1, False, 4),
        Job([0, 0], 0, True, 0),
    ]


def test_golden_range():
    config = EngineConfig(lanes=1, fire_lanes=1, word_bits=16, weight_bits=4, acc_bits=5)
    with pytest.raises(AssertionError, match="a job's sums must fit 5 bits"):
        bank(config, [Command(0, 0, 0, 0, 0, True)], [Stride(0, 0, 0, 0)], [7], [[7]] * 16)


@pytest.mark.parametrize("seed", range(6))
def test_random(seed):
    """Commands with gaps, a drain that lets jobs wait: all sums, all events, and `capture_latency` for every job; of
    few banks, and of so many that commands are on their way when there is no more room for others."""
    rng = random.Random(seed)
    deep = {"weight_depth": 1100, "spike_depth": 2100} if seed % 2 else {}  # two pages each
    config = dataclasses.replace(CONFIG, fire_lanes=rng.choice([1, 2]), word_bits=rng.choice([16, 32]), **deep)
    config = dataclasses.replace(config, banks=(4, 16, 8, 4, 16, 8)[seed])
    config = dataclasses.replace(config, multiples=MULTIPLES[seed % 3], shadows=(1, 2, 1, 3, 4, 1)[seed])
    assert (len(config.weight_pages) > 1) == bool(deep)
    case = random_case(config, rng, 25, rng.choice([0.1, 0.6, 1]))
    check_case(config, case, rng, seed)


@pytest.mark.parametrize("depth", [512, 1100])
def test_wide_rows(depth, monkeypatch):
    """Rows of many block RAMs come two cycles later, as those of pages do, wide or not."""
    monkeypatch.setattr(bank_module, "WIDE_ROW", CONFIG.lanes * CONFIG.weight_bits - 1)
    config = dataclasses.replace(CONFIG, fire_lanes=1, weight_depth=depth)
    assert row_latency(config) == 2
    rng = random.Random(depth)
    check_case(config, random_case(config, rng, 25, 0.6), rng, depth)


def test_rows_of_256_bits_are_not_wide():
    assert [row_latency(EngineConfig(lanes=lanes, fire_lanes=1, weight_bits=8)) for lanes in (32, 33)] == [0, 2]


def test_many_banks_lie_far_apart():
    """However many lanes each has."""
    for lanes in (8, 64):
        assert [EngineConfig(banks=banks, lanes=lanes).hops for banks in (4, 8, 16)] == [0, 1, 2]


@pytest.mark.parametrize("rows", [16384, 1024])
def test_weights_in_single_port_ram(rows, monkeypatch):
    """Timing as of one page of block RAMs, or of several; golden function and cases are the same."""
    monkeypatch.setattr(memory, "SINGLE_PORT_ROWS", rows)
    rng = random.Random(rows)
    config = dataclasses.replace(CONFIG, fire_lanes=1, word_bits=16, single_port=True, weight_depth=1100)
    assert (len(config.weight_pages) > 1) == (rows < 1100)
    check_case(config, random_case(config, rng, 25, 0.6), rng, rows)


@pytest.mark.parametrize("seed", range(4))
def test_masks(seed):
    """Words that have some of their weight rows, words whose digits are for lanes of their own, gaps between taps."""
    rng = random.Random(seed)
    deep = {"weight_depth": 1100, "spike_depth": 2100, "mask_depth": 1100} if seed % 2 else {}
    config = dataclasses.replace(SPARSE, multiples=MULTIPLES[seed % 3], shadows=seed % 2 + 1, **deep)
    case = sparse_case(config, rng, 25, rng.choice([0.3, 1]))
    check_case(config, case, rng, seed)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("arithmetic", "bits", "dsp"),
    [("zero-skip", 4, False), ("zero-skip", 8, True), ("dense", 8, False), ("dense", 4, True)],
)
def test_rivals(arithmetic, bits, dsp, sparse):
    """Lanes that multiply: values of all widths and both kinds of sign, zero or not, with masks and without."""
    rng = random.Random(bits + dsp)
    config = dataclasses.replace(
        SPARSE if sparse else CONFIG, arithmetic=arithmetic, product_bits=bits, dsp=dsp, max_shift=15, acc_bits=30,
        shadows=1 + sparse, word_bits=16 if sparse else 32,
    )  # fmt: skip
    check_case(config, rival_case(config, rng, 20, 0.6), rng, bits)


def check_case(config, case, rng, seed):
    """All sums and events, in time, with commands that come late and a drain that does."""
    masks = case[4:] or ((),)
    golden = bank(config, *case[:4], (), *masks)
    grants = random_bits(rng, 2500, rng.choice([0.02, 0.2, 1]))
    pace, stall = rng.choice([1, 3]), rng.choice([0, 0.3, 0.8])
    sums, stamps = rtl(config, *case, grants=grants, pace=pace, seed=seed, stall=stall)
    assert sums == [job.sums for job in golden]
    total = stamps["totals"][-1].payload
    assert (total.event, total.empty) == (sum(j.events for j in golden), sum(j.empty for j in golden))
    assert total.read == sum(job.reads for job in golden)
    # `event` and `empty` come one cycle after the event left the extractor.
    last = np.cumsum([job.events + job.empty for job in golden]) - 1
    ends = [stamps["events"][index].cycle for index in last]
    full = [end - 1 + capture_latency(config) for end in ends]
    taken = [t.cycle - 1 for t in stamps["shown"][config.drain_steps - 1 :: config.drain_steps]]
    if config.shadows > 1:  # the next job moves to the last set when that has been read
        full = [full[0], *(max(ready, before + 2) for ready, before in zip(full[1:], taken[:-1], strict=True))]
    assert [t.cycle for t in stamps["fulls"]] == full
    assert [stamps["events"][index].payload for index in last] == [job.empty for job in golden]
    waited = zip(ends[config.shadows :], stamps["releases"], strict=False)
    assert all(end - 1 > t.cycle for end, t in waited)


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize(
    ("code", "digits", "log2_field"),
    [
        ("radix", DIGITS_RADIX, 0), ("radix", DIGITS_RADIX, 1), ("radix", DIGITS_RADIX, 2), ("radix", DIGITS_RADIX, 3),
        ("radix", DIGITS_RADIX, 4), ("signed", DIGITS_SIGNED, 3), ("twos", DIGITS_TWOS, 2), ("twos", DIGITS_TWOS, 3),
        ("unary", DIGITS_UNARY, 2),
    ],
)  # fmt: skip
def test_every_value_of_every_code(code, digits, log2_field, multiples):
    """Every digit at every place of a word, in random company: what each word adds is what its code says it is worth.

    Digits of four bits, but all 8 bits of a field whose digits carry.
    """
    config = EngineConfig(
        lanes=1, fire_lanes=1, word_bits=16, weight_bits=4, acc_bits=24, max_shift=15, multiples=multiples,
        spike_depth=256,
    )  # fmt: skip
    width, rng = 1 << log2_field, random.Random(log2_field)
    digit, count = (8, 256) if log2_field == 3 and code != "radix" else (4, 64)
    times = [count >> digit] * (1 << digit)
    places = [rng.sample(range(1 << digit), count, counts=times) for _ in range(16 // digit)]
    memory = [sum(value << i * digit for i, value in enumerate(word)) for word in zip(*places, strict=True)]
    fields = [[word >> i & (1 << width) - 1 for i in range(0, 16, width)] for word in memory]
    commands = [Command(i, 0, 0, 0, 0, True) for i in range(count)]
    weights = [[rng.randrange(-8, 8)] for _ in range(16)]
    sums, stamps = rtl(config, commands, [Stride(0, 0, log2_field, digits)], memory, weights)
    worth = decode(np.array(fields), code, width)
    assert sums == (worth @ np.array(weights)[: 16 // width]).tolist()
    assert stamps["totals"][-1].payload.read == np.count_nonzero(worth)


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize(("word_bits", "codes"), [(16, 16), (32, 16), (16, 32), (32, 32)])
def test_tables(multiples, word_bits, codes):
    """Sources of two tables and of digits in turn, shifted: every field adds the terms that its table has, each chunk
    of two its own.
    """
    config = dataclasses.replace(
        CONFIG, multiples=multiples, word_bits=word_bits, tables=2, table_codes=codes, max_shift=9, segments=3
    )
    rng = random.Random(word_bits)
    tables = random_terms(rng, 2, multiples, config.term_fields)
    memory = [rng.getrandbits(word_bits) & rng.getrandbits(word_bits) for _ in range(config.spike_depth)]
    weights = [[rng.randrange(-16, 16) for _ in range(config.lanes)] for _ in range(config.weight_depth)]
    wide = 3 if codes > 16 else 2
    strides = [Stride(3, 8, field, DIGITS_LEVELS, shift, table) for table, shift, field in ((1, 2, wide), (0, 0, 2))]
    strides.append(Stride(2, 9, 2, DIGITS_TWOS, 1))
    commands = [
        Command(rng.randrange(30), rng.randrange(40), rng.randrange(4), rng.randrange(3), i % 3, rng.random() < 0.5)
        for i in range(40)
    ]
    commands.append(Command(0, 0, 0, 0, 0, True))
    case = (config, commands, strides, memory, weights)
    golden = bank(*case, tables)
    sums, stamps = rtl(*case, tables=tables, grants=random_bits(rng, 900, 0.4), stall=0.3)
    assert sums == [job.sums for job in golden]
    total = stamps["totals"][-1].payload
    assert (total.event, total.read) == (sum(j.events for j in golden), sum(j.reads for j in golden))


def cycle_case(seed: int, rival: dict):
    """A random network on one bank, and one image of random fields."""
    rng = random.Random(seed)
    mapping = random_mapping(
        rng, banks=1, word_fifo=rng.choice([1, 2, 5]), command_fifo=rng.choice([1, 2, 4]), acc_bits=20,
        shadows=seed % 4 + 1, **rival,
    )  # fmt: skip
    share = rng.choice([0.1, 0.5, 0.9])
    fields = {}
    for name, tensor in mapping.tensors.items():
        count = (len([c for c in tensor.order if c >= 0]), tensor.height, tensor.width)
        low = -tensor.offset
        values = np.array([rng.randint(low, tensor.top) if rng.random() < share else 0 for _ in range(np.prod(count))])
        fields[name] = encode(values.reshape(count), tensor.code, tensor.top)
    return mapping, fields


RIVALS = [
    {"arithmetic": arithmetic, "product_bits": bits, "multiples": (1, 3, 5)}
    for arithmetic in ("zero-skip", "dense")
    for bits in (4, 8)
]


@pytest.mark.parametrize(("seed", "rival"), [*((seed, {}) for seed in range(8)), *enumerate(RIVALS, 8)])
def test_cycles_of_a_layer(seed, rival):
    """Commands as fast as the queue takes them, a drain that never waits: every counter equals the cycle model."""
    mapping, fields = cycle_case(seed, rival)
    config = mapping.config
    images = memory_images(mapping)
    _, program = records(config, images.program)
    memory = [0] * config.spike_depth
    for name, tensor in mapping.tensors.items():
        words = tensor.pack(fields[name], config.word_bits).reshape(-1)
        memory[tensor.base : tensor.base + len(words)] = map(int, words)
    mask = (1 << config.weight_bits) - 1
    sign = 1 << (config.weight_bits - 1)
    weights = [
        [((row >> lane * config.weight_bits & mask) ^ sign) - sign for lane in range(config.lanes)]
        for row in images.weights[0]
    ]
    for layer, record, expected in zip(mapping.layers, program, predict(mapping, fields), strict=True):
        # Tensors that share addresses are not alive together, so restore what this layer reads.
        for source in layer.sources:
            words = source.tensor.pack(fields[source.tensor.name], config.word_bits).reshape(-1)
            memory[source.tensor.base : source.tensor.base + len(words)] = map(int, words)
        commands = [command for _, command in walk(config, *record, *tables(config, images.rows, images.columns))]
        pace = layer.group_words(config)
        sums, stamps = rtl(config, commands, record.strides, memory, weights, pace=pace, stall=0)
        assert sums == [job.sums for job in bank(config, commands, record.strides, memory, weights)]
        start = stamps["commands"][0].cycle - SEQUENCER_LATENCY  # the layer's first cycle
        total = stamps["totals"][-1].payload
        tail = drain_latency(config) + fire_latency(config) + pace  # from the last choice of lanes to the last result
        cycles = stamps["shown"][-1].cycle - 1 - start + tail + 1
        counted = (cycles, total.event, total.empty, total.waiting)
        assert counted == (expected.cycles, expected.event, expected.empty, expected.waiting), layer.layer.name
