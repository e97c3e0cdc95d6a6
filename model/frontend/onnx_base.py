# SPDX-License-Identifier: Apache-2.0
"""What every ONNX operation needs: its arguments (activations, integers, constants) and the node in hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..errors import OneSpikeError
from . import aten
from .affine import Value
from .aten_activations import Comparison
from .aten_base import per_channel
from .builder_larger import Larger
from .layout import PLACES, by_place, of_image

KIND_KEY = "onespike.kind"  # metadata of a node: what the operation is called in the format that it was written from


@dataclass(frozen=True)
class Tensor:
    """An activation: its value, and how many axes ONNX sees."""

    value: Value
    rank: int

    @property
    def shape(self) -> tuple[int, ...]:
        """As ONNX has it, with a batch of one."""
        if self.value.view is not None:
            return 1, *self.value.view.shape
        channels, height, width = self.value.shape
        top, bottom, left, right = self.value.padding
        height, width = height + top + bottom, width + left + right
        whole = {1: (1,), 2: (1, channels * height * width), 3: (1, channels, width), 4: (1, channels, height, width)}
        return whole[self.rank]


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """The integers clip(round(x / scale) + zero, low, high) between QuantizeLinear and DequantizeLinear."""

    tensor: Tensor
    scale: Any
    zero: Any
    low: float
    high: float
    axis: int

    def clip(self, low: float | None, high: float | None) -> Levels:
        """A narrower range, as QCDQ writes quantisers of fewer than eight bits."""
        least = self.low if low is None else max(self.low, low)
        most = self.high if high is None else min(self.high, high)
        return dataclasses.replace(self, low=least, high=most)


@dataclass(frozen=True)
class Mask:
    """Where an activation lies above or below a number."""

    tensor: Tensor
    comparison: Comparison


def activation(x: Any, what: str = "its input") -> Tensor:
    """`x`, which must be an activation."""
    if isinstance(x, Levels):
        raise OneSpikeError(f"{what} comes from QuantizeLinear; only Clip and DequantizeLinear may follow that")
    if isinstance(x, Mask):
        raise OneSpikeError(f"{what} is a comparison; only Where, and Mul with the same activation, may follow that")
    if not isinstance(x, Tensor):
        raise OneSpikeError(f"{what} must be an activation, not a constant")
    return x


def constant(values: Any, what: str) -> np.ndarray:
    """`values`, which must be a constant, as float64."""
    if isinstance(values, Tensor | Levels | Mask):
        raise OneSpikeError(f"{what} must be constant, not computed from the image")
    return np.asarray(values, np.float64)


class OnnxContext:
    """The node in hand; `begin` says which.

    builder: collects the nodes. batch: images per run, as shapes inside the file have it. torch: the same operations as
    torch has them.
    """

    def __init__(self, builder: Larger, batch: int = 1) -> None:
        self.builder = builder
        self.batch = batch
        self.torch = aten.Operations(builder)
        self.name = ""
        self.where = ""
        self.results = 1
        self.labelled = False

    def begin(self, name: str, where: str, rank: int, results: int = 1, labelled: bool = False) -> None:
        """The layer's name, what messages call it, the axes of its first activation, and how many results it has;
        labelled: whether nodes that belong to one layer of the user's have that name.
        """
        self.results, self.labelled = results, labelled
        self.name = self.torch.name = name
        self.where = self.torch.where = where
        self.torch.ranks, self.torch.source_shape, self.torch.movable = (rank,), (), False

    def unfolded(self, x: Tensor) -> Tensor:
        """`x`, the map itself where it is nearest upsampling of one."""
        return Tensor(self.builder.unfolded(x.value, self.where), x.rank)

    def _per_channel(self, values: Any, x: Tensor) -> np.ndarray:
        """A constant that ONNX broadcasts over `x` as one number per channel."""
        array = np.asarray(values, np.float64)
        if (x.value.view is not None or of_image(x.value)) and array.size > 1:
            if (found := by_place(array, x.value, x.shape[1:])) is not None:
                return found
            if x.value.view is not None:
                raise OneSpikeError(PLACES)
        if x.rank == 3 and array.ndim:  # the map has no height of its own
            array = np.expand_dims(array.reshape((1,) * (3 - array.ndim) + array.shape), 2)
        return per_channel(array, x.value)

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


def label(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


def refusal(node: onnx.NodeProto, reason: str) -> OneSpikeError:
    return OneSpikeError(f"Node {label(node)!r} ({kind_of(node)}): {reason}.")


def kind_of(node: onnx.NodeProto) -> str:
    """The operation as the user's file calls it."""
    return next((entry.value for entry in node.metadata_props if entry.key == KIND_KEY), node.op_type)
