# SPDX-License-Identifier: Apache-2.0
"""How a node's sums become values: whole counts, or the levels of a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..errors import OneSpikeError
from ..frontend.curve import Curve
from ..frontend.graph import Graph, Node
from ..network.levels import MOST_LEVELS, Levels, nearest
from ..network.spec import Layer

SHORT = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48)  # each of them one event of the multiples 1, 3 and 5
FRACTION = 1  # bits behind the point of a table's thresholds: the middle of two whole levels has one
CURVED = 4  # and of those of a curve
MOST_SUM = 4095  # counts: where a sum ends, as thresholds have to


def rounded(values: np.ndarray, groups: int, table: Levels | None, to_nearest: bool = True, low: int = 0) -> np.ndarray:
    """Values [...] in units of one count, or level, as counts low..groups or as levels; in their own float type."""
    if table is None:
        return np.clip(np.floor(values + values.dtype.type(0.5 if to_nearest else 0.0)), low, groups)
    return table(np.ldexp(values, table.fraction))


def shared(node: Node) -> bool:
    """Whether all channels must count in one step: their activation ends, or bends, at the same real number."""
    if node.curve is not None:
        return not node.curve.homogeneous
    return node.signed and node.floor is not None


def least(node: Node, step: np.ndarray, groups: int) -> int:
    """The least count of a node with counts up to `groups`, worth `step` [channels]."""
    if node.staircase is not None:
        return node.staircase.low
    if not node.signed:
        return 0
    if node.floor is None:
        return -groups - 1 if node.curve is None else -max(1, math.ceil(node.curve.alpha * groups - 1e-9))
    most = groups + 1 if node.curve is None else MOST_LEVELS - 1 - groups
    return -min(most, max(1, round(-node.floor / float(step.max()))))


def most_groups(node: Node) -> int:
    """The most counts above 0 that a table of the node's activation holds."""
    if node.curve is None:
        return 4095
    if node.curve.kind == "leak":
        return max(1, math.floor((MOST_LEVELS - 1) / (1 + node.curve.alpha)) - 1)
    return (MOST_LEVELS - 1) // 2


def ends(node: Node, step: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The sums [channels], in counts, below and above which a node's value stays the same."""
    low, high = np.full(node.channels, least(node, step, groups)), np.full(node.channels, groups)
    if node.curve is None:
        return low, high
    first, last = (node.curve.inverse((end + off) * step) / step for end, off in ((low, 0.5), (high, -0.5)))
    return np.clip(np.floor(first - 1), -MOST_SUM, low), np.clip(np.ceil(last + 1), high, MOST_SUM)


def curve_levels(curve: Curve, low: int, groups: int, step: float, to_nearest: bool, places: int) -> Levels:
    """The table of counts low..groups of `curve` of a sum in counts, of which each is worth `step`.

    Thresholds are the sums at which the curve reaches the middle between two counts, in up to CURVED of the binary
    `places` that sums have. OneSpikeError where two of them are the same.
    """
    known = range(low, groups + 1)
    middles = np.array(known[1:]) - (0.5 if to_nearest else 0.0)
    sums = np.clip(curve.inverse(middles * step) / step, -MOST_SUM, MOST_SUM)
    fraction = min(CURVED, places)
    ends_ = [int(end) for end in np.rint(np.ldexp(sums, fraction))]
    # Levels that no sum can reach still need thresholds of their own.
    for index in range(len(ends_) - 2, -1, -1):
        ends_[index] = min(ends_[index], ends_[index + 1] - (1 if sums[index] <= -MOST_SUM else 0))
    return Levels(tuple(known), tuple(ends_), fraction)


def with_curve(layer: Layer, curve: Curve, step: float, to_nearest: bool) -> Layer:
    """The same layer, made for counts without a half in its biases, whose counts are those of `curve` of its sums."""
    table = curve_levels(curve, layer.low, layer.groups, step, to_nearest, int(layer.shift.min()))
    return dataclasses.replace(layer, shift=layer.shift - table.fraction, levels=table)


def coarse(table: Levels, fraction: int) -> Levels:
    """The table with at most so many fraction bits; sums then end at the next whole number above a threshold."""
    spare = table.fraction - fraction
    if spare <= 0:
        return table
    return Levels(table.levels, tuple(-(-threshold >> spare) for threshold in table.thresholds), fraction)


def with_levels(layer: Layer, table: Levels) -> Layer:
    """The same layer, made for counts without a half in its biases, with levels instead.

    Its shifts end as many bits earlier as the thresholds have behind the point, or as its channels have.
    """
    table = coarse(table, int(layer.shift.min()))
    return dataclasses.replace(
        layer, shift=layer.shift - table.fraction, groups=table.top, low=table.low, levels=table
    )  # fmt: skip


def places(layer: Layer) -> np.ndarray:
    """Binary places int [channels] behind the point of a firing layer's sums, in units of one count or level."""
    return layer.shift.astype(int) + (0 if layer.levels is None else layer.levels.fraction)


def values_of(layer: Layer, sums: np.ndarray) -> np.ndarray:
    """What a firing layer fires for whole sums [n, H, W, C], in their own float type, before its pool."""
    at = np.floor(np.ldexp(sums, -layer.shift.astype(np.int32)))
    return np.clip(at, layer.low, layer.groups) if layer.levels is None else layer.levels(at)


def levels_by_layer(graph: Graph, levels: str | Sequence[int] | Levels, to_nearest: bool = True) -> dict[str, Levels]:
    """The table of every node with a ReLU that has no staircase; none where levels are uniform."""
    if isinstance(levels, str):
        if levels not in ("uniform", "short"):
            raise OneSpikeError(f"levels must be 'uniform', 'short' or a list of whole levels, not {levels!r}.")
        if levels == "uniform":
            return {}
        levels = SHORT  # where no activations are known that `short_choice` could choose by
    if isinstance(levels, Levels):
        table = levels
    else:
        known = tuple(levels) if 0 in levels else (0, *levels)
        table = nearest(known, FRACTION)
        table = table if to_nearest else Levels(known, known[1:])
    if table.low < 0:
        raise OneSpikeError(f"levels must begin at 0 behind a ReLU, not at {table.low}; leave the negative ones out.")
    return {node.name: table for node in graph.nodes if takes_levels(node)}


def takes_levels(node: Node) -> bool:
    """Whether the node may fire by a table of free levels: a ReLU without a staircase."""
    return node.fires and not node.exact and node.staircase is None and not node.signed and node.curve is None
