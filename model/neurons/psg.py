# SPDX-License-Identifier: Apache-2.0
"""Parallel spike generation (PSG), and the count that it and the neuron it replaces (`integrate.py`) both obey.

    psg(x, theta, g) == integrate_and_fire(x, theta, g)     spike by spike
    psg(x, theta, g).sum(-1) == count_law(x, theta, g)

for every integer x, every theta > 0 and every g >= 1. Only the count reaches the next layer, because
the g groups share their weights. Fractions are scaled to integers first: x = 1.5, theta = 2 is 3, 4.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LIMIT = 2**62  # products must stay inside int64


def psg(x: ArrayLike, theta: int, groups: int) -> NDArray[np.bool_]:
    """Spikes ``s_i = ((i-1) x mod theta) + x >= theta``, i = 1..groups, on the last axis of the result.

    x is saturated to [0, theta] first. The paper lets i start at 0, which gives one group too many.
    Golden function of :class:`onespike.hw.engine.psg.PsgUnit`.
    """
    x = np.clip(checked(x, theta, groups), 0, theta)[..., None]
    i = np.arange(1, groups + 1)
    spikes: NDArray[np.bool_] = (i - 1) * x % theta + x >= theta
    return spikes


def count_law(x: ArrayLike, theta: int, groups: int) -> NDArray[np.int64]:
    """``clip(floor(groups x / theta), 0, groups)``: how many of the spikes fire."""
    x = checked(x, theta, groups)
    result: NDArray[np.int64] = np.clip(groups * x // theta, 0, groups)
    return result


def checked(x: ArrayLike, theta: int, groups: int) -> NDArray[np.int64]:
    """x as int64; asserts that no product of a neuron's arithmetic leaves it."""
    x = np.asarray(x)
    assert np.issubdtype(x.dtype, np.integer), f"x must hold integers, not {x.dtype}"
    assert theta > 0, f"theta must be positive, not {theta}"
    assert groups >= 1, f"groups must be at least 1, not {groups}"
    bound = max(theta, int(x.max()), -int(x.min())) if x.size else theta
    assert groups * bound < _LIMIT, f"groups * max(|x|, theta) must stay below 2**62, not {groups} * {bound}"
    return x.astype(np.int64)
