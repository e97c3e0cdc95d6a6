# SPDX-License-Identifier: Apache-2.0
"""TFLite files as tensors and operators, with one sentence for every fault.

The format is a flatbuffer, which the package `tflite` reads as it is asked: nothing is checked beforehand, so that
whatever is wrong shows when a number is fetched. All of it is fetched here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from ..errors import OneSpikeError
from .network_file import existing
from .onnx_reference import integer_range

IDENTIFIER = b"TFL3"  # at bytes 4 to 7
TYPES = {
    tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.FLOAT64: np.float64,
    tflite.TensorType.INT8: np.int8, tflite.TensorType.UINT8: np.uint8, tflite.TensorType.INT16: np.int16,
    tflite.TensorType.INT32: np.int32, tflite.TensorType.INT64: np.int64, tflite.TensorType.BOOL: np.bool_,
}  # fmt: skip
WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
POOL = ("Pool2DOptions", (*WINDOW, "FilterHeight", "FilterWidth"))
FUSED = ("FusedActivationFunction",)
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {  # operator: the table of its options, and those that matter
    "ADD": ("AddOptions", FUSED),
    "SUB": ("SubOptions", FUSED),
    "MUL": ("MulOptions", FUSED),
    "CONV_2D": ("Conv2DOptions", (*WINDOW, "DilationHFactor", "DilationWFactor")),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*WINDOW, "DilationHFactor", "DilationWFactor")),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (*FUSED, "WeightsFormat")),
    "AVERAGE_POOL_2D": POOL,
    "MAX_POOL_2D": POOL,
    "CONCATENATION": ("ConcatenationOptions", (*FUSED, "Axis")),
    "MEAN": ("ReducerOptions", ()),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
}
BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, struct.error)
NUMBERS = 1 << 28  # of a tensor, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """data: the numbers of a constant, None of what is computed. scale, zero: of a quantised one, one number or one for
    each place of `axis`; empty of others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray | None
    scale: np.ndarray
    zero: np.ndarray
    axis: int

    @property
    def quantised(self) -> bool:
        return bool(self.scale.size) and self.dtype.kind in "iu"

    def same_grid(self, other: Tensor) -> bool:
        """Whether both stand for real numbers in the same way."""
        return (
            (self.quantised, self.dtype) == (other.quantised, other.dtype)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """kind: as TFLite calls it, CONV_2D. inputs: numbers of tensors, -1 of one that is left out. options: by name."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """The main graph of a file, in the order of execution."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: Path) -> Network:
    """The network of a `.tflite` file; OneSpikeError where it is missing or damaged."""
    path = existing(path)
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise OneSpikeError(
            f"{path} is not a TFLite file (bytes 4 to 7 are not {IDENTIFIER.decode()}); give what TFLiteConverter "
            f"writes."
        )
    try:
        return _network(content)
    except BROKEN:
        raise OneSpikeError(f"{path} is not a complete TFLite file; copy or convert it again.") from None


def _network(content: bytes) -> Network:
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    tensors = tuple(_tensor(graph.Tensors(i), model) for i in range(graph.TensorsLength()))
    network = Network(
        tensors=tensors,
        operators=tuple(_operator(graph.Operators(i), model) for i in range(graph.OperatorsLength())),
        inputs=tuple(int(graph.Inputs(i)) for i in range(graph.InputsLength())),
        outputs=tuple(int(graph.Outputs(i)) for i in range(graph.OutputsLength())),
    )
    used = [*network.inputs, *network.outputs, *(i for op in network.operators for i in (*op.inputs, *op.outputs))]
    if not used or min(used) < -1 or max(used) >= len(tensors):
        raise ValueError("tensors are named that are not there")
    return network


def _tensor(found: Any, model: Any) -> Tensor:
    name = (found.Name() or b"").decode(errors="replace")
    shape = tuple(int(found.Shape(i)) for i in range(found.ShapeLength()))
    if found.Type() not in TYPES:
        return Tensor(
            name=name, shape=shape, dtype=np.dtype(object), data=None, scale=np.empty(0), zero=np.empty(0), axis=0
        )
    if min(shape, default=1) < 0 or np.prod(np.array(shape, float)) > NUMBERS:
        raise ValueError("a tensor has a shape that cannot be")
    dtype = np.dtype(TYPES[found.Type()])
    buffer = model.Buffers(found.Buffer())
    data = None
    if buffer is not None and buffer.Offset() > 1:
        raise ValueError("numbers are kept outside the flatbuffer")
    if buffer is not None and buffer.DataLength():
        if found.Sparsity() is not None:
            raise OneSpikeError(
                f"The parameter {name!r} is stored as a sparse tensor; convert the network without Optimize."
                f"EXPERIMENTAL_SPARSITY."
            )
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype.newbyteorder("<")).astype(dtype).reshape(shape)
        if dtype.kind == "f" and not np.isfinite(data).all():
            raise OneSpikeError(f"The parameter {name!r} holds NaN or infinite values; train the network again.")
    grid = _grid(found.Quantization(), name)
    least, most = integer_range(dtype) if dtype.kind in "iu" else (0, 0)
    if dtype.kind in "iu" and any(not least <= zero <= most for zero in grid["zero"]):
        raise OneSpikeError(f"The zero point of {name!r} is no number of its type, {dtype}; convert it again.")
    return Tensor(name=name, shape=shape, dtype=dtype, data=data, **grid)


def _grid(found: Any, name: str) -> dict[str, Any]:
    """scale, zero and axis of a quantised tensor."""
    count = 0 if found is None else found.ScaleLength()
    if not count:
        return {"scale": np.empty(0), "zero": np.empty(0), "axis": 0}
    scale = np.array([found.Scale(i) for i in range(count)], np.float64)
    zeros = [int(found.ZeroPoint(i)) for i in range(found.ZeroPointLength())]
    zero = np.array(zeros or [0], np.int64)
    if not np.isfinite(scale).all() or (scale < 0).any() or len(zero) not in (1, count):
        raise OneSpikeError(f"The scale of {name!r} must be positive, with one zero point for each; convert it again.")
    return {"scale": scale, "zero": zero, "axis": int(found.QuantizedDimension())}


def _operator(found: Any, model: Any) -> Operator:
    code = model.OperatorCodes(found.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the older field ends at 127
    kind = tflite.utils.BUILTIN_OPCODE2NAME.get(number, f"operator {number}")
    if kind == "CUSTOM" and code.CustomCode() is not None:
        kind = f"CUSTOM {code.CustomCode().decode(errors='replace')}"
    options: dict[str, Any] = {}
    if kind in OPTIONS and found.BuiltinOptions() is not None:
        table_name, names = OPTIONS[kind]
        table, place = getattr(tflite, table_name)(), found.BuiltinOptions()
        table.Init(place.Bytes, place.Pos)
        options = {name: getattr(table, name)() for name in names}
    return Operator(
        kind=kind,
        inputs=tuple(int(found.Inputs(i)) for i in range(found.InputsLength())),
        outputs=tuple(int(found.Outputs(i)) for i in range(found.OutputsLength())),
        options=options,
    )
