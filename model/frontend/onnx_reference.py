# SPDX-License-Identifier: Apache-2.0
"""ONNX files: reading them with one sentence for every fault, and what their operations compute, in float64.

`onnx.reference` runs the standard operations. The quantisers of QONNX are added here, after its specification, and what
`onnx.reference` lacks or gets wrong: DequantizeLinear below opset 19, batch norm below 14, uneven automatic padding;
and convolutions, for which it takes a minute a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ..errors import OneSpikeError
from .network_file import existing

QONNX_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
QONNX_OPERATIONS = ("Quant", "IntQuant", "BipolarQuant", "FloatQuant", "Trunc", "MultiThreshold")
STANDARD_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7  # before it, broadcasting and batch norm were written differently
ROUNDING_MODES = {
    "ROUND": "half even",
    "HALF_EVEN": "half even",
    "HALF_UP": "half up",
    "FLOOR": "floor",
    "DOWN": "floor",  # towards zero: the same, as counts are not negative
}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def read(path: Path) -> onnx.ModelProto:
    """The model of an `.onnx` file, checked; OneSpikeError where it is missing, damaged or too new."""
    path = existing(path)
    broken = f"{path} is not a complete ONNX file; export the network again"
    try:
        model = onnx.load(path)
    except OSError as error:
        raise OneSpikeError(f"Cannot read {path}: {error.strerror or error}.") from None
    except Exception as error:  # protobuf and external data fail in many ways
        raise OneSpikeError(f"{broken} ({type(error).__name__}).") from None
    if not model.graph.node or not model.opset_import:
        raise OneSpikeError(f"{broken} (it holds no network).")
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in STANDARD_DOMAINS and not OLDEST_OPSET <= opset.version <= newest:
            raise OneSpikeError(
                f"{path} is written in ONNX opset {opset.version}, but the installed onnx {onnx.__version__} reads "
                f"{OLDEST_OPSET} to {newest}; export it with opset_version={min(newest, 18)}."
            )
    _name_quantisers(model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise OneSpikeError(f"{broken} ({lines[0].rstrip('.')}).") from None
    return model


def _name_quantisers(model: onnx.ModelProto) -> None:
    """QONNX's operations get their domain, and every domain of QONNX its opset: tools leave out either."""
    for node in model.graph.node:
        if node.domain in STANDARD_DOMAINS and node.op_type in QONNX_OPERATIONS:
            node.domain = QONNX_DOMAINS[0]
    known = {opset.domain for opset in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} & set(QONNX_DOMAINS) - known):
        model.opset_import.append(helper.make_opsetid(domain, 1))


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose floating-point tensors are all float64."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    del model.graph.value_info[:]
    for info in (*model.graph.input, *model.graph.output):
        if info.type.tensor_type.elem_type in FLOATS:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        _widen(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                tensor = numpy_helper.from_array(np.array(values, np.float64))
                attribute.CopyFrom(helper.make_attribute("value", tensor))
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.DOUBLE
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        with np.errstate(invalid="ignore"):  # numbers that are none stay so, and are refused where they are used
            tensor.CopyFrom(numpy_helper.from_array(array_of(tensor).astype(np.float64), tensor.name))


def array_of(tensor: TensorProto) -> np.ndarray:
    """The numbers of a tensor."""
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # too few numbers, a type that NumPy lacks, data that are kept elsewhere
        raise OneSpikeError(
            f"The parameter {tensor.name!r} does not hold the numbers of its shape {list(tensor.dims)} "
            f"({type(error).__name__}); export the network again."
        ) from None


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """Runs a model made by `in_double`."""
    return ReferenceEvaluator(model, new_ops=_OPERATIONS)


def compute(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None], opsets: Any) -> list[Any]:
    """The results of one operation on constants."""
    given = {name: array for name, array in zip(node.input, inputs, strict=True) if name and array is not None}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()
    ]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name]
    graph = helper.make_graph([node], "constant", infos, outputs)
    model = helper.make_model(graph, opset_imports=list(opsets))
    return list(evaluator(model).run(None, given))


def bounds(bits: Any, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and the largest integer of QONNX's Quant."""
    width = int(np.asarray(bits).reshape(-1)[0])
    if signed:
        return -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
    return 0, 2**width - 1 - narrow


def along(values: Any, axis: int, rank: int) -> np.ndarray:
    """Scale or zero point of QuantizeLinear, one number or one per place of `axis`, shaped to broadcast."""
    array = np.asarray(values)
    return array.reshape([-1 if i == axis % rank else 1 for i in range(rank)]) if array.ndim == 1 and rank else array


_ROUND: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "FLOOR": np.floor,
    "DOWN": np.fix,
}


class _Quant(OpRun):
    """QONNX's Quant: a float that lies on an integer grid."""

    def _run(self, x, scale, zero, bits, signed=None, narrow=None, rounding_mode=None):  # type: ignore[no-untyped-def]
        low, high = bounds(bits, bool(getattr(self, "signed", 1)), bool(getattr(self, "narrow", 0)))
        mode = str(getattr(self, "rounding_mode", "ROUND")).upper()
        if mode not in _ROUND:
            raise OneSpikeError(f"The rounding mode {mode!r} is not supported; use {', '.join(_ROUND)}.")
        return ((_ROUND[mode](np.clip(x / scale + zero, low, high)) - zero) * scale,)


