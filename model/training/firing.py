# SPDX-License-Identifier: Apache-2.0
"""What a node fires, in torch: counts, counts with a sign, and the levels of a curve, with smooth gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..convert.rounding import curve_levels, least
from ..frontend.curve import Curve
from ..frontend.graph import Node


def passed(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, exactly, with the gradient of `value`."""
    return rounded.detach() + (value - value.detach())


def fired(node: Node, sums: Tensor, step: Tensor, groups: int, places: int, nearest: bool) -> Tensor:
    """The values of whole sums [N, C, H, W] in units of one count, worth step [channels]; before the pool.

    places: binary ones that the shifts of all channels have; nearest: whether a curve is rounded so.
    """
    worth = step.detach().numpy()
    low = least(node, worth, groups)
    if node.curve is None:
        return passed(sums, sums.floor()).clamp(low, groups)
    table = curve_levels(node.curve, low, groups, float(worth[0]), nearest, places)
    ends = torch.tensor(np.ldexp(np.array(table.thresholds, np.float32), -table.fraction))
    known = torch.tensor(table.levels, dtype=sums.dtype)
    scale = step.float().view(1, -1, 1, 1)
    smooth = (bent(sums * scale, node.curve) / scale).clamp(low, groups)
    return passed(smooth, known[torch.searchsorted(ends, sums.detach().contiguous(), right=True)])


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
