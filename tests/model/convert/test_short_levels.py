# SPDX-License-Identifier: Apache-2.0
"""Short levels: the best of all sets on small pools, midpoints, the price of events, and what is refused."""

import itertools

import numpy as np
import pytest

from onespike.model.convert.short_levels import _levels, candidates, choose, events_of, thresholds
from onespike.model.errors import OneSpikeError
from onespike.model.network.codes import MULTIPLES, terms

BINS = 512


def histogram(values):
    """Counts [channels, BINS] of values [n, channels] above 0, and the channels' largest values."""
    tops = values.max(0)
    bins = np.minimum((values / tops * BINS).astype(int), BINS - 1)
    counts = [np.bincount(b[v > 0], minlength=BINS) for b, v in zip(bins.T, values.T, strict=True)]
    return np.array(counts, float), tops


@pytest.fixture(scope="module")
def activations():
    rng = np.random.default_rng(0)
    return np.maximum(rng.normal(size=(4000, 3)) * [1.0, 3.0, 0.2] - [0.1, 0.3, 0.0], 0)


def quantised(values, found):
    """What the fire unit makes of real values: levels, and real values again."""
    units = np.floor(values / found.step * 2**found.fraction)
    levels = np.array(found.levels)[np.searchsorted(found.thresholds, units, side="right")]
    return levels, levels * found.step


def cost(values, found):
    levels, real = quantised(values, found)
    return ((values - real) ** 2).mean(), np.vectorize(events_of)(levels).mean()


def test_events():
    for digit in range(17):
        assert events_of(digit) == len(terms(digit, MULTIPLES[-1]))
    assert [events_of(level) for level in (40, 48, 63, 640, 21, 23, 1280)] == [1, 1, 2, 1, 2, 2, 2]
    assert candidates(16) == (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
    assert candidates(9, 2) == tuple(range(1, 10))


def test_thresholds():
    assert thresholds((0, 1, 2, 4), fraction=1) == (1, 3, 6)
    assert thresholds((0, 2, 3, 7, 8), fraction=2) == (4, 10, 20, 30)
    # An event may cost an error: 0 reaches further up, and 6 and 8 towards the 7 between them.
    assert thresholds((0, 2, 6, 7, 8), 3, price=0.25) == (9, 32, 53, 59)
    assert thresholds((0, 2, 6, 7, 8), 2, price=100.0) == (8, 16, 27, 29)  # every level keeps values of its own
    assert thresholds((0, 6, 7, 8), fraction=0, price=1.0) == (4, 7, 8)


@pytest.mark.parametrize("price", [0.0, 0.03])
def test_the_levels_are_the_best_of_all(activations, price):
    """At given steps, against every choice of three levels out of eight."""
    counts, tops = histogram(activations)
    step, pool = tops / 14, candidates(14, 2)[1::2]
    worth = price * float((activations**2).sum() / (activations > 0).sum())
    chosen = _levels(counts, tops, step, pool, 4, worth)
    values = (np.arange(BINS) + 0.5) / BINS * tops[:, None]

    def of(levels):
        at = np.array((0, *levels), float) * step[:, None, None]
        paid = worth * np.array([events_of(level) for level in (0, *levels)])
        return (((values[..., None] - at.reshape(3, 1, -1)) ** 2 + paid).min(2) * counts).sum()

    every = [of(levels) for levels in itertools.combinations(pool, 3)]
    assert of(chosen) <= min(every) * 1.002  # a common threshold for all channels, on a grid of values


@pytest.mark.parametrize("codes, price", [(8, 0.02), (16, 0.01)])
def test_chosen_levels_beat_a_uniform_count_by_error_and_events(activations, codes, price):
    counts, tops = histogram(activations)
    uniform = choose(counts, tops, codes=codes, levels=range(codes))
    short = choose(counts, tops, codes=codes, allowed=candidates(40, 2), price=price)
    assert len(short.levels) == codes and len(short.thresholds) == codes - 1 and short.levels[0] == 0
    assert cost(activations, short)[1] < 0.96 * cost(activations, uniform)[1]
    assert cost(activations, short)[0] < 1.1 * cost(activations, uniform)[0]
    single = choose(counts, tops, codes=codes)
    assert {events_of(level) for level in single.levels[1:]} == {1}
    fine = choose(counts, tops, codes=codes, allowed=candidates(40, 2))
    assert cost(activations, fine)[0] < cost(activations, uniform)[0]


def test_given_levels_and_the_step(activations):
    """Of uniform counts the step is the one with the least error; a ceiling holds."""
    counts, tops = histogram(activations)
    found = choose(counts, tops, levels=range(9), fraction=1)
    assert found.levels == tuple(range(9)) and found.thresholds == tuple(range(1, 16, 2))
    error = cost(activations, found)[0]
    for factor in (0.8, 0.9, 1.1, 1.25):
        assert error <= cost(activations, found._replace(step=found.step * factor))[0]
    capped = choose(counts, tops, levels=range(9), ceiling=0.5)
    assert (capped.step * 8 <= 0.5 + 1e-12).all() and (capped.step * 8 == 0.5).any()


def test_a_higher_price_makes_fewer_events(activations):
    counts, tops = histogram(activations)
    allowed = candidates(40, 2)
    costs = [cost(activations, choose(counts, tops, allowed=allowed, price=price)) for price in (0, 0.01, 0.03)]
    assert costs[0][1] > costs[1][1] > costs[2][1]
    assert costs[0][0] < costs[1][0] < costs[2][0]


def test_silent_channels_and_few_candidates():
    counts = np.zeros((2, BINS))
    counts[0, 100] = 5
    found = choose(counts, np.array([1.0, 1 / 64]), allowed=(1, 2, 4), fraction=2)
    assert found.levels == (0, 1, 2, 4) and np.isfinite(found.step).all() and (found.step > 0).all()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"levels": (0, 2, 2)}, r"^Levels must be whole numbers that rise from 0, not 0, 2, 2\.$"),
        ({"levels": (-1, 2)}, r"^Levels must be whole numbers that rise from 0, not -1, 2\.$"),
        ({"levels": (1, 2.5)}, r"^Levels must be whole numbers that rise from 0, not 1, 2\.5\.$"),
        ({"levels": ()}, r"^Levels must be whole numbers that rise from 0, not \.$"),
        ({"levels": range(32)}, r"^31 levels beside 0 do not fit a table of 31 codes\.$"),
        ({"levels": (1, 171)}, r"^The level 171 takes more than the two events that a code may have; leave it out\.$"),
        ({"codes": 33}, r"^codes must lie in 2\.\.32, not 33\.$"),
        ({"fraction": 9}, r"^fraction must lie in 0\.\.8, not 9\.$"),
        ({"price": -0.1}, r"^The price of an event must be a finite number of at least 0, not -0\.1\.$"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(OneSpikeError, match=message):
        choose(np.ones((2, BINS)), np.ones(2), **settings)


def test_a_histogram_must_be_counts():
    for counts in (np.ones(4), np.ones((3, 4)), -np.ones((2, 4)), np.full((2, 4), np.nan)):
        with pytest.raises(OneSpikeError, match=r"^A histogram must be counts \[channels, bins\] of 2 channels\.$"):
            choose(counts, np.ones(2))
