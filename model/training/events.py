# SPDX-License-Identifier: Apache-2.0
"""Counts with a gradient, and a price on the events that the engine makes of them.

Forward, the price is what `operations.count` counts: events of every value (codes.py, multiples 1, 3 and 5) times the
output channels and taps that read it, per dense MAC. Backward, the events of whole counts are joined by straight lines:
a value between 0 and 1 is drawn to 0, one between 6 and 7 to 6, one between 7 and 8 to 8, where 7 takes two events, 6
and 8 one. Values in between counts are as frequent as those that rounding takes from one to the other, so that slope is
what the events change by on the mean, when sums move by little.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..network import codes as coding
from ..network.operations import cover, dense_macs
from ..network.spec import INPUT, SpikeNet
from ..network.storage import hidden

PART = 4  # of a batch's images, one in so many is priced: a good estimate for a quarter of the work


class Price:
    """Events per dense MAC of one tensor's counts.

    shares: float32 [H, W], what one event of an image's value adds to events per MAC. table: events of the values
    low..top, those between two levels of a table on the straight line; slopes: by which they change from one whole
    number to the next, 0 below low and from the top on, for low - 1..top; means: of both slopes beside each value.
    """

    def __init__(self, shares: np.ndarray, values: np.ndarray, events: np.ndarray) -> None:
        self.low, self.top = int(values[0]), int(values[-1])
        table = np.interp(np.arange(self.low, self.top + 1), values, events)
        self.shares = torch.tensor(shares, dtype=torch.float32)
        self.table = torch.tensor(table, dtype=torch.float32)
        self.slopes = torch.tensor([0, *np.diff(table), 0], dtype=torch.float32)
        self.means = (self.slopes[1:] + self.slopes[:-1]) / 2

    def events(self, counts: Tensor) -> Tensor:
        """Events per MAC of whole counts [N, C, H, W], the mean over the images."""
        found = looked_up(self.table, counts - self.low)
        return (found.sum((0, 1)) * self.shares).sum() / len(counts)

    def slope(self, real: Tensor) -> Tensor:
        """How `events` change with each of the values [N, C, H, W], in counts that need not be whole."""
        found = looked_up(self.slopes, real.floor().clamp_(self.low - 1, self.top).sub_(self.low - 1))
        return found.mul_(self.shares / len(real))

    def mean_slope(self, counts: Tensor) -> Tensor:
        """The mean of the slopes on both sides of each of the whole counts [N, C, H, W]."""
        return looked_up(self.means, counts - self.low).mul_(self.shares / len(counts))


def priced_of(tensor: Tensor) -> Tensor:
    """The images of a batch [N, C, H, W] that are priced."""
    return tensor[: -(-len(tensor) // PART)]


def inside_and_paid(grad: Tensor, cost: Tensor, inside: Tensor, slope: Tensor | None = None) -> Tensor:
    """The gradient of sums from that of the values that they became, where they lie inside the clamp, and from what the
    first of them cost, if slope says how that changes with them.
    """
    found = grad * inside
    if slope is not None:
        found[: len(slope)].addcmul_(slope, cost)
    return found


def looked_up(table: Tensor, index: Tensor) -> Tensor:
    """table[index], index [N, C, H, W] in the memory format of the networks' tensors."""
    flat = index.permute(0, 2, 3, 1)
    return table.index_select(0, flat.reshape(-1).int()).view(flat.shape).permute(0, 3, 1, 2)


def prices(net: SpikeNet, multiples: tuple[int, ...] = coding.MULTIPLES[-1]) -> dict[str, Price]:
    """The price of every tensor but the image, whose events training cannot change."""
    macs = sum(dense_macs(net, layer) for layer in net.layers)
    shares = {name: np.zeros(shape[1:]) for name, shape in net.shapes.items()}
    for layer in net.layers:
        _, height, width = net.conv_shapes[layer.name]
        for source in layer.sources:
            top, _, left, _ = source.padding
            if source.up != (1, 1):  # a copy: all of its places read the same one, or one of them does
                shares[source.tensor] += source.fan_out * (math.prod(source.up) if source.held else 1)
                continue
            (_, _, *kernel), (rows, columns) = source.weights.shape, shares[source.tensor].shape
            tall = cover(rows, kernel[0], [y * source.stride[0] - top for y in range(height)], source.dilation[0])
            wide = cover(columns, kernel[1], [x * source.stride[1] - left for x in range(width)], source.dilation[1])
            shares[source.tensor] += source.fan_out * np.outer(tall, wide)
    read = [name for name, share in shares.items() if name != INPUT and share.any()]
    found = {}
    for name in read:
        layer, (low, top) = net.by_name[name], net.ranges[name]
        held = hidden(net, layer, multiples)
        summed = layer.pool is not None and layer.pool.kind == "sum"
        values = np.arange(low, top + 1) if layer.levels is None or summed else np.array(layer.levels.levels)
        found[name] = Price(
            shares[name] / macs, values, coding.spikes(values, held.code, held.top, multiples, held.levels)
        )
    return found


class _Fire(torch.autograd.Function):
    """Counts of sums, and what they cost. The gradient is 1 inside the clamp, 0 outside."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, groups: int, price: Price | None) -> tuple[Tensor, Tensor]:
        floored = sums.floor()
        counts = floored.clamp(0, groups)
        inside = floored.eq_(counts)
        if price is None:
            ctx.save_for_backward(inside)
            return counts, sums.new_zeros(())
        slope = price.slope(priced_of(sums) - 0.5)  # counts change at whole sums
        ctx.save_for_backward(inside, slope)
        return counts, price.events(priced_of(counts))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, counts: Tensor, cost: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return inside_and_paid(counts, cost, *ctx.saved_tensors), None, None


class _Pay(torch.autograd.Function):
    """What whole counts cost, with the mean slope on both sides of each."""

    @staticmethod
    def forward(ctx: Any, counts: Tensor, price: Price) -> Tensor:
        priced = priced_of(counts)
        slope = torch.zeros_like(counts)
        slope[: len(priced)] = price.mean_slope(priced)
        ctx.save_for_backward(slope)
        return price.events(priced)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cost: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return ctx.saved_tensors[0] * cost, None


def fire(sums: Tensor, groups: int, price: Price | None = None) -> tuple[Tensor, Tensor]:
    """Counts clip(floor(sums), 0, groups) [N, C, H, W] with the gradient of the clip, and their events per MAC."""
    return _Fire.apply(sums, groups, price)


def pay(counts: Tensor, price: Price) -> Tensor:
    """Events per MAC of whole counts [N, C, H, W], such as the sums of a pool."""
    return _Pay.apply(counts, price)
