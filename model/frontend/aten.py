# SPDX-License-Identifier: Apache-2.0
"""The meaning of each torch operation that the importer knows, in terms of `affine.Value`: sums and geometry here,
activations and pools in files of their own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import affine, arrange
from .affine import Value
from .aten_activations import Activations, Comparison
from .aten_base import spatial
from .aten_pools import Pools
from .layout import Moved, of_image, view_of
from .own_cost import Work

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
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "minimum", "maximum", "threshold",
    "leaky_relu", "prelu", "_prelu_kernel", "abs", "elu", "selu", "celu", "tanh", "sigmoid", "hardsigmoid", "mul",
    "div", "add", "sub", "rsub", "neg", "floor", "round", "gt", "ge", "lt", "le", "where", "masked_fill",
}  # fmt: skip
LINEAR = {"linear", "addmm", "mm", "matmul"}
# Operations that only rewrite a sum, and those that also put sums side by side or move their numbers about.
SUMS = {
    "add", "sub", "rsub", "neg", "mul", "div", "_native_batch_norm_legit_no_training", "getitem", "avg_pool1d",
    "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "mean", "sum",
}  # fmt: skip
REDUCES = {"mean", "sum", "amax", "max"}
# Tensors of one number, in the shape of another one.
ALIKE = {"zeros_like": 0.0, "ones_like": 1.0}
MOVES = REARRANGES | {"cat", "pad", "constant_pad_nd"}
CLASSIFIERS = {"softmax", "_softmax", "log_softmax", "_log_softmax", "argmax"}
# Activations that rise everywhere: at the end they change no order, and the numbers before them say more.
RISING = {
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "clip", "leaky_relu", "elu", "celu", "selu",
    "tanh", "sigmoid", "hardsigmoid", "softplus", "log_sigmoid",
}  # fmt: skip
NEAREST = {
    "gelu": "ReLU", "silu": "ReLU", "hardswish": "ReLU6", "softmax": "softmax only as the last operation",
    "_softmax": "softmax only as the last operation",
    "_native_batch_norm_legit_functional": "module.eval() before the import: batch norm is in training mode",
    "_native_batch_norm_legit": "batch norm with running statistics",
    "native_dropout": "module.eval() before the import: dropout is in training mode",
    "native_layer_norm": "batch norm", "layer_norm": "batch norm", "native_group_norm": "batch norm",
    "group_norm": "batch norm", "instance_norm": "batch norm",
    "upsample_bilinear2d": "nearest upsampling", "softplus": "ReLU",
    "log_sigmoid": "sigmoid", "mish": "ReLU", "glu": "ReLU",
    "rrelu": "ReLU", "hardshrink": "ReLU", "softshrink": "ReLU", "exp": "ReLU",
    "scaled_dot_product_attention": "a convolution", "bmm": "a linear layer with constant weights",
    "embedding": "a linear layer on one-hot inputs", "lstm": "a convolution", "gru": "a convolution",
    "conv3d": "Conv2d", "max_pool3d": "MaxPool2d", "avg_pool3d": "AvgPool2d",
}  # fmt: skip


class Operations(Activations, Pools):
    """One method per torch operation: arguments are `Value`s and constants (float64 tensors, numbers, lists)."""

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
            if out % groups:
                raise OneSpikeError(f"{groups} groups do not divide {out} output channels")
            dense = np.zeros((out, inner * groups, kernel_h, kernel_w))
            for group in range(groups):
                rows = slice(group * out // groups, (group + 1) * out // groups)
                dense[rows, group * inner : (group + 1) * inner] = weights[rows]
            weights = dense
        offset = np.zeros(out) if bias is None else np.asarray(bias, np.float64)
        return self.builder.convolve(
            x, weights, offset, stride=spatial(stride, rank, 1), padding=around, dilation=gaps, origin=self.name,
            where=self.where,
        )  # fmt: skip

    op_conv1d = op_conv2d

    def op_convolution(
        self,
        x: Value,
        weight: Any,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        transposed: bool,
        output_padding: Any,
        groups: int,
    ) -> Value:
        if weight.ndim > 4:
            raise OneSpikeError("a convolution over volumes is not supported; the nearest supported choice is Conv2d")
        if transposed:
            return self.op_conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)
        return self.op_conv2d(x, weight, bias, stride, padding, dilation, groups)

    def op_conv_transpose2d(
        self,
        x: Value,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Value:
        rank, weights = weight.ndim, np.asarray(weight, np.float64)
        weights = weights[:, :, None, :] if rank == 3 else weights
        if len(weights) % groups:
            raise OneSpikeError(f"{groups} groups do not divide {len(weights)} input channels")
        offset = np.zeros(weights.shape[1] * groups) if bias is None else np.asarray(bias, np.float64)
        return self.builder.transposed(
            x, weights, offset, stride=spatial(stride, rank, 1), padding=spatial(padding, rank, 0),
            more=spatial(output_padding, rank, 0), dilation=spatial(dilation, rank, 1), groups=groups,
            origin=self.name, where=self.where,
        )  # fmt: skip

    op_conv_transpose1d = op_conv_transpose2d

    def op_linear(self, x: Value, weight: Any, bias: Any = None) -> Value:
        weights = np.asarray(weight, np.float64)
        offset = np.zeros(len(weights)) if bias is None else np.asarray(bias, np.float64)
        if len(self.source_shape) > 2:
            return self._along(x, weights, offset)
        kernel = arrange.linear_kernel(x, weights)
        shape = (x.shape[0], *kernel.shape[2:])
        whole = dataclasses.replace(x, shape=shape, averages=None, view=None, flat=False)
        used = int(np.count_nonzero(weights))
        own = Work(macs=used, weights=used)
        return self.builder.convolve(whole, kernel, offset, origin=self.name, where=self.where, own=own)

    def _along(self, x: Value, weights: np.ndarray, offset: np.ndarray) -> Value:
        """A linear layer along the user's last axis, in which the channels must lie."""
        last = self.rearrange(x, lambda numbers: np.moveaxis(numbers, -1, 1))
        if not isinstance(last, Value) or last.view is not None:
            refusal = OneSpikeError("a linear layer along one axis of a map is not supported; flatten the map first")
            if self.movable and of_image(x):
                raise Moved(np.moveaxis(view_of(x, self.source_shape[1:]), -1, 0), refusal)
            raise refusal
        result = self.builder.convolve(last, weights[:, :, None, None], offset, origin=self.name, where=self.where)
        shape = (len(weights), *self.source_shape[1:-1])
        places = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1)
        return arrange.seen(result, places)

    def op_addmm(self, bias: Any, x: Any, weight: Any, beta: float = 1, alpha: float = 1) -> Value:
        if isinstance(bias, Value):
            product = x @ weight * alpha if not isinstance(x, Value) else self.op_mm(x, weight * alpha)
            return self.op_add(product, bias, alpha=beta)
        offset = np.asarray(bias, np.float64) * beta
        if offset.size not in (1, weight.shape[-1]) or offset.shape[-1:] not in ((), (offset.size,)):
            raise OneSpikeError(f"an addend of shape {offset.shape} is not supported; only one number per output")
        return self.op_linear(
            x, np.asarray(weight, np.float64).T * alpha, np.broadcast_to(offset.reshape(-1), weight.shape[-1])
        )

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
            return affine.scale(x, 1.0, self.per_channel(np.asarray(y) * alpha, x))
        return affine.scale(y, alpha, self.per_channel(x, y))

    def op_sub(self, x: Any, y: Any, alpha: float = 1) -> Value:
        return self.op_add(x, y, alpha=-alpha)

    def op_rsub(self, x: Any, y: Any, alpha: float = 1) -> Value:
        return self.op_add(y, x, alpha=-alpha)

    def op_neg(self, x: Value) -> Value:
        return affine.scale(x, -1.0, 0.0)

    def op_mul(self, x: Any, y: Any) -> Value:
        for value, mask in ((x, y), (y, x)):
            if isinstance(value, Value) and isinstance(mask, Comparison):
                return self.masked(value, mask)
        if isinstance(x, Value) and isinstance(y, Value):
            raise OneSpikeError("two activations are multiplied; only constants may be factors")
        value, constant = (x, y) if isinstance(x, Value) else (y, x)
        return affine.scale(value, self.per_channel(constant, value), 0.0)

    def op_div(self, x: Any, y: Any) -> Value:
        if isinstance(y, Value):
            raise OneSpikeError("a division by an activation is not supported; only constants may be divisors")
        return affine.scale(x, 1 / self.per_channel(y, x), 0.0)

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
        return self.builder.joined(affine.concatenate(list(values)), self.where)
