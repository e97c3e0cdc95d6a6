# SPDX-License-Identifier: Apache-2.0
"""ONNX's windows and pools: kernel, strides and pads of convolutions and pools, and what the pools compute."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import Pool
from . import affine
from .affine import Padding
from .aten_pools import shares
from .onnx_base import OnnxContext, Tensor, activation


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What pads, kernel and strides of an ONNX convolution or pool come to: (height, width) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: Padding


def plane(values: Sequence[int] | None, rank: int, one: int) -> tuple[int, int]:
    """(height, width) of an ONNX list with one entry per axis; maps of one axis lie along the width."""
    if values is None:
        return one, one
    if len(values) != rank - 2:
        raise OneSpikeError(f"{list(values)} does not have one entry for each of {rank - 2} axes")
    return (one, int(values[0])) if rank == 3 else (int(values[0]), int(values[1]))


def frame(
    x: Tensor,
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Frame:
    """The frame of a kernel over `x`; `ceil_mode` becomes padding at the end."""
    if x.rank not in (3, 4):
        raise OneSpikeError("only maps of one or two axes, (N, C, L) and (N, C, H, W), are supported here")
    sides, steps, gaps = plane(kernel, x.rank, 1), plane(strides, x.rank, 1), plane(dilations, x.rank, 1)
    size = x.shape[2:] if x.rank == 4 else (1, x.shape[2])
    reach = [gaps[axis] * (sides[axis] - 1) + 1 for axis in (0, 1)]
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max(0, (-(-size[axis] // steps[axis]) - 1) * steps[axis] + reach[axis] - size[axis]) for axis in (0, 1)
        ]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    elif auto_pad in ("NOTSET", "VALID"):
        ends = [0] * (2 * (x.rank - 2)) if pads is None or auto_pad == "VALID" else [int(p) for p in pads]
        before, after = list(plane(ends[: x.rank - 2], x.rank, 0)), list(plane(ends[x.rank - 2 :], x.rank, 0))
    else:
        raise OneSpikeError(f"auto_pad {auto_pad!r} is not supported")
    for axis in (0, 1) if ceil_mode else ():
        span = size[axis] + before[axis] + after[axis] - reach[axis]
        windows = -(-span // steps[axis]) + 1
        if (windows - 1) * steps[axis] >= size[axis] + before[axis]:  # it would begin behind the map
            windows -= 1
        after[axis] += max(0, (windows - 1) * steps[axis] - span)
    return Frame(kernel=sides, stride=steps, dilation=gaps, padding=(before[0], after[0], before[1], after[1]))


class Pools(OnnxContext):
    """The operations over windows."""

    def op_MaxPool(self, x: Any, *, kernel_shape: Any, storage_order: int = 0, **window: Any) -> Tensor:
        x = activation(x)
        place = frame(x, kernel_shape, **window)
        if place.dilation != (1, 1):
            raise OneSpikeError("a dilated max pool is not supported; use dilation 1")
        pool = Pool(kind="max", kernel=place.kernel, stride=place.stride, padding=place.padding)
        return Tensor(self.builder.max_pool(x.value, pool, self.where), x.rank)

    def op_AveragePool(self, x: Any, *, kernel_shape: Any, count_include_pad: int = 0, **window: Any) -> Tensor:
        x = activation(x)
        place = frame(x, kernel_shape, **window)
        if place.dilation != (1, 1):
            raise OneSpikeError("a dilated average pool is not supported; use dilation 1")
        plain = frame(x, kernel_shape, **(window | {"ceil_mode": 0}))  # what ceil_mode adds never counts
        edges = plain.padding if count_include_pad else affine.NO_PADDING
        size = x.shape[2:] if x.rank == 4 else (1, x.shape[2])
        tables, sides = [], []
        for axis in (0, 1):
            first, last = -place.padding[2 * axis], size[axis] + place.padding[2 * axis + 1] - place.kernel[axis]
            low, high = -edges[2 * axis], size[axis] + edges[2 * axis + 1]
            starts = range(first, last + 1, place.stride[axis])
            windows = [(max(s, low), min(s + place.kernel[axis], high)) for s in starts]
            tables.append(shares(size[axis], windows))
            sides.append({end - begin for begin, end in windows})
        if len(sides[0]) > 1 or len(sides[1]) > 1:  # those at the border are divided by fewer places than the others
            return Tensor(self.builder.uneven_pool(x.value, *tables), x.rank)
        pool = Pool(kind="sum", kernel=place.kernel, stride=place.stride, padding=place.padding)
        divisor = sides[0].pop() * sides[1].pop()
        return Tensor(self.builder.average_pool(x.value, pool, divisor, self.where), x.rank)

    def op_LpPool(self, x: Any, *, kernel_shape: Any, p: int = 2, **window: Any) -> Tensor:
        x = activation(x)
        place = frame(x, kernel_shape, **window)
        if p != 1 or not self.builder.unsigned(x.value) or place.dilation != (1, 1):
            raise OneSpikeError("only the sum of values that are not negative is supported: p=1 after a Relu")
        pool = Pool(kind="sum", kernel=place.kernel, stride=place.stride, padding=place.padding)
        return Tensor(self.builder.average_pool(x.value, pool, 1, self.where), x.rank)

    def op_GlobalAveragePool(self, x: Any) -> Tensor:
        return self._whole_map("mean", activation(x))

    def op_GlobalMaxPool(self, x: Any) -> Tensor:
        return self._whole_map("max", activation(x))

    def _whole_map(self, kind: str, x: Tensor) -> Tensor:
        if x.rank not in (3, 4):
            raise OneSpikeError("a global pool needs a map of one or two axes")
        kernel = (x.shape[2], x.shape[3]) if x.rank == 4 else (1, x.shape[2])
        pool = Pool(kind="max", kernel=kernel, stride=kernel)
        if kind == "max":
            return Tensor(self.builder.max_pool(x.value, pool, self.where), x.rank)
        divisor = math.prod(kernel) if kind == "mean" else 1
        pool = dataclasses.replace(pool, kind="sum")
        return Tensor(self.builder.average_pool(x.value, pool, divisor, self.where), x.rank)

    def op_ReduceMean(self, x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return self._reduced("mean", activation(x), axes, keepdims)

    def op_ReduceSum(self, x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return self._reduced("sum", activation(x), axes, keepdims)

    def op_ReduceMax(self, x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        return self._reduced("maximum", activation(x), axes, keepdims)

    def _reduced(self, kind: str, x: Tensor, axes: Any, keepdims: int) -> Tensor:
        """A pool over whole maps, or all of their rows or columns."""
        chosen = [] if axes is None else [int(axis) for axis in np.asarray(axes).reshape(-1)]
        self.torch.source_shape = x.shape
        rank = x.rank if keepdims else x.rank - len(chosen)
        return Tensor(self.torch.reduced(kind, x.value, chosen, bool(keepdims)), rank)
