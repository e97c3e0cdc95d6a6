# SPDX-License-Identifier: Apache-2.0
"""How a node's sums become values: whole counts, or the levels of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..network.levels import Levels, nearest
from ..network.spec import Layer

SHORT = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48)  # each of them one event of the multiples 1, 3 and 5
FRACTION = 1  # bits behind the point of a table's thresholds: the middle of two whole levels has one


def rounded(values: np.ndarray, groups: int, levels: Sequence[int] | None, to_nearest: bool = True) -> np.ndarray:
    """Values [...] in units of one count, or one level, as counts 0..groups, or as levels; in their own float type."""
    half = values.dtype.type(0.5 if to_nearest else 0.0)
    if levels is None:
        return np.clip(np.floor(values + half), 0, groups)
    known = np.array(levels, values.dtype)
    ends = known[1:] if not to_nearest else (known[:-1] + known[1:]) / 2
    return known[np.searchsorted(ends, values, side="right")]


def with_levels(layer: Layer, levels: Sequence[int], to_nearest: bool) -> Layer:
    """The same layer, made for counts without a half in its biases, with levels instead.

    Its shifts end FRACTION bits earlier, or as many as its channels have.
    """
    fraction = min(FRACTION, int(layer.shift.min()))
    table = nearest(levels, fraction)
    if not to_nearest:
        table = Levels(tuple(levels), tuple(level << fraction for level in levels[1:]), fraction)
    return dataclasses.replace(layer, shift=layer.shift - fraction, groups=table.top, low=table.low, levels=table)


def places(layer: Layer) -> np.ndarray:
    """Binary places int [channels] behind the point of a firing layer's sums, in units of one count or level."""
    return layer.shift.astype(int) + (0 if layer.levels is None else layer.levels.fraction)


def values_of(layer: Layer, sums: np.ndarray) -> np.ndarray:
    """What a firing layer fires for whole sums [n, H, W, C], in their own float type, before its pool."""
    at = np.floor(np.ldexp(sums, -layer.shift.astype(np.int32)))
    if layer.levels is None:
        return np.clip(at, layer.low, layer.groups)
    known = np.array(layer.levels.levels, sums.dtype)
    return known[np.searchsorted(np.array(layer.levels.thresholds, sums.dtype), at, side="right")]


def levels_by_layer(graph: Graph, levels: str | Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The levels of every firing node that is not a copy and has no staircase; none where they are uniform."""
    if isinstance(levels, str):
        if levels not in ("uniform", "short"):
            raise OneSpikeError(f"levels must be 'uniform', 'short' or a list of whole levels, not {levels!r}.")
        if levels == "uniform":
            return {}
        levels = SHORT
    known = nearest(levels if 0 in levels else (0, *levels)).levels
    if known[0] < 0:
        raise OneSpikeError(f"levels must begin at 0 behind a ReLU, not at {known[0]}; leave the negative ones out.")
    return {node.name: known for node in graph.nodes if node.fires and not node.exact and node.staircase is None}
