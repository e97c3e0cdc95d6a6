# SPDX-License-Identifier: Apache-2.0
"""ONNX files whose operations compute with integers (onnxruntime's QOperator format), written as QDQ files are.

QLinearConv, QLinearMatMul and their like take integers with scale and zero point and give integers again: here each is
the operation on real numbers, then QuantizeLinear and DequantizeLinear with the grid of its result. Every integer
tensor stands for the real numbers behind that; operations that only move integers about, or take their maximum, move
these. Constants become the real numbers that they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import OneSpikeError
from .onnx_base import KIND_KEY, refusal
from .onnx_reference import STANDARD_DOMAINS, along, array_of

MICROSOFT = "com.microsoft"
INSTEAD = "quantise the network with quant_format=QuantFormat.QDQ"
MOVES = {
    "DepthToSpace", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Scale and zero point of an integer tensor, and what ONNX calls them; no zero point is 0."""

    names: tuple[str, ...]
    scale: np.ndarray
    zero: np.ndarray

    def same(self, other: Grid) -> bool:
        return np.array_equal(self.scale, other.scale) and np.array_equal(
            self.zero.astype(np.int64), other.zero.astype(np.int64)
        )


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, of `in_double`, without operations on integers; as it is where it has none.

    Raises OneSpikeError for integers that stand for no real numbers, naming the node and a way out.
    """
    if not any(node.op_type in OPERATIONS for node in model.graph.node):
        return model
    lowering = _Lowering(model)
    for node in model.graph.node:
        try:
            lowering.add(node)
        except OneSpikeError as error:
            raise refusal(node, str(error).rstrip(".")) from None
        except (IndexError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise refusal(node, f"its inputs do not fit together ({reason})") from None
    made = onnx.ModelProto.FromString(model.SerializeToString())
    del made.graph.node[:]
    made.graph.node.extend(lowering.nodes)
    made.graph.initializer.extend(lowering.initialisers)
    return made


class _Lowering:
    """Collects the nodes; real: by integer tensor, what the real numbers behind it are called, and its grid."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {tensor.name: array_of(tensor) for tensor in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.real: dict[str, tuple[str, Grid]] = {}
        self.node = onnx.NodeProto()

    def add(self, node: onnx.NodeProto) -> None:
        self.node = node
        whole = [name for name in node.input if name in self.real]
        if node.op_type in OPERATIONS and node.domain in (*STANDARD_DOMAINS, MICROSOFT):
            OPERATIONS[node.op_type](self)
        elif node.op_type == "QuantizeLinear" and node.input[0] not in self.real and self.known(node.input[1]):
            self.nodes.append(node)
            self.dequantised(node.output[0], self.grid(1))
        elif not whole:
            self.nodes.append(node)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = array_of(node.attribute[0].t)
        elif node.op_type == "DequantizeLinear":
            value, grid = self.real[node.input[0]]
            if not grid.same(self.grid(1)):
                raise OneSpikeError("its scale or zero point differs from that of its input; use the same")
            self.emit("Identity", [value], [node.output[0]])
        elif node.op_type == "Concat" and len(whole) == len(node.input):
            grid = self.real[whole[0]][1]
            if not all(grid.same(self.real[name][1]) for name in whole):
                raise OneSpikeError(f"the scales of its inputs differ; {INSTEAD}")
            self.moved([self.real[name][0] for name in whole], grid)
        elif node.op_type in MOVES and whole == [node.input[0]]:
            value, grid = self.real[whole[0]]
            self.moved([value, *node.input[1:]], grid)
        elif node.op_type == "Pad" and whole == [node.input[0]]:
            value, grid = self.real[whole[0]]
            fill = self.constants[node.input[2]] if self.known(*node.input[2:3]) else np.zeros(1)
            if len(node.input) < 3 or (np.asarray(fill).reshape(-1)[:1] != grid.zero.reshape(-1)[:1]).any():
                raise OneSpikeError("it pads with another number than 0; pad before the image is quantised")
            self.moved([value, node.input[1], "", *node.input[3:]], grid)
        else:
            raise OneSpikeError(f"it computes with integers, which is not supported; {INSTEAD}")

    # -- reading ------------------------------------------------------------------------------------------------

    def known(self, *names: str) -> bool:
        """Whether these are constants; of no names, no."""
        return bool(names) and all(name in self.constants for name in names)

    def given(self, place: int) -> str:
        """The name of an input; "" where it is left out."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def constant(self, place: int) -> np.ndarray:
        name = self.given(place)
        if name not in self.constants:
            raise OneSpikeError(f"its input {name or place!r} must be a constant of the file; {INSTEAD}")
        return self.constants[name]

    def grid(self, place: int) -> Grid:
        """Scale and zero point, inputs `place` and the next."""
        zero = self.given(place + 1)
        return Grid(
            names=tuple(name for name in (self.given(place), zero) if name),
            scale=self.constant(place).astype(np.float64),
            zero=self.constant(place + 1) if zero else np.zeros((), np.uint8),
        )

    def numbers(self, place: int, axis: int = 0) -> str:
        """The real numbers of the integers at `place`, their grid in the next two inputs; axis: of several scales."""
        name, grid = self.given(place), self.grid(place + 1)
        if name in self.real:
            value, own = self.real[name]
            if not grid.same(own):
                raise OneSpikeError(f"it reads {name!r} by another scale than that tensor has; {INSTEAD}")
            return value
        if not self.known(name):
            raise OneSpikeError(
                f"its input {name!r} holds integers of no QuantizeLinear; let the file begin with real numbers and "
                f"QuantizeLinear"
            )
        whole = self.constant(place).astype(np.float64)
        scale, zero = (along(part.squeeze(), axis, whole.ndim) for part in (grid.scale, grid.zero))
        return self.number((whole - zero) * scale, name.removesuffix("_quantized"))

    def attributes(self, *dropped: str) -> dict[str, Any]:
        """Those of the node in hand but for some, which must say what is usual."""
        found = {a.name: helper.get_attribute_value(a) for a in self.node.attribute}
        if found.pop("channels_last", 0):
            raise OneSpikeError(f"it has its channels last; {INSTEAD}")
        return {name: value for name, value in found.items() if name not in dropped}

    # -- writing ------------------------------------------------------------------------------------------------

    def number(self, array: np.ndarray, name: str) -> str:
        """A constant of real numbers."""
        taken = {*self.constants, *(tensor.name for tensor in self.initialisers)}
        while name in taken:
            name += "_"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, np.float64), name))
        return name

    def emit(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> str:
        """A node in place of the one in hand; its first result."""
        made = helper.make_node(kind, list(inputs), list(outputs), name=self.node.name, **attributes)
        quantiser = "quantiser of " if kind.endswith("Linear") and kind != self.node.op_type else ""
        entry = made.metadata_props.add()
        entry.key, entry.value = KIND_KEY, quantiser + self.node.op_type
        self.nodes.append(made)
        return outputs[0]

    def moved(self, inputs: Sequence[str], grid: Grid) -> None:
        """The operation in hand, on real numbers, whose results have the grid of its input."""
        outputs = [f"{name}/real" if name else "" for name in self.node.output]
        made = onnx.NodeProto.FromString(self.node.SerializeToString())
        del made.input[:], made.output[:]
        made.input.extend(inputs)
        made.output.extend(outputs)
        self.nodes.append(made)
        self.real |= {name: (real, grid) for name, real in zip(self.node.output, outputs, strict=True) if name}

    def dequantised(self, name: str, grid: Grid) -> None:
        """The real numbers of an integer tensor that QuantizeLinear has made."""
        self.real[name] = self.emit("DequantizeLinear", [name, *grid.names], [f"{name}/real"]), grid

    def stored(self, value: str, place: int) -> None:
        """`value` as the result of the node in hand, with the grid at inputs `place` and the next."""
        name, grid = self.node.output[0], self.grid(place)
        self.emit("QuantizeLinear", [value, *grid.names], [name])
        self.dequantised(name, grid)

    def result(self, kind: str, inputs: Sequence[str], place: int, *dropped: str, **options: Any) -> None:
        """The operation `kind` on real numbers, and its result stored."""
        value = self.emit(kind, inputs, [f"{self.node.output[0]}/sum"], **(self.attributes(*dropped) | options))
        self.stored(value, place)

    def bias(self, place: int) -> list[str]:
        """The real numbers of a bias, in units of scale 1 times scale 4; none where it is missing."""
        if not self.given(place):
            return []
        unit = self.constant(1).astype(np.float64).squeeze() * self.constant(4).astype(np.float64).squeeze()
        return [self.number(self.constant(place) * unit, self.given(place).removesuffix("_quantized"))]


def _conv(this: _Lowering) -> None:
    this.result("Conv", [this.numbers(0), this.numbers(3), *this.bias(8)], 6)


def _matmul(this: _Lowering) -> None:
    this.result("MatMul", [this.numbers(0), this.numbers(3, -1)], 6)


def _gemm(this: _Lowering) -> None:
    across = {a.name: a.i for a in this.node.attribute}.get("transB", 0)
    inputs = [this.numbers(0), this.numbers(3, 0 if across else 1), *this.bias(6)]
    if this.given(7):
        this.result("Gemm", inputs, 7)
    else:
        this.emit("Gemm", inputs, [this.node.output[0]], **this.attributes())


def _two(kind: str) -> Callable[[_Lowering], None]:
    return lambda this: this.result(kind, [this.numbers(0), this.numbers(3)], 6)


def _one(kind: str, *dropped: str) -> Callable[[_Lowering], None]:
    return lambda this: this.result(kind, [this.numbers(0)], 3, *dropped)


def _concat(this: _Lowering) -> None:
    places = range(2, len(this.node.input), 3)
    this.result("Concat", [this.numbers(place) for place in places], 0)


def _integers(kind: str) -> Callable[[_Lowering], None]:
    """Sums of integers less their zero points, without a scale: the image's real numbers over their scale."""

    def lower(this: _Lowering) -> None:
        name = this.given(0)
        if name not in this.real:
            raise OneSpikeError(f"its input {name!r} holds integers of no QuantizeLinear; {INSTEAD}")
        value, grid = this.real[name]
        if this.given(2) and not np.array_equal(this.constant(2).astype(int), grid.zero.astype(int)):
            raise OneSpikeError(f"it reads {name!r} by another zero point than that tensor has; {INSTEAD}")
        whole = this.constant(1).astype(np.float64)
        if this.given(3):
            zero = this.constant(3).astype(np.float64).squeeze()
            whole = whole - along(zero, 0 if kind == "Conv" else -1, whole.ndim)
        result = this.node.output[0]
        counts = this.emit("Mul", [value, this.number(1 / grid.scale, f"{name}/unit")], [f"{result}/counts"])
        weights = this.number(whole, this.given(1).removesuffix("_quantized"))
        this.emit(kind, [counts, weights], [result], **this.attributes())

    return lower


def _dynamic(this: _Lowering) -> None:
    raise OneSpikeError(
        "its scale is that of the numbers in hand and differs from image to image, which no fixed network has; "
        "quantise with constant scales (onnxruntime's quantize_static)"
    )


OPERATIONS: dict[str, Callable[[_Lowering], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": _two("Add"),
    "QLinearMul": _two("Mul"),
    "QLinearConcat": _concat,
    "QLinearAveragePool": _one("AveragePool"),
    "QLinearGlobalAveragePool": _one("GlobalAveragePool"),
    "QLinearLeakyRelu": _one("LeakyRelu"),
    "QLinearSigmoid": _one("Sigmoid"),
    "QLinearSoftmax": _one("Softmax", "opset"),
    "ConvInteger": _integers("Conv"),
    "MatMulInteger": _integers("MatMul"),
    "DynamicQuantizeLinear": _dynamic,
}
