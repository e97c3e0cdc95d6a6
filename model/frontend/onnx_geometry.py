# SPDX-License-Identifier: Apache-2.0
"""ONNX's operations that only move numbers about: shapes, orders, slices, padding, concatenation."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np
from onnx import TensorProto

from ..errors import OneSpikeError
from . import affine
from .onnx_base import Mask, OnnxContext, Tensor, activation, constant
from .onnx_reference import FLOATS


def _map_of(x: Any) -> Tensor:
    """`x`, which must have four axes."""
    x = activation(x)
    if x.rank != 4:
        raise OneSpikeError(f"its input has {x.rank} axes; it must be (batch, channels, height, width)")
    return x


def _nearest(size: int, out: int, factor: float, where: str, rounding: str) -> np.ndarray:
    """Which of `size` places each of `out` ones shows, as the ONNX specification names it."""
    index = np.arange(out, dtype=np.float64)
    middle = (index + 0.5) / factor - 0.5
    at = {
        "asymmetric": index / factor,
        "half_pixel": middle,
        "pytorch_half_pixel": middle if out > 1 else 0 * index,
        "align_corners": index * (size - 1) / max(1, out - 1),
    }.get(where)
    if at is None:
        raise OneSpikeError(f"the places {where!r} are not supported; use asymmetric or half_pixel")
    rounds = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }
    if rounding not in rounds:
        raise OneSpikeError(f"the rounding {rounding!r} is not supported; use {', '.join(rounds)}")
    return np.clip(rounds[rounding], 0, size - 1).astype(int)


class Geometry(OnnxContext):
    """The operations that leave every number as it is."""

    def op_Identity(self, x: Any) -> Any:
        return x

    def op_Dropout(self, x: Any, ratio: Any = None, training_mode: Any = None, **_: Any) -> Tensor:
        if training_mode is not None and bool(np.asarray(training_mode).any()):
            raise OneSpikeError("dropout in training mode is not supported; export the network in eval mode")
        return activation(x)

    def op_Cast(self, x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
        if not isinstance(x, Mask) and to not in (*FLOATS, TensorProto.DOUBLE):
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

    def op_SpaceToDepth(self, x: Any, *, blocksize: int) -> Tensor:
        x, size = _map_of(x), blocksize
        _, channels, height, width = x.shape
        if height % size or width % size:
            raise OneSpikeError(f"a map of {height} x {width} has no whole blocks of {size} x {size}")

        def deep(numbers: np.ndarray) -> np.ndarray:
            blocks = numbers.reshape(-1, channels, height // size, size, width // size, size)
            moved = blocks.transpose(0, 3, 5, 1, 2, 4)
            return moved.reshape(-1, channels * size * size, height // size, width // size)

        return self._moved(x, deep)

    def op_DepthToSpace(self, x: Any, *, blocksize: int, mode: str = "DCR") -> Tensor:
        x, size = _map_of(x), blocksize
        _, channels, height, width = x.shape
        if channels % size**2 or mode not in ("DCR", "CRD"):
            raise OneSpikeError(f"{channels} channels do not make blocks of {size} x {size} in the mode {mode!r}")
        inner = channels // size**2

        def wide(numbers: np.ndarray) -> np.ndarray:
            sizes = (size, size, inner) if mode == "DCR" else (inner, size, size)
            blocks = numbers.reshape(-1, *sizes, height, width)
            moved = blocks.transpose((0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3))
            return moved.reshape(-1, inner, height * size, width * size)

        return self._moved(x, wide)

    def op_Split(
        self, x: Any, sizes: Any = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None
    ) -> tuple[Tensor, ...]:
        x = activation(x)
        length = x.shape[axis]
        given = split if sizes is None else constant(sizes, "the sizes of the parts").reshape(-1)
        if given is None:
            count = num_outputs or self.results
            size = -(-length // count)  # the last part takes what is left
            given = [min(size, length - i * size) for i in range(count)]
        ends = np.cumsum([0, *(int(size) for size in given)])
        if ends[-1] != length or min(given) < 1:
            raise OneSpikeError(f"its parts {[int(size) for size in given]} do not make up an axis of {length}")
        parts = [np.arange(low, high) for low, high in itertools.pairwise(ends.tolist())]
        return tuple(self._moved(x, functools.partial(np.take, indices=part, axis=axis)) for part in parts)

    def op_Gather(self, x: Any, indices: Any, *, axis: int = 0) -> Tensor:
        chosen = constant(indices, "which places it takes").astype(np.int64)
        x = activation(x, "what it takes places of")
        return self._moved(x, functools.partial(np.take, indices=chosen, axis=axis))

    def op_Resize(
        self,
        x: Any,
        region: Any = None,
        scales: Any = None,
        sizes: Any = None,
        *,
        mode: str = "nearest",
        axes: Any = None,
        coordinate_transformation_mode: str = "half_pixel",
        nearest_mode: str = "round_prefer_floor",
        **_: Any,
    ) -> Tensor:
        x = activation(x)
        if mode != "nearest":
            raise OneSpikeError(f"the mode {mode!r} mixes places; use nearest in front of a linear layer")
        table = sizes if sizes is not None and np.size(sizes) else scales if scales is not None else region
        given = constant(table, "its scales or sizes").reshape(-1)
        chosen = range(x.rank) if axes is None else [int(axis) % x.rank for axis in np.asarray(axes).reshape(-1)]
        places = [np.arange(size) for size in x.shape]
        for axis, value in zip(chosen, given, strict=True):
            size = x.shape[axis]
            out, factor = (int(value), value / size) if table is sizes else (int(np.floor(size * value)), value)
            places[axis] = _nearest(size, out, factor, coordinate_transformation_mode, nearest_mode)
        return self._moved(x, lambda numbers: numbers[np.ix_(np.arange(len(numbers)), *places[1:])])

    def op_Upsample(self, x: Any, factors: Any = None, *, mode: str = "nearest", scales: Any = None) -> Tensor:
        given = scales if factors is None else factors
        return self.op_Resize(
            x, None, given, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

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
        beside = affine.concatenate([dataclasses.replace(t.value, flat=False) for t in tensors])
        joined = self.builder.joined(beside, self.where)
        return Tensor(dataclasses.replace(joined, flat=True in flat), tensors[0].rank)
