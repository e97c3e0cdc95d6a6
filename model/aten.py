# SPDX-License-Identifier: Apache-2.0
"""The meaning of each torch operation that the importer knows, in terms of `affine.Value`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import affine, arrange
from .affine import Value
from .builder import Builder
from .errors import OneSpikeError
from .graph import Staircase
from .spec import INPUT, Pool

INTEGERS = {"quint8": (0, 255), "qint8": (-128, 127), "uint8": (0, 255), "int8": (-128, 127)}
MAX_GROUPS = 4095  # the most spikes of a value, as in `converter.groups_by_layer`

# Operations that do not change values: `dropout` in eval mode becomes a clone.
TRANSPARENT = {"alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy", "_to_copy", "to", "type_as"}
RESHAPES = {"view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten", "view_copy"}
# Operations that only move numbers about; all of them are run on the numbers of the places.
REARRANGES = RESHAPES | {
    "permute", "transpose", "t", "movedim", "slice", "narrow", "select", "split", "split_with_sizes", "chunk", "flip",
    "index_select", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "expand",
    "upsample_nearest1d", "upsample_nearest2d",
}  # fmt: skip
# Operations on each number by itself: they follow a rounding that waits for its clamp, and maps in any order.
ELEMENTWISE = {
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "minimum", "maximum", "threshold", "mul", "div",
    "add", "sub", "rsub", "neg", "floor", "round", "gt", "ge", "lt", "le", "where",
}  # fmt: skip
LINEAR = {"linear", "addmm", "mm", "matmul"}
CLASSIFIERS = {"softmax", "_softmax", "log_softmax", "_log_softmax", "argmax", "sigmoid"}
NEAREST = {
    "sigmoid": "ReLU or a ceiling such as ReLU6", "tanh": "ReLU or a ceiling such as ReLU6", "gelu": "ReLU",
    "silu": "ReLU", "hardswish": "ReLU6", "hardsigmoid": "ReLU6", "leaky_relu": "ReLU", "elu": "ReLU", "prelu": "ReLU",
    "softmax": "softmax only as the last operation", "_softmax": "softmax only as the last operation",
    "_native_batch_norm_legit_functional": "module.eval() before the import: batch norm is in training mode",
    "_native_batch_norm_legit": "batch norm with running statistics",
    "native_dropout": "module.eval() before the import: dropout is in training mode",
    "native_layer_norm": "batch norm", "layer_norm": "batch norm", "native_group_norm": "batch norm",
    "group_norm": "batch norm", "instance_norm": "batch norm", "conv_transpose2d": "Conv2d",
    "upsample_bilinear2d": "nearest upsampling in front of a linear layer", "_prelu_kernel": "ReLU",
    "celu": "ReLU", "selu": "ReLU", "softplus": "ReLU", "log_sigmoid": "ReLU", "mish": "ReLU", "glu": "ReLU",
    "rrelu": "ReLU", "hardshrink": "ReLU", "softshrink": "ReLU", "abs": "ReLU", "exp": "ReLU",
    "scaled_dot_product_attention": "a convolution", "bmm": "a linear layer with constant weights",
    "embedding": "a linear layer on one-hot inputs", "lstm": "a convolution", "gru": "a convolution",
    "conv3d": "Conv2d", "max_pool3d": "MaxPool2d", "avg_pool3d": "AvgPool2d",
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


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Whether `value` lies above (else below) `limit`; at the limit both sides of the choice are equal."""

    value: Value
    limit: float
    above: bool