class _MultiThreshold(OpRun):
    """QONNX's MultiThreshold: how many thresholds [C or 1, T] a value of channel c reaches."""

    def _run(self, x, thresholds, out_dtype=None, out_scale=None, out_bias=None, data_layout=None):  # type: ignore[no-untyped-def]
        levels = thresholds.reshape(thresholds.shape[0], *[1] * (x.ndim - 2), thresholds.shape[1])
        count = (x[..., None] >= levels).sum(-1)
        return (float(getattr(self, "out_scale", 1.0)) * count + float(getattr(self, "out_bias", 0.0)),)


class _Conv(OpRun):
    """The standard convolution, all places at once; automatic padding written out."""

    op_domain = ""

    def _run(self, x, w, b=None, **options):  # type: ignore[no-untyped-def]
        axes = x.ndim - 2
        kind = getattr(self, "auto_pad", "NOTSET")
        dilations = getattr(self, "dilations", None) or [1] * axes
        strides = getattr(self, "strides", None) or [1] * axes
        pads = None if kind == "VALID" else getattr(self, "pads", None)
        spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        if kind in ("SAME_UPPER", "SAME_LOWER"):
            sizes = zip(x.shape[2:], spans, strides, strict=True)
            missing = [max(0, (-(-n // s) - 1) * s + span - n) for n, span, s in sizes]
            small, large = [m // 2 for m in missing], [m - m // 2 for m in missing]
            pads = small + large if kind == "SAME_UPPER" else large + small
        pads = list(pads or [0] * (2 * axes))
        around = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
        windows = np.lib.stride_tricks.sliding_window_view(around, spans, tuple(range(2, x.ndim)))
        steps = (slice(None, None, s) for s in strides)
        windows = windows[(slice(None), slice(None), *steps, *(slice(None, None, d) for d in dilations))]
        groups = getattr(self, "group", 1) or 1
        own, out, taps = x.shape[1] // groups, w.shape[0] // groups, tuple(range(2 + axes, 2 + 2 * axes))
        parts = [
            np.tensordot(
                windows[:, g * own : (g + 1) * own], w[g * out : (g + 1) * out], ((1, *taps), range(1, w.ndim))
            )
            for g in range(groups)
        ]
        total = np.moveaxis(np.concatenate(parts, -1), -1, 1)
        return (total if b is None else total + b.reshape(-1, *[1] * axes),)


class _BatchNormalization(OpRun):
    """The standard operation with the statistics of training."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, var, **options):  # type: ignore[no-untyped-def]
        column = (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(np.float64(var) + float(getattr(self, "epsilon", 1e-5)))
        return (x * factor.reshape(column) + (bias - mean * factor).reshape(column),)


class _Pad(OpRun):
    """The standard operation, also with amounts below 0, which crop."""

    op_domain = ""

    def _run(self, x, pads=None, fill=None, axes=None, **options):  # type: ignore[no-untyped-def]
        given = np.asarray(getattr(self, "pads", None) if pads is None else pads).reshape(-1)
        value = getattr(self, "value", 0.0) if fill is None or not np.size(fill) else np.asarray(fill).reshape(())
        around = [(0, 0)] * x.ndim
        for axis, ends in zip(range(x.ndim) if axes is None else axes, given.reshape(2, -1).T, strict=True):
            around[int(axis)] = (int(ends[0]), int(ends[1]))
        cut = tuple(slice(max(0, -low), size + min(0, high)) for size, (low, high) in zip(x.shape, around, strict=True))
        more = [(max(0, low), max(0, high)) for low, high in around]
        mode: Any = getattr(self, "mode", None) or "constant"
        padded = np.pad(x[cut], more, constant_values=value) if mode == "constant" else np.pad(x[cut], more, mode)
        return (padded.astype(x.dtype),)


class QuantizeLinear(OpRun):
    """The standard operation; its range follows from the zero point's type."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=None, **_):  # type: ignore[no-untyped-def]
        axis = getattr(self, "axis", 1)
        zero = np.zeros(1, np.uint8)[0] if zero is None else zero
        low, high = integer_range(zero.dtype)
        counts = np.rint(x / along(scale, axis, x.ndim)) + along(zero, axis, x.ndim)
        return (np.clip(counts, low, high).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    """The standard operation."""

    op_domain = ""

    def _run(self, x, scale, zero=None, axis=None, **_):  # type: ignore[no-untyped-def]
        axis = getattr(self, "axis", 1)
        centred = x.astype(np.float64) - (0 if zero is None else along(zero, axis, x.ndim).astype(np.float64))
        return (centred * along(scale, axis, x.ndim),)


def integer_range(dtype: Any) -> tuple[int, int]:
    """The least and the largest number of an integer type, those of four bits and less included."""
    name = str(np.dtype(dtype))
    if name in ("int4", "uint4", "int2", "uint2"):
        width = int(name[-1])
        return bounds(width, not name.startswith("u"), False)
    if not np.issubdtype(dtype, np.integer):
        raise OneSpikeError(f"the type {name} is not supported; quantise to int8 or uint8")
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


_OPERATIONS: list[type[OpRun]] = [
    QuantizeLinear,
    DequantizeLinear,
    type("Conv", (_Conv,), {}),
    type("Pad", (_Pad,), {}),
    type("BatchNormalization", (_BatchNormalization,), {}),
]
for _domain in QONNX_DOMAINS:
    for _name, _base in (("Quant", _Quant), ("IntQuant", _Quant), ("MultiThreshold", _MultiThreshold)):
        _OPERATIONS.append(type(_name, (_base,), {"op_domain": _domain}))
