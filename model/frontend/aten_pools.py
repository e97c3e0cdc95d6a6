# SPDX-License-Identifier: Apache-2.0
"""torch's pools: maxima, averages, means and sums over windows of a map."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import Pool
from . import arrange
from .affine import Value
from .aten_base import Context, pair, spatial


class Pools(Context):
    """The operations over windows."""

    def _pool(self, kind: str, x: Value, kernel: Any, stride: Any, padding: Any) -> Pool:
        """A pool with the size torch computed, which `ceil_mode` rounds up: further padding at the end says so."""
        rank = self.ranks[0]
        sides = spatial(kernel, rank, 1)
        steps = sides if stride in (None, [], ()) else spatial(stride, rank, 1)
        before = spatial(padding, rank, 0)
        out = (self.result_shape[-2] if rank == 4 else 1, self.result_shape[-1])
        extra = [
            max(0, (out[axis] - 1) * steps[axis] + sides[axis] - x.shape[1 + axis] - before[axis]) for axis in (0, 1)
        ]
        return Pool(kind=kind, kernel=sides, stride=steps, padding=(before[0], extra[0], before[1], extra[1]))

    def op_max_pool2d(
        self, x: Value, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Value:
        if pair(dilation) != (1, 1):
            raise OneSpikeError("a dilated max pool is not supported; use dilation 1")
        return self.builder.max_pool(x, self._pool("max", x, kernel, stride, padding), self.where)

    op_max_pool1d = op_max_pool2d

    def op_max_pool2d_with_indices(self, *args: Any, **options: Any) -> tuple[Value]:
        return (self.op_max_pool2d(*args, **options),)

    def op_avg_pool2d(
        self,
        x: Value,
        kernel: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        pool = self._pool("sum", x, kernel, stride, padding)
        before = spatial(padding, self.ranks[0], 0)
        tables = []
        for axis in (0, 1):
            size, edge = x.shape[1 + axis], before[axis] if count_include_pad else 0
            count = (size + before[axis] + pool.padding[2 * axis + 1] - pool.kernel[axis]) // pool.stride[axis] + 1
            starts = [i * pool.stride[axis] - before[axis] for i in range(count)]
            windows = [(max(s, -edge), min(s + pool.kernel[axis], size + edge)) for s in starts]
            tables.append(shares(size, windows))
        places = [np.unique([1 / row[row > 0][0] for row in table]) for table in tables]
        if divisor_override is not None:
            return self.builder.average_pool(x, pool, divisor_override, self.where)
        if all(found.size == 1 for found in places):
            return self.builder.average_pool(x, pool, float(places[0][0] * places[1][0]), self.where)
        return self.builder.uneven_pool(x, *tables)

    op_avg_pool1d = op_avg_pool2d

    def _adaptive(self, x: Value, size: Any) -> tuple[int, int] | None:
        """The kernel of an adaptive pool, or None where its windows differ."""
        out = spatial(size, self.ranks[0], 1)
        if x.shape[1] % out[0] or x.shape[2] % out[1]:
            return None
        return x.shape[1] // out[0], x.shape[2] // out[1]

    def op_adaptive_avg_pool2d(self, x: Value, size: Any) -> Value:
        kernel = self._adaptive(x, size)
        if kernel is not None:
            pool = Pool(kind="sum", kernel=kernel, stride=kernel)
            return self.builder.average_pool(x, pool, math.prod(kernel), self.where)
        tables = []
        for whole, out in zip(x.shape[1:], spatial(size, self.ranks[0], 1), strict=True):
            tables.append(shares(whole, [(i * whole // out, -(-(i + 1) * whole // out)) for i in range(out)]))
        return self.builder.uneven_pool(x, *tables)

    op_adaptive_avg_pool1d = op__adaptive_avg_pool2d = op_adaptive_avg_pool2d

    def op_adaptive_max_pool2d(self, x: Value, size: Any) -> tuple[Value]:
        kernel = self._adaptive(x, size)
        if kernel is None:
            raise OneSpikeError(
                f"an adaptive max pool from {x.shape[1]}x{x.shape[2]} to {'x'.join(map(str, self.result_shape[-2:]))} "
                f"has uneven windows; use MaxPool2d"
            )
        return (self.builder.max_pool(x, Pool(kind="max", kernel=kernel, stride=kernel), self.where),)

    op_adaptive_max_pool1d = op_adaptive_max_pool2d

    def op_mean(self, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
        return self.reduced("mean", x, dim, keepdim)

    def op_sum(self, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
        return self.reduced("sum", x, dim, keepdim)

    def op_amax(self, x: Value, dim: Any = (), keepdim: bool = False) -> Value:
        return self.reduced("maximum", x, dim, keepdim)

    def op_max(self, x: Value, dim: Any = None, keepdim: bool = False) -> tuple[Value]:
        return (self.reduced("maximum", x, dim, keepdim),)

    def reduced(self, kind: str, x: Value, dim: Any, keepdim: bool) -> Value:
        """The mean, sum or maximum over axes of the map as the user sees it: whole maps, or all of their rows or
        columns."""
        rank = self.ranks[0]
        axes = sorted({axis % rank for axis in ([dim] if isinstance(dim, int) else dim or [])})
        wrong = OneSpikeError(f"a {kind} is supported over places of a map, its height, width or both, only")
        if not axes or not axes[0]:
            raise wrong
        if any(x.padding):
            if axes != list(range(2, rank)):
                raise wrong
            windows, table = (x.shape[1], x.shape[2]), None
        else:
            windows, table = self._windows(x, [axis - 1 for axis in axes], keepdim, wrong)
            x = dataclasses.replace(x, view=None, flat=False)
        pool = Pool(kind="max" if kind == "maximum" else "sum", kernel=windows, stride=windows)
        if kind == "maximum":
            result = self.builder.max_pool(x, pool, self.where)
        else:
            divisor = math.prod(windows) if kind == "mean" else 1
            result = self.builder.average_pool(x, pool, divisor, self.where)
        return result if table is None else arrange.seen(result, table)

    def _windows(
        self, x: Value, axes: Sequence[int], keepdim: bool, wrong: OneSpikeError
    ) -> tuple[tuple[int, int], np.ndarray]:
        """Height and width of the windows that axes (without the batch) stand for, and the places of the result."""
        channels, height, width = x.shape
        shape = self.source_shape[1:] or {2: (math.prod(x.shape),), 3: (channels, width), 4: x.shape}[self.ranks[0]]
        places = np.arange(math.prod(x.shape)) if x.view is None else x.view
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        groups = places.reshape(shape).transpose(*kept, *axes)
        groups = np.sort(groups.reshape(*groups.shape[: len(kept)], -1), axis=-1)
        first = groups[..., :1]
        for kernel in ((height, width), (1, width), (height, 1)):
            steps = (np.arange(kernel[0])[:, None] * width + np.arange(kernel[1])).reshape(-1)
            if steps.size == groups.shape[-1] and (groups == first + steps).all():
                break
        else:
            raise wrong
        row, column = first[..., 0] // width % height // kernel[0], first[..., 0] % width // kernel[1]
        size = (height // kernel[0], width // kernel[1])
        table = (first[..., 0] // (height * width) * size[0] + row) * size[1] + column
        return kernel, np.expand_dims(table, tuple(axes)) if keepdim else table


def shares(size: int, windows: Sequence[tuple[int, int]]) -> np.ndarray:
    """The share of each of `size` places in the average of each window (first, end); places outside hold zeros."""
    table = np.zeros((len(windows), size))
    for row, (first, end) in zip(table, windows, strict=True):
        row[max(0, first) : min(size, end)] = 1 / (end - first)
    return table
