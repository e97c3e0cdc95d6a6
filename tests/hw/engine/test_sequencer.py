# SPDX-License-Identifier: Apache-2.0
import random

import numpy as np
import pytest
from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator

from blocks import head, pattern, preload, random_bits, random_mapping, weights
from onespike.hw.config import EngineConfig
from onespike.hw.engine.fetch import command_layout, stride_layout
from onespike.hw.engine.sequencer import SEQUENCER_FAULTS, SEQUENCER_LATENCY, Sequencer
from onespike.hw.program import WORD, header_words, layer_fields, layout
from onespike.model.machine.fetch import Command, Stride
from onespike.model.machine.parity import with_parity
from onespike.model.machine.walk import Record, records, tables, walk
from onespike.model.mapping.images import MemoryImages, memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.spec import Image, Layer, Source, SpikeNet
from onespike.sim.stream import run_stream

CHECKED = EngineConfig(banks=1, lanes=4, fire_lanes=4, parity=True)
PARITY_LATENCY = 2


class Harness(wiring.Component):
    """The sequencer with filled memories; a layer is done `rest` cycles after its last command was taken.

    With `pause_after` images it is disabled for some cycles after that many. Images come, and the logits of the one
    before are taken, when patterns say so.
    """

    def __init__(self, mapping: Mapping, images: MemoryImages, totals: list[int], *, available: list[int],
                 free: list[int], rest: int, pause_after: int | None):  # fmt: skip
        self.config, self.images, self.totals = mapping.config, images, totals
        self.available, self.free, self.rest, self.pause_after = available, free, rest, pause_after
        strides = data.ArrayLayout(stride_layout(self.config), self.config.segments)
        record = layout(layer_fields(self.config))
        begin = data.StructLayout({"index": 8, "layer": record, "strides": strides, "may": 2})
        members = {f"bank{b}": Out(stream.Signature(command_layout(self.config))) for b in range(self.config.banks)}
        members["starts"] = Out(stream.Signature(begin, always_ready=True))
        members["taken"] = Out(stream.Signature(1, always_ready=True))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = dut = Sequencer(self.config)
        filled = [
            preload(m, "program", dut.load_program, self.images.program),
            preload(m, "rows", dut.load_rows, self.images.rows),
            preload(m, "columns", dut.load_columns, self.images.columns),
        ]
        ports = [getattr(self, f"bank{b}") for b in range(self.config.banks)]
        for command, port in zip(dut.commands, ports, strict=True):
            wiring.connect(m, command, wiring.flipped(port))
        given, rest, images = Signal(32), Signal(range(self.rest + 2)), Signal(8)
        pause = Signal(range(8), init=7)
        total = Array(Const(total, 32) for total in self.totals)[dut.index]
        over = dut.busy & (given == total)
        m.d.comb += [
            dut.enable.eq(filled[0] & filled[1] & filled[2] & (pause == 7)),
            dut.done.eq(over & (rest == self.rest)),
            self.starts.valid.eq(dut.start),
            self.starts.payload.index.eq(dut.index),
            self.starts.payload.layer.eq(dut.layer),
            self.starts.payload.strides.eq(dut.strides),
            self.taken.valid.eq(dut.image_taken),
        ]
        for name, port, bits, gone in (
            ("available", dut.image_available, self.available, dut.image_begun),
            ("free", dut.logits_free, self.free, dut.image_taken),
        ):
            there = Signal(name=f"{name}_there")
            m.d.comb += port.eq(there)
            m.d.sync += there.eq((there & ~gone) | pattern(m, name, bits))
        # `there` as it was when the layer was chosen; logits that have not been read since then still wait.
        available = Signal()
        m.d.sync += available.eq(dut.image_available)
        m.d.comb += self.starts.payload.may.eq(Cat(available, dut.logits_free))
        m.d.sync += rest.eq(rest + over)
        m.d.sync += given.eq(given + sum(Value.cast(port.valid & port.ready) for port in ports))
        with m.If(dut.done):
            m.d.sync += [given.eq(0), rest.eq(0), images.eq(images + dut.image_taken)]
            if self.pause_after is not None:
                with m.If(dut.image_taken & (images == self.pause_after - 1)):
                    m.d.sync += pause.eq(0)
        with m.If(pause != 7):
            m.d.sync += pause.eq(pause + 1)
        return m