class Operations:
    """One method per torch operation: arguments are `Value`s and constants (float64 tensors, numbers, lists).

    where, name: of the operation in hand, for nodes and messages. ranks: axes of its sources. source_shape,
    result_shape: of its first source and its result, the batch included; the first may be left out.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.where = ""
        self.name = ""
        self.ranks: tuple[int, ...] = ()
        self.source_shape: tuple[int, ...] = ()
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
        offset = np.zeros(len(weights)) if bias is None else np.asarray(bias, np.float64)
        if len(self.source_shape) > 2:
            return self._along(x, weights, offset)
        kernel = arrange.linear_kernel(x, weights)
        shape = (x.shape[0], *kernel.shape[2:])
        whole = dataclasses.replace(x, shape=shape, averages=None, view=None, flat=False)
        return self.builder.convolve(whole, kernel, offset, origin=self.name)

    def _along(self, x: Value, weights: np.ndarray, offset: np.ndarray) -> Value:
        """A linear layer along the user's last axis, in which the channels must lie."""
        last = self.rearrange(x, lambda numbers: np.moveaxis(numbers, -1, 1))
        if not isinstance(last, Value) or last.view is not None:
            raise OneSpikeError("a linear layer along one axis of a map is not supported; flatten the map first")
        result = self.builder.convolve(last, weights[:, :, None, None], offset, origin=self.name)
        shape = (len(weights), *self.source_shape[1:-1])
        places = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1)
        return arrange.seen(result, places)

    def op_addmm(self, bias: Any, x: Value, weight: Any, beta: float = 1, alpha: float = 1) -> Value:
        return self.op_linear(x, np.asarray(weight, np.float64).T * alpha, np.asarray(bias, np.float64) * beta)

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
            x, y = self.builder.clamped(x, self.where), self.builder.clamped(y, self.where)
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
        if max is not None and min is None and (x.unsigned or (x.rounding is not None and x.rounding.positive)):
            min = 0
        if min is None or float(min) != 0:
            raise OneSpikeError(f"it clamps from {min}; only from 0 is a spike count, so use clamp(0, ceiling) or ReLU")
        if max is not None and not float(max) > 0:
            raise OneSpikeError(f"it clamps to {max}, which leaves nothing; the ceiling must be positive")
        return self._clip(x, None if max is None or math.isinf(float(max)) else float(max))

    def op_threshold(self, x: Value, threshold: float, value: float) -> Value:
        if (threshold, value) != (0, 0):
            raise OneSpikeError("a threshold other than (0, 0) is not supported; use ReLU")
        return self._clip(x, None)

    def op_clamp_min(self, x: Value, min: Any) -> Value:
        return self.op_clamp(x, min)

    def op_clamp_max(self, x: Value, max: Any) -> Value:
        if isinstance(x, Value) and not x.unsigned and (x.rounding is None or not x.rounding.positive):
            raise OneSpikeError("it clamps from above only; use clamp(0, ceiling) or ReLU first")
        return self.op_clamp(x, 0, max)

    def op_minimum(self, x: Any, y: Any) -> Value:
        return self.op_clamp_max(*self._with_number(x, y))

    def op_maximum(self, x: Any, y: Any) -> Value:
        return self.op_clamp(*self._with_number(x, y))

    def _with_number(self, x: Any, y: Any) -> tuple[Value, float]:
        value, constant = (x, y) if isinstance(x, Value) else (y, x)
        if isinstance(constant, Value) or np.unique(np.asarray(constant)).size != 1:
            raise OneSpikeError("only one number can be the other side of a minimum or maximum; use a max pool")
        return value, float(np.asarray(constant).reshape(-1)[0])

    def op_gt(self, x: Any, y: Any) -> Comparison:
        return Comparison(*self._with_number(x, y), above=isinstance(x, Value))

    def op_lt(self, x: Any, y: Any) -> Comparison:
        return Comparison(*self._with_number(x, y), above=not isinstance(x, Value))

    op_ge, op_le = op_gt, op_lt

    def op_where(self, condition: Any, x: Any, y: Any) -> Value:
        """where(v > c, c, v) and the like: a clamp."""
        if isinstance(condition, Comparison):
            value, limit = condition.value, condition.limit
            high, low = (x, y) if condition.above else (y, x)
            for kept, other, bounded in ((low, high, self.op_clamp_max), (high, low, self.op_clamp_min)):
                if kept is value and not isinstance(other, Value) and (np.asarray(other) == limit).all():
                    return bounded(value, limit)
        raise OneSpikeError(
            "only the choice between an activation and one number is supported, as in a clamp; use clamp"
        )

    def op_floor(self, x: Value) -> Value:
        return self.builder.round(x, "floor")

    def op_round(self, x: Value, decimals: int = 0) -> Value:
        if decimals:
            raise OneSpikeError("rounding to decimals is not supported; scale, round to whole numbers and scale back")
        return self.builder.round(x, "half even")

    def _quantised(self, x: Value, step: Any, zero: Any, low: int, high: int) -> Value:
        """step * (clip(round(x / step) + zero, low, high) - zero)."""
        x = self.builder.clamped(x, self.where)
        steps = np.asarray(step, np.float64).reshape(-1)
        zeros = np.unique(np.asarray(zero, np.float64))
        if not (np.isfinite(steps).all() and (steps > 0).all()):
            raise OneSpikeError(
                f"its scale is {steps.min():g}; a scale must be a positive number, so calibrate it again"
            )
        if all(term.tensor == INPUT for term in x.terms) and x.pointwise and zeros.size == 1:
            return self.builder.quantise_image(x, steps, float(zeros[0]), low, high)
        if zeros.size != 1 or zeros[0] != low:
            raise OneSpikeError(
                f"its activation is signed (zero point {zeros[0]:g} in {low}..{high}), but a spike count is not; "
                f"quantise behind a ReLU with zero point {low}"
            )
        if steps.size not in (1, x.shape[0]):
            raise OneSpikeError(f"it has {steps.size} scales for {x.shape[0]} channels; use one, or one per channel")
        if high - low > MAX_GROUPS:
            raise OneSpikeError(
                f"it has {high - low + 1} levels, more than the {MAX_GROUPS + 1} of a spike count; use 12 bits or fewer"
            )
        x = x if x.origin else dataclasses.replace(x, origin=self.name)
        stairs = Staircase(step=np.broadcast_to(steps, x.shape[:1]).copy(), groups=int(high - low))
        return self.builder.quantise(x, stairs, self.where)

    def op_quantize_per_tensor(self, x: Value, scale: Any, zero: Any, *span: Any, dtype: Any = None) -> Value:
        low, high = span[:2] if len(span) > 1 else INTEGERS[str(span[0] if span else dtype).removeprefix("torch.")]
        return self._quantised(x, scale, zero, int(low), int(high))

    def op_quantize_affine(
        self, x: Value, block: Any, scale: Any, zero: Any, dtype: Any, low: Any = None, high: Any = None
    ) -> Value:
        least, most = INTEGERS[str(dtype).removeprefix("torch.")]
        return self._quantised(x, scale, zero, int(least if low is None else low), int(most if high is None else high))

    def op_dequantize(self, x: Value, *options: Any, **settings: Any) -> Value:
        return x

    op_dequantize_per_tensor = op_dequantize_affine = op_dequantize

    def op_fake_quantize_per_tensor_affine(self, x: Value, scale: Any, zero: Any, low: int, high: int) -> Value:
        return self._quantised(x, scale, zero, low, high)

    def op_fake_quantize_per_tensor_affine_cachemask(self, x: Value, *settings: Any) -> tuple[Value]:
        return (self._quantised(x, *settings),)

    def op__fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
        self, x: Value, scale: Any, zero: Any, enabled: Any, low: int, high: int
    ) -> tuple[Value]:
        return (self._quantised(x, scale, zero, low, high),)

    def op_fake_quantize_per_channel_affine(
        self, x: Value, scale: Any, zero: Any, axis: int, low: int, high: int
    ) -> Value:
        if axis != 1:
            raise OneSpikeError(
                f"it has a scale for every place of axis {axis}; only channels (axis 1) can have their own"
            )
        return self._quantised(x, scale, zero, low, high)

    def _clip(self, x: Value, ceiling: float | None) -> Value:
        if x.rounding is not None:
            return self.builder.clamp_rounded(x, ceiling, self.where)
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
        before = spatial(padding, self.ranks[0], 0)
        shares = []
        for axis in (0, 1):
            size, edge = x.shape[1 + axis], before[axis] if count_include_pad else 0
            count = (size + before[axis] + pool.padding[2 * axis + 1] - pool.kernel[axis]) // pool.stride[axis] + 1
            starts = [i * pool.stride[axis] - before[axis] for i in range(count)]
            windows = [(max(s, -edge), min(s + pool.kernel[axis], size + edge)) for s in starts]
            shares.append(_shares(size, windows))
        places = [np.unique([1 / row[row > 0][0] for row in table]) for table in shares]
        if divisor_override is not None:
            return self.builder.average_pool(x, pool, divisor_override, self.where)
        if all(found.size == 1 for found in places):
            return self.builder.average_pool(x, pool, float(places[0][0] * places[1][0]), self.where)
        return self.builder.uneven_pool(x, *shares)

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
        shares = []
        for whole, out in zip(x.shape[1:], spatial(size, self.ranks[0], 1), strict=True):
            shares.append(_shares(whole, [(i * whole // out, -(-(i + 1) * whole // out)) for i in range(out)]))
        return self.builder.uneven_pool(x, *shares)

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
        def cut(numbers: np.ndarray) -> np.ndarray:
            return numbers[(slice(None),) * (dim % numbers.ndim) + (slice(start, end, step),)]

        result = self.rearrange(x, cut)
        assert isinstance(result, Value)
        return result

    def op_cat(self, values: Sequence[Any], dim: int = 0) -> Value:
        if dim % self.ranks[0] != 1 or not all(isinstance(value, Value) for value in values):
            raise OneSpikeError("only the channels of activations can be concatenated (dim=1)")
        return affine.concatenate(list(values))

    def reshape(self, x: Value) -> Value:
        """The value in the shape `result_shape`."""
        result = self.rearrange(x, lambda numbers: numbers.reshape(self.result_shape))
        assert isinstance(result, Value)
        return result

    def rearrange(
        self, x: Value, function: Callable[[np.ndarray], np.ndarray | Sequence[np.ndarray]]
    ) -> Value | tuple[Value, ...]:
        """The value after `function`, which moves the numbers of an array of `source_shape` about."""
        if any(x.padding):
            raise OneSpikeError("reshaping or slicing after padding is not supported; pad right before a convolution")
        shape = self.source_shape
        if not shape:  # not told: one image, in as many axes as the operation's source has
            size = {2: (math.prod(x.shape),), 3: (x.shape[0], x.shape[2]), 4: x.shape}[self.ranks[0]]
            shape = (1, *(size if x.view is None else x.view.shape))
        return arrange.rearrange(x, shape, function)


def _shares(size: int, windows: Sequence[tuple[int, int]]) -> np.ndarray:
    """The share of each of `size` places in the average of each window (first, end); places outside hold zeros."""
    table = np.zeros((len(windows), size))
    for row, (first, end) in zip(table, windows, strict=True):
        row[max(0, first) : min(size, end)] = 1 / (end - first)
    return table
