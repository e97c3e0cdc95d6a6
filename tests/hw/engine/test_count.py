# SPDX-License-Identifier: Apache-2.0
import gc
import itertools
import random

import numpy as np
import pytest

from onespike.hw.engine.count import CountUnit
from onespike.model.neurons.count import count
from onespike.sim.stream import run_pipeline


def rtl(unit: CountUnit, cases: list[tuple[int, ...]]) -> list[int]:
    """Counts of cases (acc, shift, groups), of a signed unit (acc, shift, groups, low)."""
    inputs = dict(zip(("acc", "shift", "groups", "low"), map(list, zip(*cases, strict=True)), strict=False))
    return run_pipeline(unit, inputs, ["count"], latency=unit.latency)["count"]


def golden(cases: list[tuple[int, ...]]) -> list[int]:
    return count(*np.array(cases, dtype=np.int64).T).tolist()


def test_golden():
    # One below, at and above each threshold; floor, not truncation, below zero.
    acc = np.array([-33, -1, 0, 31, 32, 33, 127, 128, 129, 10**9])
    assert count(acc, 5, 4).tolist() == [0, 0, 0, 0, 1, 1, 3, 4, 4, 4]
    assert count(acc, 5, 3).tolist() == [0, 0, 0, 0, 1, 1, 3, 3, 3, 3]
    assert count([[100], [200]], [3, 5], 15).tolist() == [[12, 3], [15, 6]]
    assert count(acc, 5, 3, 1).tolist() == [-1, -1, 0, 0, 1, 1, 3, 3, 3, 3]
    assert count([-97, -96, -65, -64, -63, -1, 0], 5, 3, 3).tolist() == [-3, -3, -3, -2, -2, -1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 0, 4), "acc must hold integers, not float64"),
        ((1, -1, 4), r"shift must be in 0\.\.62, not -1"),
        ((1, 63, 4), r"shift must be in 0\.\.62, not 63"),
        ((1, 0, -1), "groups must not be negative, not -1"),
        ((1, 0, 1, -1), r"low must not be negative \(the lowest count is -low\), not -1"),
        ((1, 0, 1, 0.5), "low must hold integers, not float64"),
    ],
)
def test_golden_ranges(arguments, message):
    with pytest.raises(AssertionError, match=message):
        count(*arguments)


@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize(
    ("acc_width", "max_shift", "count_width"),
    [(6, 5, 3), (6, 7, 2), (5, 0, 3), (5, 1, 1), (2, 2, 6), (9, 3, 2)],
)
def test_exhaustive(acc_width, max_shift, count_width, stages):
    unit = CountUnit(acc_width=acc_width, max_shift=max_shift, count_width=count_width, stages=stages)
    accs = range(-(2 ** (acc_width - 1)), 2 ** (acc_width - 1))
    cases = list(itertools.product(accs, range(max_shift + 1), range(2**count_width)))
    assert rtl(unit, cases) == golden(cases)


@pytest.mark.parametrize("groups", [1, 5, 8, 15, 33])
def test_thresholds(groups):
    """Around every multiple of the step, at every shift, at a realistic width."""
    unit = CountUnit(acc_width=24, max_shift=16, count_width=6, stages=1)
    cases = [
        (acc, shift, groups)
        for shift in range(17)
        for n in range(-1, groups + 3)
        for acc in ((n << shift) - 1, n << shift, (n << shift) + 1)
    ]
    assert rtl(unit, cases) == golden(cases)


@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize(("acc_width", "max_shift", "count_width"), [(6, 5, 3), (5, 0, 2), (5, 1, 1), (2, 2, 4)])
def test_signed_exhaustive(acc_width, max_shift, count_width, stages):
    """Every sum at every shift, between all lowest and largest counts."""
    unit = CountUnit(
        acc_width=acc_width, max_shift=max_shift, count_width=count_width, stages=stages, signed_count=True
    )
    accs = range(-(2 ** (acc_width - 1)), 2 ** (acc_width - 1))
    cases = list(itertools.product(accs, range(max_shift + 1), *[range(2**count_width)] * 2))
    cases = [case for case in cases if acc_width < 6 or {*case[2:]} <= {0, 5, 7}]
    assert rtl(unit, cases) == golden(cases)


@pytest.mark.parametrize(("groups", "low"), [(7, 8), (15, 3), (33, 63), (0, 5), (8, 0)])
def test_signed_thresholds(groups, low):
    """Around every multiple of the step, at every shift, at a realistic width; both ends of the sums."""
    unit = CountUnit(acc_width=24, max_shift=16, count_width=6, stages=1, signed_count=True)
    ends = [-(2**23), 1 - 2**23, 2**23 - 1]
    cases = [
        (acc, shift, groups, low)
        for shift in range(17)
        for acc in [*ends, *((n << shift) + d for n in range(-low - 2, groups + 3) for d in (-1, 0, 1))]
    ]
    assert rtl(unit, cases) == golden(cases)


def test_random_wide():
    rng = random.Random(2)
    unit = CountUnit(acc_width=32, max_shift=31, count_width=8, stages=2)
    cases = [(rng.getrandbits(32) - 2**31, rng.randrange(32), rng.randrange(256)) for _ in range(2000)]
    cases += [(edge, shift, 255) for edge in (-(2**31), 2**31 - 1) for shift in range(32)]
    assert rtl(unit, cases) == golden(cases)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc_width": 1}, "acc_width must be at least 2, not 1"),
        ({"max_shift": -1}, "max_shift must not be negative, not -1"),
        ({"count_width": 0}, "count_width must be at least 1, not 0"),
        ({"stages": 3}, "stages must be 0, 1 or 2, not 3"),
    ],
)
def test_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        CountUnit(**{"acc_width": 8, "max_shift": 3, "count_width": 4, **change})
    gc.collect()  # the half-made component, while its warning is ignored
