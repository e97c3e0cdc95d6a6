# SPDX-License-Identifier: Apache-2.0
"""Integrate-and-fire without leak, with soft reset: the neuron of the T-step networks that ours stands beside.

    U += I;  s = U >= theta;  U -= s theta

From U = 0 and with a constant current I = x for g steps, theta = g << k, it fires as parallel spike generation does
(`model/neurons/psg.py`), element by element. OneSpike, Example B; the papers' Fig. 2 compares the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .psg import checked


def integrate(membrane: np.ndarray, current: np.ndarray, theta: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """One step: spikes (bool) and the membrane after its reset, of membranes and currents that broadcast.

    All three in units of the accumulator; U may be negative. Exact for integers, also as floats below 2**53.
    """
    membrane = membrane + current
    spikes = membrane >= theta
    return spikes, membrane - theta * spikes


def integrate_and_fire(x: ArrayLike, theta: int, groups: int) -> NDArray[np.bool_]:
    """Spikes of a neuron that receives the constant x for `groups` steps, on the last axis of the result."""
    x = checked(x, theta, groups)
    return integrate_and_fire_steps(np.repeat(x[..., None], groups, axis=-1), theta)


def integrate_and_fire_steps(currents: ArrayLike, theta: int) -> NDArray[np.bool_]:
    """The same neuron with its own current in each step (last axis)."""
    currents = np.asarray(currents)
    steps = currents.shape[-1]
    currents = checked(currents, theta, steps)
    membrane = np.zeros(currents.shape[:-1], dtype=np.int64)
    spikes = np.empty(currents.shape, dtype=np.bool_)
    for step in range(steps):
        spikes[..., step], membrane = integrate(membrane, currents[..., step], theta)
    return spikes
