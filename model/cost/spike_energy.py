# SPDX-License-Identifier: Apache-2.0
"""Energy and memory accesses of a network over T steps as papers that train spiking networks count them.

    alpha = E_ANN / E_SNN        E_ANN = MACs * E_mac        E_SNN = first layer's MACs * E_mac + additions * E_add

(Chowdhury, Rathi and Roy, eq. 4), an addition for every spike and each weight that it meets, E_mac 4.6 pJ and E_add
0.9 pJ (FP32, 45 nm). The first layer's sums are the same in every step, so they count once. Memory is not charged; how
often it is read is given beside: every weight once a step, and a membrane read and written by each neuron, which one
timestep does not need.
"""

from __future__ import annotations

from collections.abc import Sequence

from .energy import FP32_ADD, FP32_MAC


def energy_ratio(macs: Sequence[float], spikes: Sequence[float]) -> float:
    """alpha. macs: of every layer, per image; spikes: per neuron over all steps that each layer but the first reads."""
    first, rest = macs[0], macs[1:]
    spent = first * FP32_MAC + sum(m * s for m, s in zip(rest, spikes, strict=True)) * FP32_ADD
    return sum(macs) * FP32_MAC / spent


def memory_accesses(weights: int, neurons: int, steps: int) -> int:
    """Words read and written per image by a network of so many weights and spiking neurons over T steps."""
    return steps * weights + (2 * neurons * steps if steps > 1 else 0)
