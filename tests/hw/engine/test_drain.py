# SPDX-License-Identifier: Apache-2.0
import random
from dataclasses import dataclass, field

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.sim import Simulator

from onespike.hw.config import EngineConfig
from onespike.hw.engine.bank import shadow_latency
from onespike.hw.engine.drain import Drain, adder_levels, channel_layout, drain_latency
from onespike.hw.program import layer_fields
from onespike.model.machine.drain import Row, drain
from onespike.model.machine.parity import with_parity


@dataclass
class FakeBank:
    """Shows shadow sets as a Bank does: one waits in `full`, the next comes `shadow_latency` after its release."""

    jobs: list[list[int]]
    rng: random.Random
    share: float
    shadow: list[int] = field(default_factory=list)
    full: bool = False
    free_from: int = 0
    step: int = 0
    steps: int = 1

    def before(self, cycle: int) -> None:
        if self.jobs and not self.full and cycle >= self.free_from and self.rng.random() < self.share:
            self.shadow, self.full = self.jobs.pop(0), True

    def after(self, cycle: int, take: int, release: int) -> int:
        """The step that is shown next."""
        shown = self.step
        self.step = (self.step + take) % self.steps
        if release:
            assert self.full, f"released in cycle {cycle} while no job waits"
            self.full, self.free_from = False, cycle + shadow_latency(EngineConfig())
        return shown


@dataclass
class Phase:
    """One layer: its record, the jobs of each bank; `reset_after`: cycles until a reset, `cut` short by it."""

    layer: dict[str, int]
    banks: list[list[list[int]]]
    reset_after: int | None = None


def rtl(config: EngineConfig, channels, phases: list[Phase], *, share: float = 1.0, seed: int = 0):
    """Per phase: rows with their cycles, counted from `start`, and the cycles in which banks were released."""
    rng = random.Random(seed)
    dut = Drain(config)
    reset = Signal()
    m = Module()
    m.submodules.dut = ResetInserter(reset)(dut)
    results = []

    async def bench(ctx):
        for address, row in enumerate(channels):
            fields = [channel_layout(config).const({"bias": b, "shift": k}).as_value().value for b, k in row]
            ctx.set(dut.load.enable, 1)
            ctx.set(dut.load.address, address)
            ctx.set(dut.load.data, sum(value << i * config.channel_bits for i, value in enumerate(fields)))
            await ctx.tick()
        ctx.set(dut.load.enable, 0)
        for phase in phases:
            ctx.set(dut.layer, {name: phase.layer.get(name, 0) for name in layer_fields(config)})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            banks = [
                FakeBank([list(job) for job in jobs], rng, share, steps=config.drain_steps) for jobs in phase.banks
            ]
            shown = [[0] * config.fire_lanes] * config.banks
            rows, releases, quiet = [], [], 0
            for cycle in range(20000):
                for bank in banks:
                    bank.before(cycle)
                ctx.set(dut.full, sum(bank.full << b for b, bank in enumerate(banks)))
                ctx.set(dut.banks, shown)
                ports = (dut.release, dut.take, dut.turn, dut.valid, dut.sums, dut.shift, dut.tag)
                _, _, release, take, turn, valid, sums, shift, tag = await ctx.tick().sample(*ports)
                together = min(config.drain_banks, phase.layer["slices"] + 1)
                assert turn.bit_count() == together or cycle < config.hops
                assert take in (0, turn)
                for b, bank in enumerate(banks):
                    step = bank.after(cycle, take >> b & 1, release >> b & 1)
                    lanes = slice(step * config.fire_lanes, (step + 1) * config.fire_lanes)
                    shown[b] = (turn >> b & 1 and bank.shadow[lanes]) or [0] * config.fire_lanes
                    if release >> b & 1:
                        releases.append((cycle, b))
                if valid:
                    flags = (bool(tag.first), bool(tag.last), bool(tag.row_last), bool(tag.layer_last))
                    places = range(config.fire_lanes)
                    rows.append((cycle, Row([sums[f] for f in places], [shift[f] for f in places], tag.row, *flags)))
                quiet = 0 if valid or any(bank.jobs or bank.full for bank in banks) else quiet + 1
                if quiet > 20 + 6 * config.drain_steps or cycle == phase.reset_after:
                    break
            else:
                raise AssertionError(f"not finished, {len(rows)} rows (seed {seed})")
            results.append((rows, releases))
            if phase.reset_after is not None:
                ctx.set(reset, 1)
                await ctx.tick()
                ctx.set(reset, 0)

    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(results) == len(phases), "the simulation stopped before its end"
    return results


