# SPDX-License-Identifier: Apache-2.0
"""All-at-once spike generation (ASG): the currents of T steps are averaged before the neuron integrates (Yan et al.).

    mean = (I_1 + .. + I_T) / T        then, T times,  U += mean;  s = U >= theta;  U -= s theta

A bias counts once in every step, not once for every input. The paper's Algorithm 1 prints `>` in the reset, with which
its own example, a mean of 1/2 and theta 1, would give 0, 1, 1, 1, 1; it prints 0, 1, 0, 1, 0, and that is `>=`.

The mean is a constant current, so that ASG is parallel spike generation, spike by spike:

    asg(I, theta) == psg(sum of I, T theta, T)        n = clip(floor(sum of I / theta), 0, T)

and its network is the one-timestep network with g = T groups: that, and no membrane, is what the hardware runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .integrate import integrate
from .psg import checked


def asg(currents: ArrayLike, theta: int) -> NDArray[np.bool_]:
    """Spikes [..., T] of neurons with the integer currents [..., T]: averaged, then integrated and fired.

    In T-th parts of the current's unit, so that the mean is a whole number whatever the sum is.
    Equals :func:`onespike.model.neurons.psg.psg` of the summed currents.
    """
    currents = np.asarray(currents)
    steps = currents.shape[-1]
    total = checked(checked(currents, theta, steps).sum(-1), steps * theta, steps)
    membrane = np.zeros(total.shape, np.int64)
    spikes = np.empty(currents.shape, np.bool_)
    for step in range(steps):
        spikes[..., step], membrane = integrate(membrane, total, steps * theta)
    return spikes
