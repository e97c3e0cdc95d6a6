# SPDX-License-Identifier: Apache-2.0
"""The meaning of each torch operation that the importer knows, in terms of `affine.Value`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import affine
from .affine import Builder, Value
from .errors import OneSpikeError
from .spec import Pool

# Operations that do not change values: `dropout` in eval mode becomes a clone.
TRANSPARENT = {"alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy", "_to_copy", "to", "type_as"}
RESHAPES = {"view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten", "view_copy"}
CLASSIFIERS = {"softmax", "_softmax", "log_softmax", "_log_softmax", "argmax"}
NEAREST = {
    "sigmoid": "ReLU or a ceiling such as ReLU6", "tanh": "ReLU or a ceiling such as ReLU6", "gelu": "ReLU",
    "silu": "ReLU", "hardswish": "ReLU6", "hardsigmoid": "ReLU6", "leaky_relu": "ReLU", "elu": "ReLU", "prelu": "ReLU",
    "softmax": "softmax only as the last operation", "_softmax": "softmax only as the last operation",
    "_native_batch_norm_legit_functional": "module.eval() before the import: batch norm is in training mode",
    "_native_batch_norm_legit": "batch norm with running statistics",
    "native_dropout": "module.eval() before the import: dropout is in training mode",
    "native_layer_norm": "batch norm", "layer_norm": "batch norm", "native_group_norm": "batch norm",
    "group_norm": "batch norm", "instance_norm": "batch norm", "conv_transpose2d": "Conv2d",
    "permute": "the order (channels, height, width)", "transpose": "the order (channels, height, width)",
}  # fmt: skip


def pair(value: Any) -> tuple[int, int]:
    """(height, width) of torch's int, [a] or [a, b]; one axis (Conv1d) lies along the width."""
    values = [value, value] if isinstance(value, int) else list(value)
    return (int(values[0]), int(values[-1])) if len(values) == 2 else (1, int(values[0]))


def spatial(value: Any, rank: int, one: int) -> tuple[int, int]:
    """As `pair`; where the tensor has three axes an int counts for the width alone and the height takes `one`."""
    if rank == 3:
        return one, int(value if isinstance(value, int) else value[-1])
    return pair(value * 2 if isinstance(value, (list, tuple)) and len(value) == 1 else value)


def per_channel(constant: Any, value: Value) -> np.ndarray:
    """A constant that torch would broadcast over (N, C, H, W), or (N, F), as one float64 per channel."""
    array = np.asarray(constant, np.float64)
    if array.size == 1:
        return np.full(value.shape[0], array.reshape(()))
    channels, height, width = value.shape
    flat = value.flat or ((height, width) == (1, 1) and array.shape[-1] == channels)
    if flat and array.shape[-1] == channels * height * width and array.size == array.shape[-1]:
        table = array.reshape(channels, -1)
        if (table == table[:, :1]).all():
            return table[:, 0]
    else:
        full = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim < 4 else array
        if full.shape[0] == 1 and full.shape[1] in (1, channels):
            table = np.broadcast_to(full[0], value.shape).reshape(channels, -1)
            if (table == table[:, :1]).all():
                return table[:, 0].copy()
    raise OneSpikeError("a constant that differs from place to place is not supported; only one number per channel")