def golden(mapping: Mapping, images: MemoryImages, count: int, pause_after: int | None = None):
    """The records, and commands [image][layer] with their banks."""
    config = mapping.config
    header, program = records(config, images.program)
    both = tables(config, images.rows, images.columns)
    result = []
    for number in range(count):
        since = number - pause_after if pause_after is not None and number >= pause_after else number
        offset = header["image_stride"] if header["image_double"] and since & 1 else 0
        result.append([walk(config, *record, *both, image_offset=offset) for record in program])
    return program, result


def rtl(mapping, images, expected, *, available=(), free=(), rest=2, pause_after=None, **options):
    """Per bank the commands; the layers that began; the stamps of everything."""
    banks = range(mapping.config.banks)
    totals = [sum(len(to) for to, _ in layer) for layer in expected[0]]
    harness = Harness(mapping, images, totals, available=list(available), free=list(free), rest=rest,
                      pause_after=pause_after)  # fmt: skip
    counts = {f"bank{b}": sum(b in to for image in expected for layer in image for to, _ in layer) for b in banks}
    counts |= {"starts": len(expected) * len(totals), "taken": len(expected)}
    stamps = run_stream(harness, {}, counts, stamps=True, surplus=0, limit=30000, **options)
    fields = Command._fields
    commands = [[Command(*(getattr(t.payload, n) for n in fields)) for t in stamps[f"bank{b}"]] for b in banks]
    begun = [
        Record(
            {name: getattr(t.payload.layer, name) for name in layer_fields(mapping.config)},
            [Stride(*(getattr(s, n, 0) for n in Stride._fields)) for s in t.payload.strides],
        )
        for t in stamps["starts"]
    ]
    return commands, begun, stamps


def check(mapping: Mapping, count: int, **options):
    images = memory_images(mapping)
    program, expected = golden(mapping, images, count, options.get("pause_after"))
    commands, begun, stamps = rtl(mapping, images, expected, **options)
    walked = [step for image in expected for layer in image for step in layer]
    for b, got in enumerate(commands):
        assert got == [command for to, command in walked if b in to], f"bank {b}"
    assert [(record.layer, record.segments) for record in begun] == [(r.layer, r.strides) for r in program] * count
    assert [t.payload.index for t in stamps["starts"]] == [*range(len(program))] * count
    # A first layer waits for an image, there in the cycle before the first; the last one for the logits unit.
    for record, start in zip(program * count, stamps["starts"], strict=True):
        assert start.payload.index or start.payload.may & 1, "began without an image"
        assert not record.layer["final"] or start.payload.may & 2, "began while logits wait"
    return expected, stamps


def network(rng: random.Random) -> Mapping:
    return random_mapping(rng, lanes=rng.choice([2, 4]), fire_lanes=2)


@pytest.mark.parametrize("seed", range(10))
def test_random_networks(seed):
    """Strides, padding, pools, several blocks and sources, any number of slices: queues that stall, images that come
    late, logits that are taken late."""
    rng = random.Random(seed)
    mapping = network(rng)
    stalls = random_bits(rng, 300, 0.1)
    check(mapping, 2, available=stalls, free=stalls[::-1], seed=seed, stall=rng.choice([0.1, 0.4]))


