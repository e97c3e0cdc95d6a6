# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
import gc
import random

import pytest

from onespike.hw.engine.levels import LevelsUnit, rows_at_once
from onespike.model.neurons.levels import levels
from onespike.sim.stream import run_pipeline

Table = tuple[list[int], list[int]]  # thresholds, what is stored


def rows_of(unit: LevelsUnit, table: Table) -> list[tuple[int, int]]:
    """All rows, as they are loaded: those beyond the last level have the largest threshold, and its code."""
    thresholds, stored = table
    top, missing = (1 << unit.value_bits - 1) - 1, unit.codes - len(stored)
    return list(zip([0, *thresholds, *[top] * missing], stored + stored[-1:] * missing, strict=True))


def writes(unit: LevelsUnit, table: Table) -> list[dict]:
    number = rows_at_once(unit.codes)
    rows = [{"threshold": threshold, "value": value} for threshold, value in rows_of(unit, table)]
    starts = range(0, len(rows), number)
    return [{"enable": 1, "address": at // number, "rows": rows[at : at + number]} for at in starts]


def rtl(unit: LevelsUnit, jobs: list[tuple[Table, list[int], list[int]]], rng: random.Random) -> list[list[int]]:
    """What is stored for each job's values, a table loaded before each, its rows in any order with pauses between."""
    idle = {"enable": 0, "address": 0, "rows": [{"threshold": 0, "value": 0}] * rows_at_once(unit.codes)}
    steps: list[tuple[dict, int, list[int]]] = []
    for table, values, flags in jobs:
        for write in rng.sample(todo := writes(unit, table), len(todo)):
            while rng.random() < 0.3:
                steps.append((idle | {"address": rng.randrange(unit.codes // rows_at_once(unit.codes))}, 0, []))
            steps.append((write, 0, []))
        for flag in dict.fromkeys(flags):
            chosen = [value for value, own in zip(values, flags, strict=True) if own == flag]
            for at in range(0, len(chosen), unit.lanes):
                while rng.random() < 0.2:
                    steps.append((idle, flag, []))
                steps.append((idle, flag, chosen[at : at + unit.lanes]))
            steps += [(idle, flag, [])] * unit.latency
    noise = [[rng.randrange(-(1 << unit.value_bits - 1), 1 << unit.value_bits - 1) for _ in range(unit.lanes)]
             for _ in steps]  # fmt: skip
    inputs = {
        "write": [step[0] for step in steps],
        "tabled": [step[1] for step in steps],
        "values": [step[2] + other[len(step[2]) :] for step, other in zip(steps, noise, strict=True)],
    }
    out = run_pipeline(unit, inputs, ["stored"], latency=unit.latency)["stored"]
    kept = [[found[lane] for lane in range(len(step[2]))] for step, found in zip(steps, out, strict=True)]
    return [part for part in kept if part]


def random_table(rng: random.Random, unit: LevelsUnit, count: int) -> Table:
    half = 1 << unit.value_bits - 1
    stored = sorted(rng.sample(range(-(1 << unit.stored_bits - 1), 1 << unit.stored_bits - 1), count))
    return sorted(rng.sample(range(-half, half), count - 1)), stored


def check(unit: LevelsUnit, jobs: list[tuple[Table, list[int], list[int]]], seed: int = 0) -> None:
    expected = []
    for table, values, flags in jobs:
        for flag in dict.fromkeys(flags):
            chosen = [value for value, own in zip(values, flags, strict=True) if own == flag]
            found = levels(chosen, *table).tolist() if flag else chosen
            expected += [found[at : at + unit.lanes] for at in range(0, len(found), unit.lanes)]
    assert rtl(unit, jobs, random.Random(seed)) == expected


def test_golden():
    assert levels([-9, -3, -2, 0, 4, 5, 99], [-2, 1, 5], [-4, 0, 3, 8]).tolist() == [-4, -4, 0, 0, 3, 8, 8]
    with pytest.raises(AssertionError, match="3 levels have one threshold fewer, not 1"):
        levels([1], [0], [0, 1, 2])
    with pytest.raises(AssertionError, match=r"thresholds must rise: \[2, 1\]"):
        levels([1], [2, 1], [0, 1, 2])
    with pytest.raises(AssertionError, match="values must hold integers, not float64"):
        levels([1.5], [2], [0, 1])


@pytest.mark.parametrize(("codes", "shared"), [(2, 2), (4, 1), (8, 2), (16, 1), (16, 2), (32, 2), (32, 4)])
def test_every_value(codes, shared):
    """All values of a narrow unit: at every threshold, one below, one above; as they are, and in random tables."""
    rng = random.Random(codes + shared)
    unit = LevelsUnit(value_bits=6, stored_bits=7, codes=codes, lanes=3, shared=shared)
    values = list(range(-32, 32))
    counts = [codes, 1, 2, *(rng.randint(1, codes) for _ in range(3))]
    jobs = [(random_table(rng, unit, count), values, [rng.choice([0, 1, 1])] * 64) for count in counts]
    check(unit, [(jobs[0][0], values, [1] * 64), *jobs], codes)


@pytest.mark.parametrize("codes", [16, 32])
def test_thresholds_at_full_width(codes):
    """Every threshold of a wide unit, one below and one above, and the ends; the same values as they are."""
    rng = random.Random(codes)
    unit = LevelsUnit(value_bits=10, stored_bits=10, codes=codes, lanes=2)
    jobs = []
    for count in (codes, codes - 1, 5):
        table = random_table(rng, unit, count)
        edges = {t + d for t in table[0] for d in (-1, 0, 1)} | {-512, -511, -1, 0, 1, 510, 511}
        values = sorted(value for value in edges if -512 <= value < 512)
        jobs += [(table, values, [1] * len(values)), (table, values, [0] * len(values))]
    check(unit, jobs, codes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": 12}, "codes must be 2, 4, 8, 16 or 32, not 12"),
        ({"codes": 64}, "codes must be 2, 4, 8, 16 or 32, not 64"),
        ({"stored_bits": 4}, "stored_bits must be at least the 5 of a value, not 4"),
    ],
)
def test_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        LevelsUnit(**{"value_bits": 5, "stored_bits": 5, "codes": 16, **change})
    gc.collect()  # the half-made component, while its warning is ignored
