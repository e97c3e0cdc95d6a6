# SPDX-License-Identifier: Apache-2.0
"""What a node fires, in torch: counts, counts with a sign, and the levels of a curve, with smooth gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..convert.converter import Conversion
from ..convert.quantise import nearest
from ..convert.rounding import coarse, curve_levels, least
from ..frontend.curve import Curve
from ..frontend.graph import Node
from .events import Price, fire, pay


def passed(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, exactly, with the gradient of `value`."""
    return rounded.detach() + (value - value.detach())


def fired(node: Node, sums: Tensor, step: Tensor, groups: int, places: int, to_nearest: bool) -> Tensor:
    """The values of whole sums [N, C, H, W] in units of one count, worth step [channels]; before the pool.

    places: binary ones that the shifts of all channels have; to_nearest: whether a curve is rounded so.
    """
    worth = step.detach().numpy()
    low = least(node, worth, groups)
    if node.curve is None:
        return passed(sums, sums.floor()).clamp(low, groups)
    table = curve_levels(node.curve, low, groups, float(worth[0]), to_nearest, places)
    ends = torch.tensor(np.ldexp(np.array(table.thresholds, np.float32), -table.fraction))
    known = torch.tensor(table.levels, dtype=sums.dtype)
    scale = step.float().view(1, -1, 1, 1)
    smooth = (bent(sums * scale, node.curve) / scale).clamp(low, groups)
    return passed(smooth, known[torch.searchsorted(ends, sums.detach().contiguous(), right=True)])


def fire_node(
    node: Node, sums: Tensor, step: Tensor, conversion: Conversion, places: int, price: Price | None
) -> tuple[Tensor, Tensor]:
    """The values of whole sums, as `fired`, and their events per MAC, where they have a price."""
    groups, table = conversion.groups[node.name], conversion.levels.get(node.name)
    if table is None and not node.signed and node.curve is None:
        return fire(sums, groups, price)
    if table is not None:
        table = coarse(table, places)
        ends = torch.tensor(np.ldexp(np.array(table.thresholds, np.float32), -table.fraction))
        known = torch.tensor(table.levels, dtype=sums.dtype)
        values = known[torch.searchsorted(ends, sums.detach().contiguous(), right=True)]
        counts = passed(sums.clamp(0, groups), values)
    else:
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
    return value if node.floor is None and node.ceiling is None else value.clamp(node.floor, node.ceiling)