@pytest.mark.parametrize("seed", range(10, 14))
def test_cycles(seed):
    """Queues with room: the first command SEQUENCER_LATENCY after the layer's first cycle, then one in each."""
    mapping = network(random.Random(seed))
    rest = 40  # by then the next record has been read
    expected, stamps = check(mapping, 1, stall=0, rest=rest)
    given = {(b, i): t.cycle for b in range(mapping.config.banks) for i, t in enumerate(stamps[f"bank{b}"])}
    position = [0] * mapping.config.banks
    starts = [t.cycle for t in stamps["starts"]]
    for layer, start in zip(expected[0], starts, strict=True):
        for number, (banks, _) in enumerate(layer):
            for b in banks:
                assert given[b, position[b]] == start + SEQUENCER_LATENCY + number
                position[b] += 1
    # `done` comes `rest` + 1 cycles after the last command, and the next layer begins in the cycle after it.
    lengths = [len(layer) for layer in expected[0]]
    begin = [start + SEQUENCER_LATENCY + length + rest + 1 for start, length in zip(starts, lengths, strict=True)]
    assert starts[1:] == begin[:-1]
    assert stamps["taken"][0].cycle == begin[-1] - 1


def test_the_features_are_drawn():
    """The random networks of this file hold what they should."""
    layers = [layer for seed in range(10) for layer in network(random.Random(seed)).layers]
    assert any(len(layer.sources) > 1 for layer in layers)
    assert any(layer.blocks > 1 for layer in layers) and any(layer.period > 1 for layer in layers)
    assert any(layer.window != (1, 1) for layer in layers)
    assert any(layer.slices > 1 for layer in layers) and any(layer.groups > 1 for layer in layers)
    sources = [source for layer in layers for source in layer.sources]
    assert any(max(source.stride) > 1 for source in sources)
    assert any(source.dilation > 1 for source in sources)
    assert any(any(source.tensor.pad) for source in sources)
    assert any(count < source.weights.shape[2] for layer in layers for source in layer.sources
               for _, _, count in (source.taps(0, y) for y in layer.rows))  # fmt: skip


@pytest.mark.parametrize("pause_after", [1, 2])
def test_enable_starts_over(pause_after):
    """After a pause the program is read again, and the first image lies in the first buffer."""
    check(network(random.Random(3)), 4, pause_after=pause_after, stall=0)


@pytest.mark.parametrize(("logits", "image"), [(1, 1), (2, 1), (3, 1), (41, 1), (1, 83), (2, 97), (97, 83)])
def test_one_layer_images_and_logits_that_are_slow(logits, image):
    """The only layer is an image's first and last: it begins when an image is there and when the logits of the one
    before have been read, three cycles behind the later of both, and not before. They come in every so many cycles."""
    net = SpikeNet(image=Image(shape=(2, 2, 2), bits=4), layers=(head(random.Random(1), "input", (2, 2, 2)),),
                   weight_bits=4)  # fmt: skip
    mapping = map_network(net, fit_config(net, EngineConfig(banks=2, lanes=4, fire_lanes=2, weight_bits=4)))
    free, available = ([int(cycle % every == every - 1) for cycle in range(3000)] for every in (logits, image))
    _, stamps = check(mapping, 5, free=free, available=available, rest=40, stall=0)
    starts = [start.cycle for start in stamps["starts"]]
    for taken, before, start in zip(stamps["taken"][:4], starts, starts[1:], strict=False):
        read, came = free.index(1, taken.cycle), available.index(1, before - 1)
        assert start == max(read, came) + 3


