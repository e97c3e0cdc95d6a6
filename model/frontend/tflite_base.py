# SPDX-License-Identifier: Apache-2.0
"""What every TFLite operation needs to be written as ONNX: values, constants, quantisers and the operator in hand.

Maps of four axes, (N, H, W, C) in TFLite, are written as ONNX has them, (N, C, H, W); all others keep their order. A
quantised tensor is followed by QuantizeLinear and DequantizeLinear with its scale and zero point, and a fused
activation by a Clip of the integers between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import OneSpikeError
from .onnx_base import KIND_KEY
from .tflite_file import Network, Operator, Tensor

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # the axes of a map, channels first from last and the other way
FUSED: dict[int, tuple[float | None, float | None]] = {  # activations inside an operator: their ends
    0: (None, None),
    1: (0.0, None),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}


class Translation:
    """Collects the nodes of an ONNX graph; `begin` says which operator is in hand.

    network: the file's. values: by tensor, what ONNX calls it. constants: by tensor, its real numbers float64.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.values: dict[int, str] = {}
        self.constants: dict[int, np.ndarray] = {}
        self.label = self.kind = ""
        self.operator = Operator(kind="", inputs=(), outputs=(), options={})

    def begin(self, operator: Operator, label: str) -> None:
        """The operator in hand and what the user calls it."""
        self.operator, self.kind, self.label = operator, operator.kind, label

    # -- the operator in hand -----------------------------------------------------------------------------------

    def option(self, name: str) -> Any:
        """One of its options."""
        if name not in self.operator.options:
            raise OneSpikeError("its options are missing; convert the network again")
        return self.operator.options[name]

    def tensor(self, place: int) -> Tensor:
        """Its input number `place`."""
        return self.network.tensors[self._input(place)]

    def given(self, place: int) -> bool:
        """Whether it has such an input."""
        return place < len(self.operator.inputs) and self.operator.inputs[place] >= 0

    @property
    def output(self) -> Tensor:
        return self.network.tensors[self.operator.outputs[0]]

    def value(self, place: int) -> str:
        """What ONNX calls an input that is computed from the image."""
        number = self._input(place)
        if number not in self.values:
            raise OneSpikeError("its inputs must be computed from the image, not constant")
        return self.values[number]

    def is_constant(self, place: int) -> bool:
        number = self._input(place)
        return number in self.constants or self.network.tensors[number].data is not None

    def constant(self, place: int) -> np.ndarray:
        """The real numbers float64 of a constant input, in TFLite's own order."""
        number = self._input(place)
        tensor = self.network.tensors[number]
        if number in self.constants:
            return self.constants[number]
        if tensor.data is None:
            raise OneSpikeError(f"its input {tensor.name!r} must be constant, not computed from the image")
        numbers = tensor.data.astype(np.float64)
        if not tensor.quantised:
            return numbers
        scale, zero = tensor.scale, tensor.zero.astype(np.float64)
        if scale.size > 1:
            column = [1] * numbers.ndim
            column[tensor.axis] = scale.size
            scale, zero = scale.reshape(column), zero.reshape(column if zero.size > 1 else [1] * numbers.ndim)
        return (numbers - zero) * scale

    def whole(self, place: int) -> list[int]:
        """A constant input as whole numbers."""
        return [int(number) for number in self.constant(place).reshape(-1)]

    def _input(self, place: int) -> int:
        if not self.given(place):
            raise OneSpikeError(f"its input {place} is missing; convert the network again")
        return self.operator.inputs[place]

    # -- writing ------------------------------------------------------------------------------------------------

    def number(self, array: Any, dtype: Any = np.float64) -> str:
        """A constant of the ONNX graph."""
        name = f"constant_{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node of the ONNX graph; what it gives."""
        name = f"value_{len(self.nodes)}"
        made = helper.make_node(kind, list(inputs), [name], name=self.label, **attributes)
        entry = made.metadata_props.add()
        quantiser = "quantiser of " if kind.endswith("Linear") else ""
        entry.key, entry.value = KIND_KEY, quantiser + self.kind
        self.nodes.append(made)
        return name

    def store(self, value: str, fused: int = 0, *, same: bool = False) -> None:
        """`value` as the operator's result, through its fused activation and the quantiser of its tensor.

        same: it only moves numbers about, so that it is quantised already where its first input has the same grid.
        """
        if fused not in FUSED:
            raise OneSpikeError("its fused activation is not supported; use RELU, RELU6 or none")
        low, high = FUSED[fused]
        tensor = self.output
        if tensor.quantised and not (same and fused == 0 and tensor.same_grid(self.tensor(0))):
            value = self.quantise(value, tensor, low, high)
        elif fused:
            ends = ["" if end is None else self.number(end) for end in (low, high)]
            value = self.node("Relu", [value]) if high is None else self.node("Clip", [value, *ends])
        self.values[self.operator.outputs[0]] = value

    def quantise(self, value: str, tensor: Tensor, low: float | None = None, high: float | None = None) -> str:
        """`value` rounded to the grid of `tensor`, between the real numbers low and high."""
        if tensor.scale.size > 1:
            raise OneSpikeError(f"the scale of {tensor.name!r} differs by channel; only weights may have several")
        scale, zero = float(tensor.scale[0]), int(tensor.zero[0])
        grid = [self.number(scale), self.number(zero, tensor.dtype)]
        value = self.node("QuantizeLinear", [value, *grid])
        if low is not None:
            ends = np.iinfo(tensor.dtype)
            codes = [ends.max if end is None else int(np.rint(end / scale)) + zero for end in (low, high)]
            kept = [self.number(np.clip(code, ends.min, ends.max), tensor.dtype) for code in codes]
            value = self.node("Clip", [value, *kept])
        return self.node("DequantizeLinear", [value, *grid])

    def channels_last(self, value: str, rank: int) -> str:
        """`value` in TFLite's order."""
        return self.node("Transpose", [value], perm=TO_LAST) if rank == 4 else value

    def channels_first(self, value: str, rank: int) -> str:
        """`value`, in TFLite's order, as ONNX has it."""
        return self.node("Transpose", [value], perm=TO_FIRST) if rank == 4 else value

    def broadcast(self, place: int, rank: int) -> np.ndarray:
        """A constant input that is broadcast over a map of `rank` axes, in ONNX's order."""
        array = self.constant(place)
        if rank != 4 or array.ndim > 4:
            return array
        return array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(TO_FIRST)


def first_axis(axis: int, rank: int) -> int:
    """Where ONNX has an axis of TFLite's."""
    axis %= max(rank, 1)
    return TO_FIRST.index(axis) if rank == 4 else axis
