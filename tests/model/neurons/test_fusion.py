# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from onespike.model.neurons.fusion import cosine, fusion, omega, quarter_wave, sine


def test_published_example():
    """Omega(.75, .5) = 1.02656, and the integers as near as their bits allow."""
    assert 2 * math.sin(math.pi / 4 * 0.75) * math.cos(math.pi / 4 * 0.5) == pytest.approx(1.02656, abs=5e-6)
    for fraction in range(4, 15):
        found = int(omega(3 << fraction - 2, 1 << fraction - 1, fraction)) / 2 ** (2 * fraction - 1)
        assert found == pytest.approx(1.02656, abs=1.5 * 2**-fraction)


@pytest.mark.parametrize("fraction", [1, 4, 8])
def test_one_quarter_serves_both_waves_and_wraps_around(fraction):
    table = quarter_wave(fraction)
    assert (table[0], table[-1], len(table)) == (0, 1 << fraction, (2 << fraction) + 1)
    phase = np.arange(-(16 << fraction), 16 << fraction)  # four turns
    angle = np.pi / 4 * phase / 2**fraction
    assert np.abs(sine(phase, fraction) - 2**fraction * np.sin(angle)).max() <= 0.5 + 1e-9
    assert np.abs(cosine(phase, fraction) - 2**fraction * np.cos(angle)).max() <= 0.5 + 1e-9
    turn = 8 << fraction
    assert (sine(phase, fraction) == sine(phase % turn, fraction)).all()
    assert (sine(-phase, fraction) == -sine(phase, fraction)).all()


def test_at_the_threshold_one_below_and_one_above():
    ask = {"leak": 128, "threshold": 128, "fraction": 8}
    spikes, phases = fusion([127, 128, 129, -1], 0, 0, 300, **ask)
    assert spikes.tolist() == [False, True, True, False]
    assert phases.tolist() == [127, 0, 1, 2047]
    # Sums in finer and in coarser units: floor((sum << -shift) >> shift).
    assert fusion([511, 512, -1], 2, 0, 0, **ask)[0].tolist() == [False, True, False]
    assert fusion([511, 512, -1], 2, 0, 0, **ask)[1].tolist() == [127, 0, 2047]
    assert fusion([31, 32], -2, 0, 0, **ask)[1].tolist() == [124, 0]


def test_membranes_follow_the_real_equation():
    """Within the rounding of the table and of one product: 1.6 units."""
    rng = np.random.default_rng(0)
    own, before, sums = rng.integers(0, 2048, 4000), rng.integers(0, 2048, 4000), rng.integers(-500, 500, 4000)
    spikes, phases = fusion(sums, 0, own, before, leak=200, threshold=128, fraction=8)
    real = 200 / 256 * 2 * np.sin(np.pi / 4 * own / 256) * np.cos(np.pi / 4 * before / 256) + sums / 256
    clear = np.abs(real - 0.5) > 2 / 256
    assert (spikes == (real >= 0.5))[clear].all() and clear.mean() > 0.9
    away = (phases / 256 - (real - 0.5 * spikes) + 4) % 8 - 4
    assert np.abs(away).max() <= 1.6 * 200 / 256 * 2 / 256 + 0.5 / 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leak": 257}, r"leak must be in 0\.\.256, not 257"),
        ({"threshold": 0}, "threshold must be positive, not 0"),
        ({"fraction": 0}, "fraction must be at least 1, not 0"),
        ({"sums": [0.5]}, "sums must hold integers, not float64"),
        ({"own": 0.5}, "phase must hold integers, not float64"),
    ],
)
def test_ranges(change, message):
    with pytest.raises(AssertionError, match=message):
        fusion(**{"sums": [1], "shift": 0, "own": 0, "before": 0, "leak": 1, "threshold": 1, "fraction": 8, **change})