@pytest.mark.parametrize("lanes", [4, 8])
def test_blocks_that_read_words_of_their_own(lanes):
    """Two groups of several blocks each: as many blocks as a group has read its words, the next ones the other's;
    the shortcut beside them is read whole."""
    rng = random.Random(lanes)

    def source(tensor: str, inputs: int, groups: int = 1) -> Source:
        return Source(tensor=tensor, weights=weights(rng, 32, inputs // groups, 1, 1), groups=groups)

    layers = [
        Layer(name=name, sources=sources, bias=np.zeros(32, int), shift=np.full(32, 4), groups=7)
        for name, sources in (("a", (source("input", 2),)), ("b", (source("a", 32, 2), source("a", 32))))
    ]
    net = SpikeNet(image=Image(shape=(2, 3, 3), bits=4), layers=(*layers, head(rng, "b", (32, 3, 3), 3)), weight_bits=4)
    config = EngineConfig(banks=2, lanes=lanes, fire_lanes=4, weight_bits=4, row_masks=True)
    mapping = map_network(net, fit_config(net, config))
    grouped, whole = mapping.layers[1].sources
    assert mapping.layers[1].block_run == 16 // lanes > 1
    assert (grouped.span, grouped.block_words, whole.span, whole.block_words) == (2, 2, 4, 0)
    check(mapping, 2, seed=lanes, stall=0.2)
    _, program = records(mapping.config, memory_images(mapping).program)
    layer, segments = program[1].layer, program[1].segments
    found = walk(mapping.config, layer, segments, *tables(mapping.config, *_tables(mapping)))[: 2 * 32 // lanes]
    offsets = [command.address - segments[command.segment]["base"] for _, command in found]
    run = 16 // lanes
    assert offsets == [0, 0] * run + [2, 0] * run


def _tables(mapping: Mapping):
    images = memory_images(mapping)
    return images.rows, images.columns


def test_jobs_go_round_groups_of_banks():
    """Two groups of two banks each: more than one group, and of more than one bank."""
    rng = random.Random(1)
    conv = Layer(name="a", sources=(Source(tensor="input", weights=weights(rng, 8, 2, 3, 3)),), bias=np.zeros(8, int),
                 shift=np.full(8, 4), groups=7)  # fmt: skip
    net = SpikeNet(image=Image(shape=(2, 5, 5), bits=4), layers=(conv, head(rng, "a", (8, 3, 3), 3)), weight_bits=4)
    config = fit_config(net, EngineConfig(banks=4, lanes=4, fire_lanes=4, weight_bits=4), slices=2)
    expected, _ = check(map_network(net, config, slices=2), 1, stall=0.2)
    assert {tuple(banks) for layer in expected[0] for banks, _ in layer} == {(0, 1), (2, 3)}


@pytest.mark.parametrize("word", range(header_words(CHECKED)))
def test_a_wrong_parity_is_told_two_cycles_behind_its_row(word):
    """Words of the header are read one a cycle, the first one in the second cycle of `enable`."""
    dut, cycles = Sequencer(CHECKED), []

    async def bench(ctx):
        port = dut.load_program
        for address in range(CHECKED.program_depth):
            ctx.set(port.enable, 1)
            ctx.set(port.address, address)
            ctx.set(port.data, with_parity(address, WORD) ^ (address == word) << WORD)
            await ctx.tick()
        ctx.set(port.enable, 0)
        ctx.set(dut.enable, 1)
        for cycle in range(20):
            if ctx.get(dut.faults):
                cycles.append((cycle, ctx.get(dut.faults)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert cycles == [(word + 2 + PARITY_LATENCY, 1 << SEQUENCER_FAULTS.index("program"))]


@pytest.mark.parametrize("low", [1, 2, 5])
def test_a_program_that_is_written_up_to_the_last_cycle(low):
    """Its first word last, `enable` in the cycle behind it; the header is that of the new program, in the same time."""
    config = EngineConfig(banks=1, lanes=4, fire_lanes=4)
    dut, found = Sequencer(config), []
    words = header_words(config)

    async def bench(ctx):
        for base in (100, 200):
            ctx.set(dut.enable, 0)
            for _ in range(low - 1):
                await ctx.tick()
            for address in reversed(range(config.program_depth if base == 100 else 1)):
                ctx.set(dut.load_program.enable, 1)
                ctx.set(dut.load_program.address, address)
                ctx.set(dut.load_program.data, base + address)
                await ctx.tick()
            ctx.set(dut.load_program.enable, 0)
            ctx.set(dut.enable, 1)
            cycles = 0
            while not ctx.get(dut.ready):
                await ctx.tick()
                cycles += 1
            found.append((cycles, ctx.get(Value.cast(dut.header)) & (2**WORD - 1)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run_until(3e-6)
    assert found == [(words + 2, 100), (words + 2, 200)]
