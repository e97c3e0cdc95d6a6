# SPDX-License-Identifier: Apache-2.0
"""The meaning of each ONNX operation that the importer knows, in terms of `affine.Value`: sums and activations here,
pools, geometry and quantisers in files of their own.

Arguments are `Tensor`s (activations), `Levels` (integers between QuantizeLinear and DequantizeLinear) and constant
arrays; attributes come by their ONNX names. What ONNX and torch compute alike is left to `aten.Operations`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import affine
from .aten_activations import SELU, Comparison
from .onnx_base import Levels, Mask, Tensor, activation, constant
from .onnx_geometry import Geometry
from .onnx_pools import Pools, frame
from .onnx_quant import Quantisers

CLASSIFIERS = {"Softmax", "LogSoftmax", "ArgMax"}
# Activations that rise everywhere: at the end they change no order, and the numbers before them say more.
RISING = {"Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Tanh", "Sigmoid", "HardSigmoid", "Softplus"}
# Operations that only rewrite a sum, and those that also put sums side by side or move their numbers about.
SUMS = {
    "Add", "Sub", "Sum", "Neg", "Mul", "Div", "BatchNormalization", "AveragePool", "GlobalAveragePool", "ReduceMean",
    "ReduceSum", "Identity", "Dropout", "Cast",
}  # fmt: skip
MOVES = {
    "Concat", "Pad", "Slice", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "SpaceToDepth", "DepthToSpace",
    "Split", "Gather", "Resize", "Upsample",
}  # fmt: skip
# Operations that do not mind in which order the places of a map are: a linear layer takes the order into its weights.
ANY_ORDER = {
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Tanh", "Sigmoid", "HardSigmoid", "Abs", "Identity", "Dropout",
    "Cast", "Shape", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice",
    "SpaceToDepth", "DepthToSpace", "Split", "Gather", "Resize", "Upsample", "Gemm", "MatMul", "Add", "Sub", "Mul",
    "Div", "Neg", "ReduceMean", "ReduceSum", "ReduceMax", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Where",
}  # fmt: skip
# The same where their parameters are single numbers.
SCALED = {"QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "Clip", "Max", "Min"}
NEAREST = {
    "Gelu": "Relu", "HardSwish": "Relu", "Swish": "Relu", "Softplus": "Relu", "ThresholdedRelu": "Relu",
    "Softmax": "Softmax only as the last operation", "LogSoftmax": "LogSoftmax only as the last operation",
    "ArgMax": "ArgMax only as the last operation", "LayerNormalization": "BatchNormalization",
    "InstanceNormalization": "BatchNormalization", "GroupNormalization": "BatchNormalization",
    "LRN": "BatchNormalization",
    "BipolarQuant": "an unsigned Quant after Relu (bipolar values are signed)", "Trunc": "AveragePool and Quant",
    "FloatQuant": "Quant with an integer grid", "If": "a graph without branches", "Loop": "a graph without loops",
    "LSTM": "a feed-forward network", "GRU": "a feed-forward network", "RNN": "a feed-forward network",
}  # fmt: skip


class OnnxOperations(Geometry, Pools, Quantisers):
    """One method per ONNX operation."""

    def find(self, kind: str) -> Callable[..., Any] | None:
        """The method for an operation, or None."""
        return getattr(self, f"op_{kind}", None)

    # -- sums ---------------------------------------------------------------------------------------------------

    def op_Conv(
        self, x: Any, weights: Any, bias: Any = None, *, group: int = 1, kernel_shape: Any = None, **window: Any
    ) -> Tensor:
        x, kernel = activation(x), constant(weights, "the kernel")
        if kernel.ndim != x.rank:
            raise OneSpikeError(f"a kernel of {kernel.ndim} axes does not fit an input of {x.rank}")
        place = frame(x, kernel.shape[2:], **window)
        value = affine.pad(x.value, place.padding) if any(place.padding) else x.value
        offset = None if bias is None else constant(bias, "the bias")
        flat = kernel if kernel.ndim == 4 else kernel[:, :, None, :]
        return Tensor(self.torch.op_conv2d(value, flat, offset, place.stride, 0, place.dilation, group), x.rank)

    def op_ConvTranspose(
        self,
        x: Any,
        weights: Any,
        bias: Any = None,
        *,
        group: int = 1,
        kernel_shape: Any = None,
        auto_pad: str = "NOTSET",
        dilations: Any = None,
        output_padding: Any = None,
        output_shape: Any = None,
        pads: Any = None,
        strides: Any = None,
    ) -> Tensor:
        x, kernel = activation(x), constant(weights, "the kernel")
        if kernel.ndim != x.rank or x.rank not in (3, 4):
            raise OneSpikeError(f"a kernel of {kernel.ndim} axes does not fit an input of {x.rank}")
        axes = kernel.ndim - 2
        around = list(pads or [0] * 2 * axes)
        if auto_pad not in ("NOTSET", "VALID") or output_shape:
            raise OneSpikeError("auto_pad and output_shape are not supported here; export with explicit pads")
        # Rows that only one end lacks come back as output padding of the other.
        first, last = around[:axes], around[axes:]
        more = [m + f - e for m, f, e in zip(output_padding or [0] * axes, first, last, strict=True)]
        offset = None if bias is None else constant(bias, "the bias")
        steps, gaps = list(strides or [1] * axes), list(dilations or [1] * axes)
        value = self.torch.op_conv_transpose2d(x.value, kernel, offset, steps, first, more, group, gaps)
        return Tensor(value, x.rank)

    def op_Gemm(
        self, a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
    ) -> Tensor:
        if transA:
            raise OneSpikeError("transA is not supported; the batch must be the first axis")
        matrix = constant(b, "the matrix") * alpha
        return self._linear(
            activation(a), matrix if transB else matrix.T, None if c is None else constant(c, "c") * beta
        )

    def op_MatMul(self, a: Any, b: Any) -> Tensor:
        return self._linear(activation(a, "the left factor"), constant(b, "the right factor").T, None)

    def _linear(self, x: Tensor, matrix: np.ndarray, bias: np.ndarray | None) -> Tensor:
        if matrix.ndim != 2:
            raise OneSpikeError(f"a matrix of {matrix.ndim} axes is not supported; use one of two, [inputs, outputs]")
        if x.rank > 2:  # along the last axis
            self.torch.source_shape, self.torch.movable = x.shape, True
        if bias is not None and (bias.size not in (1, len(matrix)) or bias.shape[-1:] not in ((), (bias.size,))):
            raise OneSpikeError(f"an addend of shape {bias.shape} is not supported; only one number per output")
        offset = None if bias is None else np.broadcast_to(bias.reshape(-1), len(matrix))
        return Tensor(self.torch.op_linear(x.value, matrix, offset), x.rank)

    def op_BatchNormalization(
        self,
        x: Any,
        weight: Any,
        bias: Any,
        mean: Any,
        var: Any,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        training_mode: int = 0,
        spatial: int = 1,
    ) -> Tensor:
        if training_mode or not spatial:
            raise OneSpikeError("batch norm in training mode is not supported; export the network in eval mode")
        x = activation(x)
        table = [constant(v, "a batch norm parameter") for v in (weight, bias, mean, var)]
        if x.value.flat:  # one number per feature, where a channel has several
            table = [self._per_channel(values, x) for values in table]
        factor = table[0] / np.sqrt(table[3] + epsilon)
        return Tensor(affine.scale(x.value, factor, table[1] - table[2] * factor), x.rank)

    def op_Add(self, a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.rank != b.rank:
                raise OneSpikeError(f"maps of {a.rank} and {b.rank} axes are added")
            return Tensor(self.torch.op_add(a.value, b.value), a.rank)
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        x = activation(x)
        return Tensor(affine.scale(x.value, 1.0, self._per_channel(constant(other, "the addend"), x)), x.rank)

    def op_Sum(self, *values: Any) -> Tensor:
        total = values[0]
        for value in values[1:]:
            total = self.op_Add(total, value)
        return activation(total)

    def op_Sub(self, a: Any, b: Any) -> Tensor:
        return self.op_Add(a, self.op_Neg(b) if isinstance(b, Tensor) else -constant(b, "the subtrahend"))

    def op_Neg(self, x: Any) -> Tensor:
        x = activation(x)
        return Tensor(affine.scale(x.value, -1.0, 0.0), x.rank)

    def op_Mul(self, a: Any, b: Any) -> Tensor:
        for x, mask in ((a, b), (b, a)):
            if isinstance(x, Tensor) and isinstance(mask, Mask):
                return Tensor(self.torch.masked(x.value, mask.comparison), x.rank)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            raise OneSpikeError("two activations are multiplied; only constants may be factors")
        x, factor = (a, b) if isinstance(a, Tensor) else (b, a)
        x = activation(x)
        return Tensor(affine.scale(x.value, self._per_channel(constant(factor, "the factor"), x), 0.0), x.rank)

    def op_Div(self, a: Any, b: Any) -> Tensor:
        return self.op_Mul(activation(a, "the dividend"), 1 / constant(b, "the divisor"))

    # -- activations --------------------------------------------------------------------------------------------

    def op_Relu(self, x: Any) -> Tensor:
        return Tensor(self.torch.op_relu(activation(x).value), x.rank)

    def op_Clip(self, x: Any, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Any:
        least, most = (low if low is not None else min), (high if high is not None else max)
        least = None if least is None else float(constant(least, "the lower bound").reshape(()))
        most = None if most is None else float(constant(most, "the upper bound").reshape(()))
        if isinstance(x, Levels):
            return x.clip(least, most)
        x = activation(x)
        # Old exporters write the lowest and the largest float for no bound.
        least, most = None if least is None or least < -1e30 else least, None if most is None or most > 1e30 else most
        return Tensor(self.torch.op_clamp(x.value, least, most), x.rank)

    def op_LeakyRelu(self, x: Any, *, alpha: float = 0.01) -> Tensor:
        return Tensor(self.torch.op_leaky_relu(activation(x).value, alpha), x.rank)

    def op_PRelu(self, x: Any, slope: Any) -> Tensor:
        x = activation(x)
        return Tensor(self.torch.op_prelu(x.value, self._per_channel(constant(slope, "the slope"), x)), x.rank)

    def op_Abs(self, x: Any) -> Tensor:
        return Tensor(self.torch.op_abs(activation(x).value), x.rank)

    def op_Elu(self, x: Any, *, alpha: float = 1.0) -> Tensor:
        return Tensor(self.torch.op_elu(activation(x).value, alpha), x.rank)

    def op_Selu(self, x: Any, *, alpha: float = SELU[0], gamma: float = SELU[1]) -> Tensor:
        return Tensor(self.torch.op_elu(activation(x).value, alpha, gamma), x.rank)

    def op_Celu(self, x: Any, *, alpha: float = 1.0) -> Tensor:
        return Tensor(self.torch.op_celu(activation(x).value, alpha), x.rank)

    def op_Tanh(self, x: Any) -> Tensor:
        return Tensor(self.torch.op_tanh(activation(x).value), x.rank)

    def op_Sigmoid(self, x: Any) -> Tensor:
        return Tensor(self.torch.op_sigmoid(activation(x).value), x.rank)

    def op_HardSigmoid(self, x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
        x = activation(x)
        return Tensor(self.torch.op_clamp(affine.scale(x.value, alpha, beta), 0.0, 1.0), x.rank)

    def op_Greater(self, a: Any, b: Any) -> Mask:
        return self._mask(a, b, isinstance(a, Tensor), False)

    def op_GreaterOrEqual(self, a: Any, b: Any) -> Mask:
        return self._mask(a, b, isinstance(a, Tensor), True)

    def op_Less(self, a: Any, b: Any) -> Mask:
        return self._mask(a, b, not isinstance(a, Tensor), False)

    def op_LessOrEqual(self, a: Any, b: Any) -> Mask:
        return self._mask(a, b, not isinstance(a, Tensor), True)

    def _mask(self, a: Any, b: Any, above: bool, ends: bool) -> Mask:
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        x = activation(x)
        limit = self._per_channel(constant(other, "the number that is compared with"), x)
        return Mask(x, Comparison(x.value, limit, above, ends))

    def spikes(self, x: Any) -> Any:
        """A comparison that is used as a number: 1 where it holds, else 0. Anything else stays what it is."""
        return Tensor(self.torch.spikes(x.comparison), x.tensor.rank) if isinstance(x, Mask) else x

    def op_Where(self, condition: Any, a: Any, b: Any) -> Tensor:
        if not isinstance(condition, Mask):
            raise OneSpikeError("its condition must be a comparison of an activation with one number; use Clip")
        x, y = (value.value if isinstance(value, Tensor) else constant(value, "a choice") for value in (a, b))
        return Tensor(self.torch.op_where(condition.comparison, x, y), condition.tensor.rank)

    def op_Max(self, a: Any, b: Any) -> Tensor:
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        return self.op_Clip(x, constant(other, "the lower bound"))

    def op_Min(self, a: Any, b: Any) -> Tensor:
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        return self.op_Clip(x, None, constant(other, "the upper bound"))