def random_layer(rng: random.Random, config: EngineConfig, slices: int) -> dict[str, int]:
    blocks = rng.randint(1, 3)
    base = rng.randrange(config.channel_depth - blocks * config.drain_steps)
    values = {"slices": slices, "blocks": blocks, "window": rng.randint(1, 4), "pixels": rng.randint(1, 4),
              "dest_group_words": rng.choice([1, 1, config.fire_lanes])}  # fmt: skip
    return {name: value - 1 for name, value in values.items()} | {"channel_base": base}


def random_phase(rng: random.Random, config: EngineConfig, slices: int) -> Phase:
    """Shadow sets at random: their differences wrap around."""
    layer = random_layer(rng, config, slices)
    jobs = (layer["pixels"] + 1) * (layer["window"] + 1) * (layer["blocks"] + 1)
    banks: list[list[list[int]]] = [[] for _ in range(config.banks)]
    for job in range(jobs):
        for s in range(slices):
            shadow = [rng.randrange(1 << config.acc_bits) for _ in range(config.lanes)]
            banks[(job * slices + s) % config.banks].append(shadow)
    return Phase(layer, banks)


def random_channels(rng: random.Random, config: EngineConfig):
    half = 1 << (config.acc_bits - 1)
    return [
        [(rng.randrange(-half, half), rng.randrange(config.acc_bits)) for _ in range(config.fire_lanes)]
        for _ in range(config.channel_depth)
    ]


def test_golden():
    config = EngineConfig(banks=2, lanes=2, fire_lanes=1, acc_bits=6, channel_depth=4)
    layer = {"slices": 1, "blocks": 0, "window": 1, "pixels": 0, "channel_base": 2}
    channels = [[(0, 0)], [(0, 0)], [(1, 3)], [(-30, 5)]]
    rows, last = drain(config, layer, [[[1, 2], [60, 3]], [[0, 63], [2, 60]]], channels)
    assert [(row.sums, row.shift, row.row, row.first, row.last, row.layer_last) for row in rows] == [
        ([2], [3], 0, True, False, False),
        ([-29], [5], 1, True, False, False),  # -30 + 2 - 1
        ([-2], [3], 0, False, True, False),  # 1 + (60 - 1) + (2 - 0), in six bits
        ([-32], [5], 1, False, True, True),  # -30 + (3 - 2) + (60 - 63): the least that fits
    ]
    assert last == [[60, 3], [2, 60]]


def test_golden_ranges():
    config = EngineConfig(banks=2, lanes=1, fire_lanes=1, acc_bits=6)
    layer = {"slices": 0, "blocks": 0, "window": 0, "pixels": 0, "channel_base": 0}
    with pytest.raises(AssertionError, match="a shadow set must have 6 bits"):
        drain(config, layer, [[[64]], []], [[(0, 0)]])
    with pytest.raises(AssertionError, match="some jobs belong to no row"):
        drain(config, layer, [[[1], [2]], []], [[(0, 0)]])
    with pytest.raises(AssertionError, match="slices must divide the banks"):
        drain(config, layer | {"slices": 2}, [[], []], [])


SHAPES = [
    (banks, slices, lanes, fire)
    for banks, slices in [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (8, 4), (16, 2)]
    for lanes, fire in [(2, 2), (4, 2), (3, 1), (16, 4), (12, 1)]
]
TOGETHER = [
    (together, banks, slices, lanes, fire)
    for together, banks in [(2, 2), (2, 8), (4, 4), (4, 8), (8, 8), (4, 16), (8, 16), (16, 16)]
    for slices in (1, 2, 4, 8, 16)
    for lanes, fire in [(2, 2), (3, 1), (12, 1)]
    if slices <= banks
]


@pytest.mark.parametrize(("banks", "slices", "lanes", "fire_lanes"), SHAPES)
def test_random(banks, slices, lanes, fire_lanes):
    """Two layers one after the other, banks that finish when they like: all sums and their places."""
    compare(1, banks, (slices, slices), lanes, fire_lanes)


