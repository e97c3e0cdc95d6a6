# SPDX-License-Identifier: Apache-2.0
"""What a node fires, in torch: counts, counts with a sign, and the levels of a curve, with smooth gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..convert.converter import Conversion
from ..convert.quantise import nearest
from ..convert.rounding import coarse, curve_levels, least
from ..frontend.curve import Curve
from ..frontend.graph import Node
from ..network.levels import Levels
from .events import Price, fire, inside_and_paid, looked_up, pay, priced_of

LONGEST = 1 << 20  # entries of a table with one for every sum; of more, thresholds are searched


def passed(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, exactly, with the gradient of `value`."""
    return rounded.detach() + (value - value.detach())


def levels_of(table: Levels, sums: Tensor) -> Tensor:
    """The table's values of whole sums [N, C, H, W]: one for each threshold that a sum reaches, and the least."""
    first, last = table.thresholds[0], table.thresholds[-1]
    if last - first < LONGEST:  # a sum finds its level in one step, from one below the first threshold to the last
        every = table(np.arange(first - 1, last + 1, dtype=np.float32))
        index = (sums * 2**table.fraction).floor_().clamp_(first - 1, last).sub_(first - 1)
        return looked_up(torch.from_numpy(every), index)
    ends = torch.tensor(np.ldexp(np.array(table.thresholds, np.float32), -table.fraction))
    return torch.tensor(table.levels, dtype=sums.dtype)[torch.searchsorted(ends, sums.contiguous(), right=True)]


class _Levels(torch.autograd.Function):
    """Levels of sums, and what they cost. The gradient is 1 inside the clamp, 0 outside; the cost's is the mean of the
    slopes beside each value, 0 outside, too.
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, groups: int, table: Levels, price: Price | None) -> tuple[Tensor, Tensor]:
        inside, counts = sums.clamp(0, groups).eq_(sums), levels_of(table, sums)
        if price is None:
            ctx.save_for_backward(inside)
            return counts, sums.new_zeros(())
        priced = priced_of(counts)
        ctx.save_for_backward(inside, price.mean_slope(priced).mul_(priced_of(inside)))
        return counts, price.events(priced)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, counts: Tensor, cost: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return inside_and_paid(counts, cost, *ctx.saved_tensors), None, None, None


def fired(node: Node, sums: Tensor, step: Tensor, groups: int, places: int, to_nearest: bool) -> Tensor:
    """The values of whole sums [N, C, H, W] in units of one count, worth step [channels]; before the pool.

    places: binary ones that the shifts of all channels have; to_nearest: whether a curve is rounded so.
    """
    worth = step.detach().numpy()
    low = least(node, worth, groups)
    if node.curve is None:
        return passed(sums, sums.floor()).clamp(low, groups)
    table = curve_levels(node.curve, low, groups, float(worth[0]), to_nearest, places)
    scale = step.float().view(1, -1, 1, 1)
    smooth = (bent(sums * scale, node.curve) / scale).clamp(low, groups)
    return passed(smooth, levels_of(table, sums.detach()))


def fire_node(
    node: Node, sums: Tensor, step: Tensor, conversion: Conversion, places: int, price: Price | None
) -> tuple[Tensor, Tensor]:
    """The values of whole sums, as `fired`, and their events per MAC, where they have a price."""
    groups, table = conversion.groups[node.name], conversion.levels.get(node.name)
    if table is None and not node.signed and node.curve is None:
        return fire(sums, groups, price)
    if table is not None:
        return _Levels.apply(sums, groups, coarse(table, places), price)
    counts = fired(node, sums, step, groups, places, nearest(node, conversion.arithmetic))
    return counts, sums.new_zeros(()) if price is None else pay(counts, price)


def bent(value: Tensor, curve: Curve) -> Tensor:
    """`Curve.__call__` of a tensor."""
    if curve.kind == "tanh":
        return value.tanh()
    below = value.clamp(max=0)
    return value.clamp(min=0) + curve.alpha * (below.expm1() if curve.kind == "elu" else below)


def activated(value: Tensor, node: Node) -> Tensor:
    """`graph.clipped` of a tensor."""
    value = value if node.curve is None else bent(value, node.curve)
    if node.floor == 0 and node.ceiling is None:
        return value.relu()  # in less time than a clamp, above all backward
    return value if node.floor is None and node.ceiling is None else value.clamp(node.floor, node.ceiling)
