# SPDX-License-Identifier: Apache-2.0
"""torch's pools: maxima, averages, means and sums over windows of a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import Pool
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

    def op_mean(self, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
        pool = self._global("sum", "a mean", x, dim)
        return self.builder.average_pool(x, pool, math.prod(pool.kernel), self.where)

    def op_sum(self, x: Value, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
        return self.builder.average_pool(x, self._global("sum", "a sum", x, dim), 1.0, self.where)

    def op_amax(self, x: Value, dim: Any = (), keepdim: bool = False) -> Value:
        return self.builder.max_pool(x, self._global("max", "a maximum", x, dim), self.where)

    def _global(self, kind: str, what: str, x: Value, dim: Any) -> Pool:
        """The pool over a whole map."""
        rank = self.ranks[0]
        axes = {axis % rank for axis in ([dim] if isinstance(dim, int) else dim or [])}
        if axes != set(range(2, rank)) or not axes:
            raise OneSpikeError(f"{what} is supported over height and width together only")
        kernel = (x.shape[1], x.shape[2])
        return Pool(kind=kind, kernel=kernel, stride=kernel)


def shares(size: int, windows: Sequence[tuple[int, int]]) -> np.ndarray:
    """The share of each of `size` places in the average of each window (first, end); places outside hold zeros."""
    table = np.zeros((len(windows), size))
    for row, (first, end) in zip(table, windows, strict=True):
        row[max(0, first) : min(size, end)] = 1 / (end - first)
    return table
