# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from onespike.model.neurons.asg import asg
from onespike.model.neurons.count import count
from onespike.model.neurons.integrate import integrate_and_fire_steps
from onespike.model.neurons.psg import psg


def test_the_example_of_the_paper():
    """Inputs .1, .2, .5, .8, .9 with theta 1: a mean of 1/2 that fires in every second step, at exactly theta."""
    assert asg([1, 2, 5, 8, 9], 10).astype(int).tolist() == [0, 1, 0, 1, 0]
    # With `>`, as Algorithm 1 prints it, the second step would not fire; one tenth less in one input shows the border.
    assert asg([1, 2, 5, 8, 8], 10).astype(int).tolist() == [0, 0, 1, 0, 1]
    assert asg([1, 2, 5, 8, 10], 10).astype(int).tolist() == [0, 1, 0, 1, 0]


def test_example_b_of_onespike():
    """In halves: integrate-and-fire sees the large currents too late, the average does not."""
    assert integrate_and_fire_steps(np.array([1, 2, 4, 5]), 4).tolist() == [False, False, True, True]
    assert asg([1, 2, 4, 5], 4).tolist() == [False, True, True, True]


def test_asg_is_psg_of_the_sum():
    """Every sum of every sign, thresholds that divide it or not, however the sum is spread over the steps."""
    rng = np.random.default_rng(0)
    for theta, steps in itertools.product([1, 2, 3, 5, 8, 13], [1, 2, 3, 4, 7, 8, 16]):
        sums = np.arange(-2 * theta * steps - 1, 3 * theta * steps + 2)
        spread = rng.integers(-3 * theta, 3 * theta, (len(sums), steps))
        spread[:, -1] += sums - spread.sum(1)
        fired = asg(spread, theta)
        np.testing.assert_array_equal(fired, psg(sums, steps * theta, steps))
        np.testing.assert_array_equal(fired.sum(-1), np.clip(sums // theta, 0, steps))


def test_the_bias_counts_once_per_step():
    """Tq = 10, Tmax = 8, W = [.5, -.25], b = .125, n = [8, 3], 6 fractional bits; theta is Tmax / Tq.

    In 640ths: a spike is worth .8, so that weights are 8 * 32 and 8 * -16, the bias 80 in each of the 8 steps.
    """
    weights, numbers, bias, steps, bits = np.array([32, -16]), np.array([8, 3]), 10 * 8, 8, 6
    acc = weights @ numbers + bias
    assert acc == 288 and count(acc, bits, steps) == 4
    trains = np.arange(steps) < numbers[:, None]
    assert asg(steps * weights @ trains + bias, steps << bits).sum() == 4
    for wrong in (bias * 2, bias // steps):  # once per input, once in all steps
        assert asg(steps * weights @ trains + wrong, steps << bits).sum() != 4


def test_ranges():
    with pytest.raises(AssertionError, match=r"x must hold integers, not float64"):
        asg([0.5, 1.0], 1)
    with pytest.raises(AssertionError, match=r"theta must be positive, not 0"):
        asg([1, 2], 0)
