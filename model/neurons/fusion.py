# SPDX-License-Identifier: Apache-2.0
"""Membrane fusion (Yao et al.; experimental): neurons of windows that run one after the other and pass membranes on.

    U = leak * Omega(a, b) + I        o = U >= V        U <- U - V o        Omega(a, b) = 2 sin(pi a / 4) cos(pi b / 4)

a: the membrane of the same neuron in the window before; b: of the same window in the layer before, 0 where that has
another shape. All are fixed-point numbers with F bits behind the point. Omega has the period 8 in both arguments, so
the low F + 3 bits of a membrane are its phase, and nothing else is ever kept: sums wrap around, and no membrane
saturates. One table of a quarter wave serves sine and cosine:

    SINE[i] = round(2**F sin(pi/2 * i / 2**(F+1)))        i = 0 .. 2**(F+1), the last of which is 2**F
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAK_BITS = 8  # behind the point of a leak
TURN = 3  # bits in front of the point of a phase: Omega has the period 8


@functools.cache
def quarter_wave(fraction: int) -> tuple[int, ...]:
    """SINE: 2**(F+1) + 1 numbers, from 0 to 2**F."""
    steps = 2 << fraction
    return tuple(round(2**fraction * math.sin(math.pi / 2 * i / steps)) for i in range(steps + 1))


def sine(phase: ArrayLike, fraction: int) -> NDArray[np.int64]:
    """2**F sin(pi / 4 * U) of membranes U in units of 2**-F, of which the low F + 3 bits count."""
    phase = np.asarray(phase)
    assert np.issubdtype(phase.dtype, np.integer), f"phase must hold integers, not {phase.dtype}"
    table, quarter = np.array(quarter_wave(fraction), np.int64), 2 << fraction
    place = phase % quarter
    place = np.where(phase // quarter % 2, quarter - place, place)  # the second and fourth quarter run backwards
    return np.where(phase // (2 * quarter) % 2, -table[place], table[place])


def cosine(phase: ArrayLike, fraction: int) -> NDArray[np.int64]:
    """The sine a quarter further."""
    return sine(np.asarray(phase) + (2 << fraction), fraction)


def omega(own: ArrayLike, before: ArrayLike, fraction: int) -> NDArray[np.int64]:
    """Omega(a, b) in units of 2**-(2F - 1), without rounding: the product of a sine and a cosine."""
    return sine(own, fraction) * cosine(before, fraction)


def fusion(
    sums: ArrayLike, shift: ArrayLike, own: ArrayLike, before: ArrayLike, *, leak: int, threshold: int, fraction: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Spikes, and phases 0 .. 2**(F+3) - 1 of the membranes that are passed on, element by element.

    sums: accumulators in units of 2**-(F + shift); shift may be negative. own, before: a and b, phases. leak: in
    units of 2**-LEAK_BITS, 0..1. threshold: V in units of 2**-F. The product is rounded to the nearest, the current
    down. Golden function of :class:`onespike.hw.engine.fusion.FusionUnit`.
    """
    sums, shift = np.asarray(sums), np.asarray(shift)
    for name, value in (("sums", sums), ("shift", shift)):
        assert np.issubdtype(value.dtype, np.integer), f"{name} must hold integers, not {value.dtype}"
    assert 0 <= leak <= 1 << LEAK_BITS, f"leak must be in 0..{1 << LEAK_BITS}, not {leak}"
    assert threshold > 0, f"threshold must be positive, not {threshold}"
    assert fraction >= 1, f"fraction must be at least 1, not {fraction}"
    current = (sums.astype(np.int64) << np.maximum(-shift, 0)) >> np.maximum(shift, 0)
    away = fraction - 1 + LEAK_BITS  # from the product's unit to the membrane's
    carried = (leak * omega(own, before, fraction) + (1 << (away - 1))) >> away
    membrane = current + carried
    spikes = membrane >= threshold
    return spikes, (membrane - threshold * spikes) % (1 << (fraction + TURN))
