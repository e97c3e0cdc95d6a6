# SPDX-License-Identifier: Apache-2.0
"""The base of phase coding: the Q whose code comes closest to real activations (Hwang and Kung, Fig. 6).

Mean absolute percentage error of values x that are coded as Q**-p, p = 1..T, with thresholds in the middle:

    MAPE = mean over all x of |x - code(x)| / x where 0 < x <= 1, and 0 elsewhere

A value too small for phase T is silent and counts in full. Values up to 0 are exact, those above 1 are none of the
code's: with x from N(0, 1) that gives the paper's minima, 3.06 % at Q = 1.28 for T = 16 and 2.17 % at 1.20 for T = 24.
Activations are brought to 0..1 by their channel's maximum (eq. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node, activate, clipped
from .rounding import takes_levels

BASES = tuple(round(1 + 0.01 * step, 2) for step in range(5, 101))  # 1.05 .. 2.00
CUBE_ROOT = 2 ** (1 / 3)
PREFERRED = 1.05  # times the least error: a cube root that is no worse makes all levels one event
OCTAVE = 256  # bins of a factor of two
OCTAVES = 32  # below 1; what is smaller still counts as silent
IMAGES = 64  # that activations are looked at on


@dataclass(frozen=True, eq=False)
class Activations:
    """counts [bins]: how many values lie in 2**-((i + 1) / OCTAVE) .. 2**-(i / OCTAVE); total: of all values."""

    counts: np.ndarray
    total: int


def normal() -> Activations:
    """The standard normal distribution, as if it had a million values."""
    edges = 2 ** (-np.arange(OCTAVES * OCTAVE + 1) / OCTAVE)
    middles = (edges[1:] + edges[:-1]) / 2
    return Activations(1e6 * np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi) * -np.diff(edges), 10**6)


def activations(graph: Graph, images: np.ndarray) -> Activations:
    """All outputs of ReLUs that have no steps of their own, divided by their channel's maximum over the images.

    images: float [n, C, H, W], of which some are taken, spread evenly. OneSpikeError where there is nothing above 0.
    """
    images = images[:: -(-len(images) // IMAGES)]
    tops: dict[str, np.ndarray] = {}
    counts, total = np.zeros(OCTAVES * OCTAVE, np.int64), 0

    def most(node: Node, sums: np.ndarray) -> np.ndarray:
        if takes_levels(node):
            found = clipped(node, sums).max((0, 1, 2))
            tops[node.name] = np.maximum(tops.get(node.name, 0), found)
        return activate(node, sums)

    def bins(node: Node, sums: np.ndarray) -> np.ndarray:
        nonlocal total
        if takes_levels(node):
            values = clipped(node, sums) / np.where(tops[node.name] > 0, tops[node.name], 1)
            total += values.size
            place = np.floor(-np.log2(values[values > 0]) * OCTAVE).astype(np.int64).clip(0, len(counts) - 1)
            counts[:] += np.bincount(place, minlength=len(counts))
        return activate(node, sums)

    for gather in (most, bins):
        for index in range(len(images)):  # one image a call: threads do not share what is gathered
            graph.run(images[index : index + 1], np.float32, gather)
    if not counts.any():
        raise OneSpikeError("No ReLU gives a value above 0 on these images; give images of the training data.")
    return Activations(counts.astype(np.float64), total)


def error(values: Activations, base: float, phases: int) -> float:
    """MAPE, as a share, of one base."""
    x = 2 ** (-(np.arange(len(values.counts)) + 0.5) / OCTAVE)
    worth = base ** -np.arange(phases, 0, -1.0)
    fired = np.concatenate([[0.0], worth])[np.searchsorted(worth * (base + 1) / (2 * base), x, side="right")]
    return float((values.counts * np.abs(x - fired) / x).sum() / values.total)


def errors(values: Activations, phases: int, bases: Sequence[float] = BASES) -> np.ndarray:
    """MAPE of every base [bases]."""
    return np.array([error(values, base, phases) for base in bases])


def choose(values: Activations, phases: int, bases: Sequence[float] = (*BASES, CUBE_ROOT)) -> float:
    """The base with the least error; the cube root of 2 where it is among them, at most PREFERRED times as wrong."""
    found = errors(values, phases, bases)
    if CUBE_ROOT in bases and error(values, CUBE_ROOT, phases) <= PREFERRED * found.min():
        return CUBE_ROOT
    return float(bases[int(found.argmin())])
