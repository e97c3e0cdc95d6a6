# SPDX-License-Identifier: Apache-2.0
"""The phase neuron: the paper's example, the table that equals it, and its streaming form with a wait."""

import numpy as np
import pytest

from onespike.model.network import levels as tables
from onespike.model.neurons.levels import levels
from onespike.model.neurons.phase import SILENT, phase, pipelined, round_code, streamed, thresholds, values

CUBE_ROOT = 2 ** (1 / 3)
V, TH = values(CUBE_ROOT, 12, 16), thresholds(CUBE_ROOT, 12, 16)
W, PHASES, BIAS = np.array([48, -20, 33]), np.array([2, 5, SILENT]), round(0.1 * 2**22)  # at Fw = 6


def worth(p: int) -> int:
    return int(V[p - 1]) if p != SILENT else 0


def test_example_of_the_paper():
    assert V[:6].tolist() == [52016, 41285, 32768, 26008, 20643, 16384]
    assert TH[:4].tolist() == [46651, 37027, 29388, 23325]
    acc = BIAS + int(W @ [worth(p) for p in PHASES])
    assert acc == 1988250
    assert phase(acc, TH << 6) == 3


def test_the_same_example_streaming_fires_too_early_with_a_short_wait():
    arrived = [BIAS + sum(int(w) * worth(p) for w, p in zip(W, PHASES, strict=True) if p <= t) for t in range(1, 13)]
    for wait in range(14):
        found = streamed(arrived, TH << 6, wait)
        assert found.phases == (2 if wait < 3 else 3)
        assert found.false == (wait < 3) and not found.late


def test_rounding_of_real_values():
    """Q = 1.3, T = 16. Thresholds in the middle are .885, those of rounding logarithms .877 of a phase's value."""
    real = np.array([-1.0, 0.0, 0.0126, 0.0132, 0.0134, 0.05, 0.2, 0.5, 0.7, 1.0, 100.0])
    wanted = [SILENT, SILENT, SILENT, 16, 16, 11, 6, 3, 1, 1, 1]
    assert round_code(real, 1.3, 16).tolist() == wanted
    fired = phase(np.floor(real * 2**20).astype(int), thresholds(1.3, 16, 20))
    assert fired.tolist() == [*wanted[:3], SILENT, *wanted[4:]]


@pytest.mark.parametrize(("base", "phases"), [(2.0, 7), (1.3, 16), (CUBE_ROOT, 15), (1.2, 24)])
def test_it_is_a_search_in_the_table_of_levels(base, phases):
    limits, table = thresholds(base, phases, 12), tables.phase(base, phases, bits=8, fraction=4)
    acc = np.concatenate([np.arange(-5, 4200, 7), limits, limits - 1, limits + 1])
    fired = phase(acc, limits)
    assert set(fired.tolist()) == set(range(phases + 1))
    number = levels(acc, table.thresholds, np.arange(phases + 1))
    np.testing.assert_array_equal(fired, np.where(number == 0, SILENT, phases + 1 - number))
    worths = np.concatenate([[0], values(base, phases, 8)])
    np.testing.assert_array_equal(levels(acc, table.thresholds, table.levels), worths[fired])


def test_at_a_threshold_it_fires():
    assert phase([TH[4] - 1, TH[4], TH[4] + 1], TH).tolist() == [6, 5, 5]
    assert phase([TH[-1] - 1, TH[-1], -(2**40)], TH).tolist() == [SILENT, 12, SILENT]


def test_the_maximum_of_values_is_the_earliest_phase():
    acc = np.random.default_rng(0).integers(-1000, 60000, (500, 4))
    fired = phase(acc, TH)
    earliest = np.where(fired == SILENT, 99, fired).min(1)
    np.testing.assert_array_equal(phase(acc.max(1), TH), np.where(earliest == 99, SILENT, earliest))


def test_with_a_wait_of_all_phases_nothing_is_early():
    """Random currents: late and false spikes lessen with the wait, and w >= T has none."""
    rng = np.random.default_rng(1)
    arrived = np.cumsum(rng.normal(scale=3000, size=(12, 3000)), 0).astype(int)
    wrong = []
    for wait in (0, 4, 8, 12):
        found = streamed(arrived, TH, wait)
        assert not (found.late & found.false).any()
        np.testing.assert_array_equal(found.late | found.false, found.phases != phase(arrived[-1], TH))
        wrong.append(int((found.late | found.false).sum()))
    assert wrong[0] > wrong[1] > wrong[2] > wrong[3] == 0
    assert streamed(arrived, TH, 0).late.any()


def test_a_late_spike():
    """What arrives after its phase has been tested makes a neuron fire late: at 3 in place of 1, or never."""
    arrived = np.array([[0, 0], [0, 0], [90, 0], [90, 90]])
    found = streamed(arrived, [80, 60, 40, 100 // 3], 0)
    assert found.phases.tolist() == [3, 4] and found.late.all() and not found.false.any()
    assert streamed(arrived[:, 1:], [95, 94, 93, 91], 0).phases.tolist() == [SILENT]


def test_latency_of_a_pipeline():
    assert pipelined(1, 16, 16, 1) == 32
    assert pipelined(10, 16, 10, 20) == 10 * 26 + 190