@pytest.mark.parametrize(("together", "banks", "slices", "lanes", "fire_lanes"), TOGETHER)
def test_banks_together(together, banks, slices, lanes, fire_lanes):
    """Slices of a job that are drained at a time, or all where the job has fewer; the layers' slices differ."""
    compare(together, banks, (slices, banks // slices, slices), lanes, fire_lanes)


def compare(together, banks, slices, lanes, fire_lanes):
    config = EngineConfig(
        banks=banks, drain_banks=together, lanes=lanes, fire_lanes=fire_lanes, acc_bits=9, channel_depth=40,
        code="unary",
    )  # fmt: skip
    rng = random.Random(str((banks, slices, lanes, fire_lanes)))
    channels = random_channels(rng, config)
    phases = [random_phase(rng, config, number) for number in slices]
    previous = None
    results = rtl(config, channels, phases, share=rng.choice([0.05, 0.5]), seed=1)
    for phase, (rows, _) in zip(phases, results, strict=True):
        expected, previous = drain(config, phase.layer, phase.banks, channels, previous)
        assert [row for _, row in rows] == expected


@pytest.mark.parametrize(
    ("together", "banks", "slices", "lanes", "fire_lanes"), [*((1, *shape) for shape in SHAPES[::3]), *TOGETHER[::2]]
)
def test_cycles(together, banks, slices, lanes, fire_lanes):
    """Banks that are always ready: a job takes max(slices / D, 1) x L / F steps, its sums follow `drain_latency`
    later."""
    config = EngineConfig(
        banks=banks, drain_banks=together, lanes=lanes, fire_lanes=fire_lanes, acc_bits=9, channel_depth=40,
        code="unary",
    )  # fmt: skip
    rng = random.Random(str((banks, slices, lanes, fire_lanes)))
    phase = random_phase(rng, config, slices)
    ((rows, releases),) = rtl(config, random_channels(rng, config), [phase])
    steps, interval = config.drain_steps, phase.layer["dest_group_words"] + 1
    # A bank is released as early as its next sums, `shadow_latency` later, cannot disturb the steps that are left.
    release = max(0, steps - shadow_latency(config)) if interval == 1 else (steps - 1) * interval
    release += config.hops
    seen = config.more_hops  # cycles until the drain knows that a bank is full
    cycle, free, expected_releases, expected_rows = 0, dict.fromkeys(range(banks), 0), [], []
    for job in range(len(releases) // slices):
        group = [(job * slices + s) % banks for s in range(slices)]
        for some in (group[s : s + together] for s in range(0, slices, together)):
            cycle = max(cycle, *(free[bank] + seen for bank in some))
            expected_releases += [(cycle + release, bank) for bank in some]
            free |= {bank: cycle + release + shadow_latency(config) for bank in some}
            if some[-1] == group[-1]:
                expected_rows += [cycle + step * interval + drain_latency(config) for step in range(steps)]
            cycle += steps * interval
    assert releases == expected_releases
    assert [cycle for cycle, _ in rows] == expected_rows


@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("reset_after", [0, 3, 25, 60])
def test_reset_in_the_middle(reset_after, together):
    """A reset forgets the jobs of the layer under way and what the banks had shown: they start again from zero too."""
    config = EngineConfig(banks=4, drain_banks=together, lanes=4, fire_lanes=2, acc_bits=9, channel_depth=40)
    rng = random.Random(reset_after)
    channels = random_channels(rng, config)
    cut, whole, after = (random_phase(rng, config, 2) for _ in range(3))
    cut.reset_after = reset_after
    results = rtl(config, channels, [cut, whole, after], share=0.5, seed=reset_after)
    golden_cut, _ = drain(config, cut.layer, cut.banks, channels)
    assert [row for _, row in results[0][0]] == golden_cut[: len(results[0][0])]
    expected, previous = drain(config, whole.layer, whole.banks, channels)
    assert [row for _, row in results[1][0]] == expected
    assert [row for _, row in results[2][0]] == drain(config, after.layer, after.banks, channels, previous)[0]


@pytest.mark.parametrize("together", [1, 2, 4])
def test_parity_of_the_row_that_is_read(together):
    """A wrong bit of either job's parameters is noticed, however long the banks' sums are on their way to them."""
    config = EngineConfig(
        banks=4, drain_banks=together, lanes=2, fire_lanes=2, acc_bits=9, channel_depth=4, parity=True
    )
    dut = Drain(config)
    layer = dict.fromkeys(layer_fields(config), 0) | {"slices": 3, "blocks": 1, "channel_base": 2}
    bits = config.channel_bits * config.fire_lanes

    async def bench(ctx):
        for damaged in (None, 2, 3):
            ctx.set(dut.load.enable, 1)
            for row in (2, 3):
                ctx.set(dut.load.address, row)
                ctx.set(dut.load.data, with_parity(0x155, bits) ^ (row == damaged) << 5)
                await ctx.tick()
            ctx.set(dut.load.enable, 0)
            ctx.set(dut.layer, layer)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.full, 15)
            takes, noticed = [], []
            for cycle in range(24):
                _, _, take, fault = await ctx.tick().sample(dut.take, dut.fault)
                takes += [cycle] * (take != 0)
                noticed += [cycle] * fault
                ctx.set(dut.full, 15 if len(takes) < 8 // together else 0)
            first, second = takes[: 4 // together], takes[4 // together :]
            read = {None: [], 2: first, 3: second}[damaged]
            # Two cycles until the row is there, and two in `Parity`.
            assert noticed == [cycle + 4 + adder_levels(config) for cycle in read]

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
