# SPDX-License-Identifier: Apache-2.0
"""Single-spike phase coding (Hwang and Kung): a neuron spikes once, at a phase p of 1..T, or stays silent.

A spike of phase p is worth Q**-p, Q the base. With F bits behind the point and Q of the *output*

    V[p] = round(2**F Q**-p)        TH[p] = round(2**F Q**-p (Q + 1) / (2 Q))        p = 1..T
    p_out = min{p : acc >= TH[p]}, else silent                  TH[p]: the middle of V[p] and the next phase's value

Phase 0 stands for silence here. The parallel form has seen all inputs before it decides: its priority encoder is a
search among rising thresholds, the table of `model/network/levels.py`, and that is the hardware.

The streaming form decides earlier. In step t of 1..T + w inputs of phase t arrive, and then the neuron tests phase
q = t - w: inputs of later phases are missing. With w >= T none are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SILENT = 0


def values(base: float, phases: int, bits: int) -> NDArray[np.int64]:
    """V[p] for p = 1..T, falling."""
    return np.array([round(2**bits * base**-p) for p in range(1, phases + 1)], np.int64)


def thresholds(base: float, phases: int, bits: int) -> NDArray[np.int64]:
    """TH[p] for p = 1..T, falling."""
    middle = (base + 1) / (2 * base)
    return np.array([round(2**bits * base**-p * middle) for p in range(1, phases + 1)], np.int64)


def round_code(x: ArrayLike, base: float, phases: int) -> NDArray[np.int64]:
    """The phase of real numbers x by rounding -log_Q x: 1 for large ones, SILENT for those beyond phase T + 1/2.

    What the paper encodes known values with. Its borders Q**-(p + 1/2) lie a little below the neuron's thresholds.
    """
    x = np.asarray(x, np.float64)
    with np.errstate(divide="ignore"):
        places = np.rint(-np.log(np.maximum(x, 0.0)) / np.log(base))
    return np.where(places > phases, SILENT, np.maximum(places, 1)).astype(np.int64)


def phase(acc: ArrayLike, limits: ArrayLike) -> NDArray[np.int64]:
    """The phase that sums fire at, 1..T, or SILENT, element by element; limits: TH, falling.

    Equals :func:`onespike.model.neurons.levels.levels`, whose number of a level counts from the last phase on.
    """
    acc, limits = np.asarray(acc), np.asarray(limits)
    assert np.issubdtype(acc.dtype, np.integer), f"acc must hold integers, not {acc.dtype}"
    assert len(limits) and np.all(limits[1:] < limits[:-1]), f"thresholds must fall: {limits.tolist()}"
    reached = acc[..., None] >= limits
    first = reached.argmax(-1) + 1
    return np.where(reached.any(-1), first, SILENT).astype(np.int64)


class Streamed(NamedTuple):
    """Of the streaming form: the phases fired, and which of them are late or false spikes.

    late: fired after the phase of the parallel form (or not at all); false: before it, or where that one is silent.
    """

    phases: NDArray[np.int64]
    late: NDArray[np.bool_]
    false: NDArray[np.bool_]


def streamed(arrived: ArrayLike, limits: ArrayLike, wait: int) -> Streamed:
    """The same neuron in steps: arrived [T, ...] are its sums, bias included, once the inputs of phase t are in.

    limits: TH, as many as steps, falling; wait: w of 0..T phases between an input's last arrival and the decision. A
    step beyond T has all that step T has.
    """
    arrived, limits = np.asarray(arrived), np.asarray(limits)
    total = len(limits)
    assert len(arrived) == total, f"sums of {total} steps are needed, not of {len(arrived)}"
    assert wait >= 0, f"wait must not be negative, not {wait}"
    fired = np.zeros(arrived.shape[1:], np.int64)
    for place in range(1, total + 1):
        seen = arrived[min(place + wait, total) - 1]
        fired = np.where((fired == SILENT) & (seen >= limits[place - 1]), place, fired)
    exact = phase(arrived[-1], limits)
    # Silence is the latest of all.
    order, wanted = (np.where(p == SILENT, total + 1, p) for p in (fired, exact))
    return Streamed(fired, order > wanted, order < wanted)


def pipelined(images: int, phases: int, wait: int, layers: int) -> int:
    """Phases until the last of N images has left a pipeline of L layers: N (T + w) + w (L - 1)."""
    return images * (phases + wait) + wait * (layers - 1)