class Operations:
    """One method per torch operation: arguments are `Value`s and constants (float64 tensors, numbers, lists).

    shape: the shape torch gives the operation's input and result, for reshapes and rounding of pools.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.where = ""
        self.name = ""
        self.ranks: tuple[int, ...] = ()
        self.result_shape: tuple[int, ...] = ()

    def find(self, kind: str) -> Callable[..., Value] | None:
        """The method for an operation, or None."""
        return getattr(self, f"op_{kind.rstrip('_')}", None)

    # -- sums ---------------------------------------------------------------------------------------------------

    def op_conv2d(
        self,
        x: Value,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Value:
        rank = weight.ndim
        weights = np.asarray(weight, np.float64)
        if rank == 3:
            weights = weights[:, :, None, :]
        out, inner, kernel_h, kernel_w = weights.shape
        gaps = spatial(dilation, rank, 1)
        if isinstance(padding, str):
            total = [0, 0] if padding == "valid" else [gaps[0] * (kernel_h - 1), gaps[1] * (kernel_w - 1)]
            around = (total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2)
        else:
            high, wide = spatial(padding, rank, 0)
            around = (high, high, wide, wide)
        if groups > 1:
            dense = np.zeros((out, inner * groups, kernel_h, kernel_w))
            for group in range(groups):
                rows = slice(group * out // groups, (group + 1) * out // groups)
                dense[rows, group * inner : (group + 1) * inner] = weights[rows]
            weights = dense
        offset = np.zeros(out) if bias is None else np.asarray(bias, np.float64)
        return self.builder.convolve(
            x, weights, offset, stride=spatial(stride, rank, 1), padding=around, dilation=gaps, origin=self.name
        )

    op_conv1d = op_conv2d

    def op_linear(self, x: Value, weight: Any, bias: Any = None) -> Value:
        weights = np.asarray(weight, np.float64)
        channels, height, width = x.shape
        if weights.shape[1] != channels * height * width or not (x.flat or (height, width) == (1, 1)):
            raise OneSpikeError("a linear layer along one axis of a map is not supported; flatten the map first")
        offset = np.zeros(len(weights)) if bias is None else np.asarray(bias, np.float64)
        kernel = weights.reshape(-1, channels, height, width)
        return self.builder.convolve(dataclasses.replace(x, flat=False), kernel, offset, origin=self.name)

    def op_addmm(self, bias: Any, x: Value, weight: Any, beta: float = 1, alpha: float = 1) -> Value:
        return self.op_linear(x, np.asarray(weight).T * alpha, np.asarray(bias) * beta)

    def op_mm(self, x: Value, weight: Any) -> Value:
        return self.op_linear(x, np.asarray(weight).T)

    op_matmul = op_mm

    def op__native_batch_norm_legit_no_training(
        self, x: Value, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
    ) -> tuple[Value]:
        one = np.ones(x.shape[0])
        factor = (one if weight is None else np.asarray(weight)) / np.sqrt(np.asarray(var) + eps)
        shift = (0 * one if bias is None else np.asarray(bias)) - np.asarray(mean) * factor
        return (affine.scale(x, factor, shift),)

    def op_add(self, x: Any, y: Any, alpha: float = 1) -> Value:
        if isinstance(x, Value) and isinstance(y, Value):
            y = affine.scale(y, alpha, 0.0) if alpha != 1 else y
            joined = affine.add(x, y)
            return joined if joined.origin else dataclasses.replace(joined, origin=self.name)
        if isinstance(x, Value):
            return affine.scale(x, 1.0, per_channel(np.asarray(y) * alpha, x))
        return affine.scale(y, alpha, per_channel(x, y))

    def op_sub(self, x: Any, y: Any, alpha: float = 1) -> Value:
        return self.op_add(x, y, alpha=-alpha)

    def op_rsub(self, x: Any, y: Any, alpha: float = 1) -> Value:
        return self.op_add(y, x, alpha=-alpha)

    def op_neg(self, x: Value) -> Value:
        return affine.scale(x, -1.0, 0.0)

    def op_mul(self, x: Any, y: Any) -> Value:
        if isinstance(x, Value) and isinstance(y, Value):
            raise OneSpikeError("two activations are multiplied; only constants may be factors")
        value, constant = (x, y) if isinstance(x, Value) else (y, x)
        return affine.scale(value, per_channel(constant, value), 0.0)

    def op_div(self, x: Any, y: Any) -> Value:
        if isinstance(y, Value):
            raise OneSpikeError("a division by an activation is not supported; only constants may be divisors")
        return affine.scale(x, 1 / per_channel(y, x), 0.0)

    # -- activations --------------------------------------------------------------------------------------------

    def op_relu(self, x: Value) -> Value:
        return self._clip(x, None)

    def op_relu6(self, x: Value) -> Value:
        return self._clip(x, 6.0)

    def op_hardtanh(self, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
        return self.op_clamp(x, low, high)

    def op_clamp(self, x: Value, min: Any = None, max: Any = None) -> Value:
        if min is None or float(min) != 0:
            raise OneSpikeError(f"it clamps from {min}; only from 0 is a spike count, so use clamp(0, ceiling) or ReLU")
        if max is not None and not float(max) > 0:
            raise OneSpikeError(f"it clamps to {max}, which leaves nothing; the ceiling must be positive")
        return self._clip(x, None if max is None or math.isinf(float(max)) else float(max))

    def op_clamp_min(self, x: Value, min: Any) -> Value:
        return self.op_clamp(x, min)

    def op_clamp_max(self, x: Value, max: Any) -> Value:
        if not x.unsigned:
            raise OneSpikeError("it clamps from above only; use clamp(0, ceiling) or ReLU first")
        return self.op_clamp(x, 0, max)

    op_minimum = op_clamp_max

    def _clip(self, x: Value, ceiling: float | None) -> Value:
        return self.builder.activate(x if x.origin else dataclasses.replace(x, origin=self.name), ceiling, self.where)

    # -- pools --------------------------------------------------------------------------------------------------

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
        before, size = spatial(padding, self.ranks[0], 0), x.shape[1:]
        extra = (pool.padding[1], pool.padding[3])
        divisors = set()
        edges = [pad if count_include_pad else 0 for pad in before]
        for y in range(-before[0], size[0] + extra[0] - pool.kernel[0] + 1, pool.stride[0]):
            for z in range(-before[1], size[1] + extra[1] - pool.kernel[1] + 1, pool.stride[1]):
                high = min(y + pool.kernel[0], size[0] + edges[0]) - max(y, -edges[0])
                wide = min(z + pool.kernel[1], size[1] + edges[1]) - max(z, -edges[1])
                divisors.add(high * wide if divisor_override is None else divisor_override)
        if len(divisors) != 1:
            raise OneSpikeError(
                "the windows at the border are divided by fewer places than the others (ceil_mode or "
                "count_include_pad=False); use windows that fit the map"
            )
        return self.builder.average_pool(x, pool, divisors.pop(), self.where)

    op_avg_pool1d = op_avg_pool2d

    def _adaptive(self, x: Value, size: Any) -> tuple[int, int]:
        out = spatial(size, self.ranks[0], 1)
        if x.shape[1] % out[0] or x.shape[2] % out[1]:
            raise OneSpikeError(
                f"an adaptive pool from {x.shape[1]}x{x.shape[2]} to {out[0]}x{out[1]} has uneven windows"
            )
        return x.shape[1] // out[0], x.shape[2] // out[1]

    def op_adaptive_avg_pool2d(self, x: Value, size: Any) -> Value:
        kernel = self._adaptive(x, size)
        pool = Pool(kind="sum", kernel=kernel, stride=kernel)
        return self.builder.average_pool(x, pool, math.prod(kernel), self.where)

    op_adaptive_avg_pool1d = op__adaptive_avg_pool2d = op_adaptive_avg_pool2d

    def op_adaptive_max_pool2d(self, x: Value, size: Any) -> tuple[Value]:
        kernel = self._adaptive(x, size)
        return (self.builder.max_pool(x, Pool(kind="max", kernel=kernel, stride=kernel), self.where),)

    def op_mean(self, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        rank = self.ranks[0]
        axes = {axis % rank for axis in ([dim] if isinstance(dim, int) else dim or [])}
        if axes != set(range(2, rank)) or not axes:
            raise OneSpikeError("a mean is supported over height and width together only")
        kernel = (x.shape[1], x.shape[2])
        return self.builder.average_pool(
            x, Pool(kind="sum", kernel=kernel, stride=kernel), math.prod(kernel), self.where
        )

    # -- geometry -----------------------------------------------------------------------------------------------

    def op_pad(self, x: Value, amounts: Sequence[int], mode: str = "constant", value: Any = None) -> Value:
        if mode != "constant" or value not in (None, 0):
            raise OneSpikeError(
                f"padding with {mode if mode != 'constant' else value!r} is not supported; pad with zeros"
            )
        amounts = [*amounts, *[0] * (8 - len(amounts))]
        if self.ranks[0] == 3:  # (N, C, L): no height
            amounts = [*amounts[:2], 0, 0, *amounts[2:6]]
        left, right, top, bottom, first, last, *batch = amounts
        if any(batch) or min(first, last) < 0:
            raise OneSpikeError(f"padding by {amounts} is not supported; pad height, width and channels only")
        if first or last:
            matrix = np.zeros((first + x.shape[0] + last, x.shape[0]))
            matrix[first : first + x.shape[0]] = np.eye(x.shape[0])
            x = affine.rows(x, matrix)
        return affine.pad(x, (top, bottom, left, right)) if any((left, right, top, bottom)) else x

    op_constant_pad_nd = op_pad

    def op_slice(self, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
        dim %= self.ranks[0]
        axis = dim if self.ranks[0] == 4 else {0: 0, 1: 1, 2: 3}[dim]
        if x.flat or axis == 0:
            raise OneSpikeError("slicing the batch or a flattened map is not supported")
        size = x.shape[axis - 1]
        places = range(*slice(start, end, step).indices(size))
        if axis == 1:
            return affine.rows(x, np.eye(size)[list(places)])
        if places == range(0, size, step):
            return affine.subsample(x, (step, 1) if axis == 2 else (1, step)) if step > 1 else x
        raise OneSpikeError("cropping a map is not supported; only slices such as [:, :, ::2, ::2] are")

    def op_cat(self, values: Sequence[Any], dim: int = 0) -> Value:
        if dim % self.ranks[0] != 1 or not all(isinstance(value, Value) for value in values):
            raise OneSpikeError("only the channels of activations can be concatenated (dim=1)")
        return affine.concatenate(list(values))

    def reshape(self, x: Value) -> Value:
        """Flattening, its reverse, and axes of size one."""
        shape = self.result_shape
        if any(x.padding):
            raise OneSpikeError("flattening after padding is not supported")
        if len(shape) == 2 and shape[1] == math.prod(x.shape):
            return dataclasses.replace(x, flat=x.shape[1:] != (1, 1))
        if (shape[1:] if len(shape) == 4 else (*shape[1:2], 1, *shape[2:])) == x.shape:
            return dataclasses.replace(x, flat=False)
        raise OneSpikeError(
            f"a reshape to {list(shape)} is not supported; only flattening (channels, height, width) is"
        )
