# SPDX-License-Identifier: Apache-2.0
import gc
import itertools
import random

import numpy as np
import pytest

from onespike.hw.engine.psg import PsgUnit
from onespike.model.neurons.count import count
from onespike.model.neurons.integrate import integrate_and_fire, integrate_and_fire_steps
from onespike.model.neurons.psg import count_law, psg
from onespike.sim.stream import run_pipeline


def rtl(unit: PsgUnit, cases: list[tuple[int, int]]) -> list[list[int]]:
    acc, shift = map(list, zip(*cases, strict=True))
    words = run_pipeline(unit, {"acc": acc, "shift": shift}, ["spikes"], latency=unit.latency)["spikes"]
    return [[word >> i & 1 for i in range(unit.groups)] for word in words]


def golden(unit: PsgUnit, cases: list[tuple[int, int]]) -> list[list[int]]:
    return [psg(x, 1 << (unit.log2_theta + shift), unit.groups).astype(int).tolist() for x, shift in cases]


def test_example_a():
    # x = 1.5, theta = 2, g = 4, in halves: V = 1.5, 3, 2.5, 2.
    assert psg(3, 4, 4).tolist() == [False, True, True, True]


def test_example_b():
    # Integrate-and-fire loses a spike when the current grows; PSG of the mean does not. In halves.
    currents = np.array([1, 2, 4, 5])
    assert integrate_and_fire_steps(currents, 4).tolist() == [False, False, True, True]
    # The mean is 12/4 halves; scaled by 4 to stay exact whatever the sum is.
    assert psg(currents.sum(), 4 * 4, 4).tolist() == [False, True, True, True]


def test_example_c():
    weights, counts, groups, theta = np.array([9, -5, 12]), np.array([3, 1, 4]), 4, 2 * 16 * 4
    acc = weights @ counts + groups * 7
    assert acc == 98
    assert psg(acc, theta, groups).tolist() == [False, True, True, True]
    assert count(acc, 5, groups) == 3

    # The trap: equation 9 as printed divides the bias by g, and one spike is lost.
    assert count(weights @ counts + 7, 5, groups) == 2


def test_laws_exhaustively():
    """PSG = integrate-and-fire, spike by spike, and both obey the count law: x negative, in range, above theta."""
    for theta, groups in itertools.product([1, 2, 3, 4, 5, 7, 8, 16, 31, 33], range(1, 34)):
        x = np.arange(-2 * theta - 3, 3 * theta + 3)
        spikes = psg(x, theta, groups)
        np.testing.assert_array_equal(spikes, integrate_and_fire(x, theta, groups))
        np.testing.assert_array_equal(spikes.sum(-1), count_law(x, theta, groups))


@pytest.mark.parametrize("groups", [1, 2, 4, 8, 32])
def test_count_is_a_shift(groups):
    x = np.arange(-300, 3000)
    for shift in range(7):
        np.testing.assert_array_equal(count_law(x, groups << shift, groups), count(x, shift, groups))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 2, 4), "x must hold integers, not float64"),
        ((1, 0, 4), "theta must be positive, not 0"),
        ((1, 2, 0), "groups must be at least 1, not 0"),
        ((2**60, 2, 4), r"groups \* max\(\|x\|, theta\) must stay below 2\*\*62"),
        ((-(2**60), 2, 4), r"groups \* max\(\|x\|, theta\) must stay below 2\*\*62"),
        ((1, 2**60, 4), r"groups \* max\(\|x\|, theta\) must stay below 2\*\*62, not 4 \* 1152921504606846976"),
    ],
)
@pytest.mark.parametrize("function", [psg, integrate_and_fire, count_law])
def test_golden_ranges(function, arguments, message):
    with pytest.raises(AssertionError, match=message):
        function(*arguments)


@pytest.mark.parametrize("groups", [1, 4, 7, 64])
def test_laws_at_the_edge_of_the_accumulator(groups):
    """Thresholds below, at and above what an accumulator of 16 to 52 bits holds, at its ends and around every count."""
    for bits in (16, 24, 52):
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        for theta in (1, high - 1, high, high + 1, 2 * high + 1):
            edges = [low, low + 1, -1, 0, 1, high - 1, high]
            edges += [-(-n * theta // groups) - below for n in range(1, groups + 1) for below in (0, 1)]
            x = [edge for edge in edges if low <= edge <= high]
            wanted = [min(max(groups * edge // theta, 0), groups) for edge in x]  # Python's own integers
            assert psg(np.array(x), theta, groups).sum(-1).tolist() == count_law(np.array(x), theta, groups).tolist()
            assert count_law(np.array(x), theta, groups).tolist() == wanted


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 7, 8, 12, 16, 33])
def test_exhaustive(groups):
    for stages, log2_theta, max_shift in [(0, 3, 0), (1, 0, 4), (2, 2, 3), (0, 6, 1)]:
        unit = PsgUnit(acc_width=6, groups=groups, log2_theta=log2_theta, max_shift=max_shift, stages=stages)
        cases = list(itertools.product(range(-32, 32), range(max_shift + 1)))
        assert rtl(unit, cases) == golden(unit, cases)


@pytest.mark.parametrize("groups", [8, 15, 32])
def test_thresholds_and_random_wide(groups):
    rng = random.Random(groups)
    unit = PsgUnit(acc_width=20, groups=groups, log2_theta=4, max_shift=14, stages=2)
    cases = []
    for shift in range(15):
        theta = 16 << shift
        edges = [-(2**19), -theta, -1, 0, 1, theta - 1, theta, theta + 1, 2 * theta, 2**19 - 1]
        # Where a count begins: the least x with groups * x >= n * theta, and the one below.
        edges += [-(-n * theta // groups) - below for n in range(1, groups + 1) for below in (0, 1)]
        cases += [(x, shift) for x in edges if -(2**19) <= x < 2**19]
        cases += [(rng.randrange(min(theta, 2**19)), shift) for _ in range(20)]
    assert rtl(unit, cases) == golden(unit, cases)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc_width": 1}, "acc_width must be at least 2, not 1"),
        ({"groups": 0}, "groups must be at least 1, not 0"),
        ({"log2_theta": -1}, "log2_theta must not be negative, not -1"),
        ({"max_shift": -1}, "max_shift must not be negative, not -1"),
        ({"stages": None}, "stages must be 0, 1 or 2, not None"),
    ],
)
def test_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        PsgUnit(**{"acc_width": 8, "groups": 4, "log2_theta": 2, **change})
    gc.collect()  # the half-made component, while its warning is ignored
