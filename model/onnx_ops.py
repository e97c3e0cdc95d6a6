# SPDX-License-Identifier: Apache-2.0
"""The meaning of each ONNX operation that the importer knows, in terms of `affine.Value`.

Arguments are `Tensor`s (activations), `Levels` (integers between QuantizeLinear and DequantizeLinear) and constant
arrays; attributes come by their ONNX names. What ONNX and torch compute alike is left to `aten.Operations`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import affine, aten
from .affine import Padding, Value
from .builder import Builder
from .errors import OneSpikeError
from .onnx_quant import Levels, Quantisers, Tensor
from .spec import Pool

CLASSIFIERS = {"Softmax", "LogSoftmax", "ArgMax"}
# Operations that do not mind in which order the places of a map are: a linear layer takes the order into its weights.
ANY_ORDER = {
    "Relu", "Identity", "Dropout", "Cast", "Shape", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice",
    "Gemm", "MatMul",
}  # fmt: skip
NEAREST = {
    "Sigmoid": "Relu or Clip(0, ceiling)", "Tanh": "Relu or Clip(0, ceiling)", "Gelu": "Relu", "HardSwish": "Relu",
    "HardSigmoid": "Clip(0, 1)", "LeakyRelu": "Relu", "PRelu": "Relu", "Elu": "Relu", "Selu": "Relu", "Swish": "Relu",
    "Softmax": "Softmax only as the last operation", "LogSoftmax": "LogSoftmax only as the last operation",
    "ArgMax": "ArgMax only as the last operation", "LayerNormalization": "BatchNormalization",
    "InstanceNormalization": "BatchNormalization", "GroupNormalization": "BatchNormalization",
    "LRN": "BatchNormalization",
    "ConvTranspose": "Conv", "Resize": "Conv with stride 1", "Upsample": "Conv with stride 1",
    "QLinearConv": "QuantizeLinear and DequantizeLinear around Conv (QDQ)",
    "QLinearMatMul": "QuantizeLinear and DequantizeLinear around MatMul (QDQ)",
    "ConvInteger": "QuantizeLinear and DequantizeLinear around Conv (QDQ)",
    "MatMulInteger": "QuantizeLinear and DequantizeLinear around MatMul (QDQ)",
    "DynamicQuantizeLinear": "QuantizeLinear with a constant scale",
    "BipolarQuant": "an unsigned Quant after Relu (bipolar values are signed)", "Trunc": "AveragePool and Quant",
    "FloatQuant": "Quant with an integer grid", "If": "a graph without branches", "Loop": "a graph without loops",
    "LSTM": "a feed-forward network", "GRU": "a feed-forward network", "RNN": "a feed-forward network",
}  # fmt: skip


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


def activation(x: Any, what: str = "its input") -> Tensor:
    """`x`, which must be an activation."""
    if isinstance(x, Levels):
        raise OneSpikeError(f"{what} comes from QuantizeLinear; only Clip and DequantizeLinear may follow that")
    if not isinstance(x, Tensor):
        raise OneSpikeError(f"{what} must be an activation, not a constant")
    return x


def constant(values: Any, what: str) -> np.ndarray:
    """`values`, which must be a constant, as float64."""
    if isinstance(values, Tensor | Levels):
        raise OneSpikeError(f"{what} must be constant, not computed from the image")
    return np.asarray(values, np.float64)


class OnnxOperations(Quantisers):
    """One method per ONNX operation; `begin` says which node it is about to be.

    builder: collects the nodes. batch: images per run, as shapes inside the file have it. torch: the same operations as
    torch has them.
    """

    def __init__(self, builder: Builder, batch: int = 1) -> None:
        super().__init__(builder)
        self.batch = batch
        self.torch = aten.Operations(builder)

    def find(self, kind: str) -> Callable[..., Any] | None:
        """The method for an operation, or None."""
        return getattr(self, f"op_{kind}", None)

    def begin(self, name: str, where: str, rank: int) -> None:
        """The layer's name, what messages call it, and the axes of its first activation."""
        self.name = self.torch.name = name
        self.where = self.torch.where = where
        self.torch.ranks = (rank,)

    def _per_channel(self, values: Any, x: Tensor) -> np.ndarray:
        """A constant that ONNX broadcasts over `x` as one number per channel."""
        array = np.asarray(values, np.float64)
        if x.rank == 3 and array.ndim:  # the map has no height of its own
            array = np.expand_dims(array.reshape((1,) * (3 - array.ndim) + array.shape), 2)
        return aten.per_channel(array, x.value)

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
        if x.rank != 2 or matrix.ndim != 2:
            raise OneSpikeError("a matrix product along one axis of a map is not supported; flatten the map first")
        if bias is not None and (bias.size not in (1, len(matrix)) or bias.shape[-1:] not in ((), (bias.size,))):
            raise OneSpikeError(f"an addend of shape {bias.shape} is not supported; only one number per output")
        offset = None if bias is None else np.broadcast_to(bias.reshape(-1), len(matrix))
        return Tensor(self.torch.op_linear(x.value, matrix, offset), 2)

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
        if least is None or least < -1e30:  # old exporters write the lowest float for no bound
            return Tensor(self.torch.op_clamp_max(x.value, most), x.rank)
        return Tensor(self.torch.op_clamp(x.value, least, None if most is None or most > 1e30 else most), x.rank)

    def op_Max(self, a: Any, b: Any) -> Tensor:
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        return self.op_Clip(x, constant(other, "the lower bound"))

    def op_Min(self, a: Any, b: Any) -> Tensor:
        x, other = (a, b) if isinstance(a, Tensor) else (b, a)
        return self.op_Clip(x, None, constant(other, "the upper bound"))

    # -- pools --------------------------------------------------------------------------------------------------

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
        sides = []
        for axis in (0, 1):
            first, last = -place.padding[2 * axis], size[axis] + place.padding[2 * axis + 1] - place.kernel[axis]
            low, high = -edges[2 * axis], size[axis] + edges[2 * axis + 1]
            starts = range(first, last + 1, place.stride[axis])
            sides.append({min(s + place.kernel[axis], high) - max(s, low) for s in starts})
        if len(sides[0]) > 1 or len(sides[1]) > 1:
            raise OneSpikeError(
                "the windows at the border are divided by fewer places than the others (ceil_mode or "
                "count_include_pad=0); use windows that fit the map"
            )
        pool = Pool(kind="sum", kernel=place.kernel, stride=place.stride, padding=place.padding)
        divisor = sides[0].pop() * sides[1].pop()
        return Tensor(self.builder.average_pool(x.value, pool, divisor, self.where), x.rank)

    def op_LpPool(self, x: Any, *, kernel_shape: Any, p: int = 2, **window: Any) -> Tensor:
        x = activation(x)
        place = frame(x, kernel_shape, **window)
        if p != 1 or not x.value.unsigned or place.dilation != (1, 1):
            raise OneSpikeError("only the sum of values that are not negative is supported: p=1 after a Relu")
        pool = Pool(kind="sum", kernel=place.kernel, stride=place.stride, padding=place.padding)
        return Tensor(self.builder.average_pool(x.value, pool, 1, self.where), x.rank)

    def op_GlobalAveragePool(self, x: Any) -> Tensor:
        return self._whole_map("sum", activation(x))

    def op_GlobalMaxPool(self, x: Any) -> Tensor:
        return self._whole_map("max", activation(x))

    def _whole_map(self, kind: str, x: Tensor) -> Tensor:
        if x.rank not in (3, 4):
            raise OneSpikeError("a global pool needs a map of one or two axes")
        kernel = (x.shape[2], x.shape[3]) if x.rank == 4 else (1, x.shape[2])
        pool = Pool(kind=kind, kernel=kernel, stride=kernel)
        if kind == "max":
            return Tensor(self.builder.max_pool(x.value, pool, self.where), x.rank)
        return Tensor(self.builder.average_pool(x.value, pool, math.prod(kernel), self.where), x.rank)

    def op_ReduceMean(self, x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        x = activation(x)
        chosen = sorted({int(axis) % x.rank for axis in (() if axes is None else np.asarray(axes).reshape(-1))})
        if chosen != list(range(2, x.rank)) or not chosen:
            raise OneSpikeError("a mean is supported over height and width together only")
        pooled = self.op_GlobalAveragePool(x)
        return pooled if keepdims else self._shaped(pooled, pooled.shape[:2])

    # -- geometry -----------------------------------------------------------------------------------------------

    def op_Identity(self, x: Any) -> Any:
        return x

    def op_Dropout(self, x: Any, ratio: Any = None, training_mode: Any = None, **_: Any) -> Tensor:
        if training_mode is not None and bool(np.asarray(training_mode).any()):
            raise OneSpikeError("dropout in training mode is not supported; export the network in eval mode")
        return activation(x)

    def op_Cast(self, x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
        from onnx import TensorProto

        from .onnx_reference import FLOATS

        if to not in (*FLOATS, TensorProto.DOUBLE):
            raise OneSpikeError(
                "a cast of activations to integers is not supported; quantise with QuantizeLinear or Quant"
            )
        return x

    def op_Shape(self, x: Any, *, start: int = 0, end: int | None = None) -> np.ndarray:
        return np.array(activation(x).shape[start:end], np.int64)

    def op_Flatten(self, x: Any, *, axis: int = 1) -> Tensor:
        x = activation(x)
        if axis % x.rank != 1:
            raise OneSpikeError(f"flattening at axis {axis} is not supported; only at axis 1, behind the batch")
        return self._shaped(x, (x.shape[0], math.prod(x.shape[1:])))

    def op_Reshape(self, x: Any, shape: Any, *, allowzero: int = 0) -> Tensor:
        x = activation(x)
        wanted = [int(size) for size in constant(shape, "the shape").reshape(-1)]
        sizes = [x.shape[i] if size == 0 and not allowzero and i < x.rank else size for i, size in enumerate(wanted)]
        if sizes and sizes[0] == self.batch:
            sizes[0] = 1
        if sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = math.prod(x.shape) // max(1, -math.prod(sizes))
        return self._shaped(x, tuple(sizes))

    def op_Squeeze(self, x: Any, axes: Any = None) -> Tensor:
        x = activation(x)
        ones = (
            [i for i, size in enumerate(x.shape) if size == 1 and i] if axes is None else np.asarray(axes).reshape(-1)
        )
        gone = {int(axis) % x.rank for axis in ones}
        return self._shaped(x, tuple(size for i, size in enumerate(x.shape) if i not in gone))

    def op_Unsqueeze(self, x: Any, axes: Any) -> Tensor:
        x = activation(x)
        sizes, places = list(x.shape), np.asarray(axes).reshape(-1)
        for place in sorted(int(axis) % (x.rank + len(places)) for axis in places):
            sizes.insert(place, 1)
        return self._shaped(x, tuple(sizes))

    def op_Transpose(self, x: Any, *, perm: Any = None) -> Tensor:
        order = None if perm is None else [int(axis) for axis in perm]
        return self._moved(activation(x), lambda numbers: np.transpose(numbers, order))

    def _shaped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """`x` in another shape, batch included."""
        if math.prod(shape) != math.prod(x.shape) or shape[0] != x.shape[0]:
            raise OneSpikeError(
                f"a reshape from {list(x.shape)} to {list(shape)} is not supported; keep the batch first and alone"
            )
        return self._moved(x, lambda numbers: numbers.reshape(shape))

    def _moved(self, x: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """`x` after `function`, which only moves the numbers of an array about."""
        self.torch.source_shape = x.shape
        value = self.torch.rearrange(x.value, function)
        self.torch.source_shape = ()
        assert isinstance(value, Value)
        return Tensor(value, function(np.empty(x.shape)).ndim)

    def op_Pad(
        self,
        x: Any,
        amounts: Any = None,
        fill: Any = None,
        axes: Any = None,
        *,
        mode: str = "constant",
        pads: Any = None,
        value: float = 0.0,
    ) -> Tensor:
        x = activation(x)
        number = value if fill is None else float(constant(fill, "the padded value").reshape(()))
        given = [int(p) for p in (pads if amounts is None else constant(amounts, "the padding").reshape(-1))]
        chosen = range(x.rank) if axes is None else [int(a) % x.rank for a in np.asarray(axes).reshape(-1)]
        around = [(0, 0)] * x.rank
        for axis, ends in zip(
            chosen, zip(given[: len(given) // 2], given[len(given) // 2 :], strict=True), strict=True
        ):
            around[axis] = ends
        flat = [end for ends in reversed(around) for end in ends]  # as torch has them: the last axis first
        return Tensor(self.torch.op_pad(x.value, flat, mode, number), x.rank)

    def op_Slice(
        self,
        x: Any,
        first: Any = None,
        last: Any = None,
        places: Any = None,
        steps: Any = None,
        *,
        starts: Any = None,
        ends: Any = None,
        axes: Any = None,
    ) -> Tensor:
        x = activation(x)
        begin, end = (list(np.asarray(v).reshape(-1)) for v in ((starts, ends) if first is None else (first, last)))
        chosen = places if places is not None else axes
        where = range(len(begin)) if chosen is None else np.asarray(chosen).reshape(-1)
        strides = [1] * len(begin) if steps is None else np.asarray(steps).reshape(-1)
        cuts = [slice(None)] * x.rank
        for axis, low, high, step in zip(where, begin, end, strides, strict=True):
            cuts[int(axis)] = slice(int(low), int(high), int(step))
        return self._moved(x, lambda numbers: numbers[tuple(cuts)])

    def op_Concat(self, *values: Any, axis: int) -> Tensor:
        tensors = [activation(value, "one of the inputs") for value in values]
        ranks = {tensor.rank for tensor in tensors}
        if len(ranks) > 1 or axis % tensors[0].rank != 1:
            raise OneSpikeError("only the channels of activations can be concatenated (axis=1)")
        flat = {tensor.value.flat for tensor in tensors}
        joined: Value = affine.concatenate([dataclasses.replace(t.value, flat=False) for t in tensors])
        return Tensor(dataclasses.replace(joined, flat=True in flat), tensors[0].rank)
