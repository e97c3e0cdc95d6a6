# SPDX-License-Identifier: Apache-2.0
"""Each TFLite operation that the importer knows, as nodes of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from .tflite_base import TO_FIRST, Translation, first_axis

SAME = 0  # padding that keeps the size; the other kind pads nothing
# Operations whose first input alone matters: the shape that they give is in the file.
RESHAPES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
NEAREST = {
    "HARD_SWISH": "RELU6", "GELU": "RELU", "ELU": "RELU", "L2_NORMALIZATION": "a batch norm in the network",
    "LOCAL_RESPONSE_NORMALIZATION": "a batch norm in the network", "TRANSPOSE_CONV": "CONV_2D",
    "RESIZE_BILINEAR": "CONV_2D with stride 1", "RESIZE_NEAREST_NEIGHBOR": "CONV_2D with stride 1",
    "MIRROR_PAD": "PAD with zeros", "LSTM": "a feed-forward network", "CONV_3D": "CONV_2D",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "a feed-forward network", "UNIDIRECTIONAL_SEQUENCE_RNN": "a feed-forward network",
    "WHILE": "a graph without loops", "IF": "a graph without branches", "DIV": "MUL by a constant",
    "BATCH_MATMUL": "FULLY_CONNECTED with constant weights", "SVDF": "CONV_2D", "ARG_MIN": "ARG_MAX as the last",
}  # fmt: skip


class TfliteOperations(Translation):
    """One method per TFLite operation; each ends with `store`."""

    def find(self, kind: str) -> Callable[[], None] | None:
        """The method for an operation, or None."""
        return getattr(self, f"op_{kind}", None)

    # -- sums ---------------------------------------------------------------------------------------------------

    def op_CONV_2D(self) -> None:
        weights = self.constant(1)
        if weights.ndim != 4:
            raise OneSpikeError(f"its weights must have four axes, not {weights.ndim}")
        inner, channels = weights.shape[3], self.tensor(0).shape[-1]
        if not inner or channels % inner:
            raise OneSpikeError(f"its weights are for {inner} channels, but the map has {channels}")
        self._convolve(weights.transpose(0, 3, 1, 2), channels // inner)

    def op_DEPTHWISE_CONV_2D(self) -> None:
        weights = self.constant(1)
        if weights.ndim != 4:
            raise OneSpikeError(f"its weights must have four axes, not {weights.ndim}")
        self._convolve(weights.transpose(3, 0, 1, 2), self.tensor(0).shape[-1])

    def _convolve(self, kernel: np.ndarray, groups: int) -> None:
        """kernel: [out, in of a group, height, width]."""
        gaps = [int(self.option(f"Dilation{side}Factor")) for side in "HW"]
        inputs = [self.value(0), self.number(kernel)]
        if self.given(2):
            inputs.append(self.number(self._bias()))
        steps, pads = self._window(kernel.shape[2:], gaps)
        value = self.node("Conv", inputs, strides=steps, pads=pads, dilations=gaps, group=groups)
        self.store(value, self.option("FusedActivationFunction"))

    def _bias(self) -> np.ndarray:
        """The bias; that of a quantised layer counts in scale of the input times scale of the weights."""
        tensor, image, weights = (self.tensor(place) for place in (2, 0, 1))
        if tensor.dtype.kind == "i" and tensor.data is not None and image.quantised and weights.quantised:
            return tensor.data.reshape(-1) * (image.scale * weights.scale)
        return self.constant(2).reshape(-1)

    def _window(self, kernel: Any, gaps: Any = (1, 1)) -> tuple[list[int], list[int]]:
        """Strides, and padding as ONNX has it, of a kernel over the first input."""
        size, steps = self.tensor(0).shape[1:3], [int(self.option(f"Stride{side}")) for side in "HW"]
        if len(self.tensor(0).shape) != 4 or min(steps) < 1 or min(gaps) < 1 or min(kernel) < 1:
            raise OneSpikeError("it needs a map of four axes, and kernel, stride and dilation of 1 or more")
        missing = [0, 0]
        if self.option("Padding") == SAME:
            missing = [
                max(0, (-(-n // step) - 1) * step + (k - 1) * gap + 1 - n)
                for n, k, step, gap in zip(size, kernel, steps, gaps, strict=True)
            ]
        return steps, [m // 2 for m in missing] + [m - m // 2 for m in missing]

    def op_FULLY_CONNECTED(self) -> None:
        if self.option("WeightsFormat"):
            raise OneSpikeError("its weights are shuffled for one processor; convert with the default format")
        weights = self.constant(1)
        if weights.ndim != 2:
            raise OneSpikeError(f"its weights must have two axes, not {weights.ndim}")
        shape = self.tensor(0).shape
        if math.prod(shape) != shape[0] * weights.shape[1]:
            raise OneSpikeError(
                f"a linear layer of {weights.shape[1]} features along one axis of {list(shape)} is not supported; "
                f"flatten the map first"
            )
        value = self.value(0)
        if len(shape) != 2:
            value = self._reshaped(value, len(shape), (shape[0], weights.shape[1]))
        inputs = [value, self.number(weights), *([self.number(self._bias())] if self.given(2) else [])]
        value, wanted = self.node("Gemm", inputs, transB=1), self.output.shape
        if len(wanted) != 2:
            value = self._reshaped(value, 2, wanted)
        self.store(value, self.option("FusedActivationFunction"))

    def op_ADD(self) -> None:
        self._combine("Add")

    def op_SUB(self) -> None:
        self._combine("Sub")

    def op_MUL(self) -> None:
        self._combine("Mul")

    def _combine(self, kind: str) -> None:
        rank = len(self.output.shape)
        known = [self.number(self.broadcast(i, rank)) if self.is_constant(i) else self.value(i) for i in (0, 1)]
        self.store(self.node(kind, known), self.option("FusedActivationFunction"))

    # -- pools --------------------------------------------------------------------------------------------------

    def op_MAX_POOL_2D(self) -> None:
        self.store(self._pool("MaxPool"), self.option("FusedActivationFunction"), same=True)

    def op_AVERAGE_POOL_2D(self) -> None:
        self.store(self._pool("AveragePool", count_include_pad=0), self.option("FusedActivationFunction"))

    def _pool(self, kind: str, **more: Any) -> str:
        kernel = [int(self.option(f"Filter{side}")) for side in ("Height", "Width")]
        steps, pads = self._window(kernel)
        return self.node(kind, [self.value(0)], kernel_shape=kernel, strides=steps, pads=pads, **more)

    def op_MEAN(self) -> None:
        shape, axes = self.tensor(0).shape, self.whole(1)
        if len(shape) != 4 or sorted(axis % 4 for axis in axes) != [1, 2]:
            raise OneSpikeError("a mean is supported over height and width together only")
        value = self.node("GlobalAveragePool", [self.value(0)])
        if len(self.output.shape) != 4:
            value = self._reshaped(value, 4, self.output.shape)
        self.store(value)

    # -- activations --------------------------------------------------------------------------------------------

    def op_RELU(self) -> None:
        self.store(self.value(0), 1)

    def op_RELU6(self) -> None:
        self.store(self.value(0), 3)

    def op_RELU_N1_TO_1(self) -> None:
        self.store(self.value(0), 2)

    def op_LEAKY_RELU(self) -> None:
        self.store(self.node("LeakyRelu", [self.value(0)], alpha=float(self.option("Alpha"))))

    def op_PRELU(self) -> None:
        slopes = self.number(self.broadcast(1, len(self.output.shape)))
        self.store(self.node("PRelu", [self.value(0), slopes]))

    def op_TANH(self) -> None:
        self.store(self.node("Tanh", [self.value(0)]))

    def op_LOGISTIC(self) -> None:
        self.store(self.node("Sigmoid", [self.value(0)]))

    def op_SOFTMAX(self) -> None:
        self.store(self.node("Softmax", [self.value(0)], axis=1 if len(self.output.shape) == 4 else -1))

    def op_LOG_SOFTMAX(self) -> None:
        self.store(self.node("LogSoftmax", [self.value(0)], axis=1 if len(self.output.shape) == 4 else -1))

    def op_ARG_MAX(self) -> None:
        axis = first_axis(self.whole(1)[0], len(self.tensor(0).shape))
        self.store(self.node("ArgMax", [self.value(0)], axis=axis, keepdims=0))

    def op_QUANTIZE(self) -> None:
        self.store(self.value(0))

    def op_DEQUANTIZE(self) -> None:
        if self.is_constant(0):
            self.constants[self.operator.outputs[0]] = self.constant(0)
        else:
            self.store(self.node("Identity", [self.value(0)]))

    # -- geometry -----------------------------------------------------------------------------------------------

    def op_RESHAPE(self) -> None:
        if self.is_constant(0):
            self.constants[self.operator.outputs[0]] = self.constant(0).reshape(self.output.shape)
        else:
            self.store(self._reshaped(self.value(0), len(self.tensor(0).shape), self.output.shape), same=True)

    op_SQUEEZE = op_EXPAND_DIMS = op_RESHAPE

    def _reshaped(self, value: str, rank: int, shape: tuple[int, ...]) -> str:
        value = self.node("Reshape", [self.channels_last(value, rank), self.number(shape, np.int64)])
        return self.channels_first(value, len(shape))

    def op_TRANSPOSE(self) -> None:
        order, rank = self.whole(1), len(self.output.shape)
        if rank == 4:  # as ONNX has both
            order = [TO_FIRST.index(order[axis]) for axis in TO_FIRST]
        self.store(self.node("Transpose", [self.value(0)], perm=order), same=True)

    def op_PAD(self) -> None:
        rank, amounts = len(self.output.shape), self.whole(1)
        if len(amounts) != 2 * rank:
            raise OneSpikeError(f"its paddings must be two for each of {rank} axes, not {len(amounts)}")
        axes = TO_FIRST if rank == 4 else range(rank)
        pads = [amounts[2 * axis + side] for side in (0, 1) for axis in axes]
        fill = float(self.constant(2).reshape(-1)[0]) if self.given(2) else 0.0
        self.store(self.node("Pad", [self.value(0), self.number(pads, np.int64), self.number(fill)]), same=True)

    op_PADV2 = op_PAD

    def op_CONCATENATION(self) -> None:
        axis = first_axis(int(self.option("Axis")), len(self.output.shape))
        values = [self.value(place) for place in range(len(self.operator.inputs))]
        grids = [self.tensor(place) for place in range(len(values))]
        joined = self.node("Concat", values, axis=axis)
        self.store(
            joined, self.option("FusedActivationFunction"), same=all(grid.same_grid(grids[0]) for grid in grids)
        )
