# SPDX-License-Identifier: Apache-2.0
"""What an operation of the user's network means before its activation: a sum of kernels over tensors, plus a bias.

The importer walks the user's operations with `Value`s. Convolution, batch norm, addition, concatenation, slicing,
scaling and average pooling only rewrite the sum, exactly; a ReLU turns it into a `Node` of the graph. So residual
additions become further terms, re-parameterised branches merge into one kernel, and a normalised input ends in the
first weights, all by the same few rules.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import OneSpikeError
from ..network.spec import Pool
from .compose import merge
from .graph import Term

Padding = tuple[int, int, int, int]  # top, bottom, left, right
NO_PADDING: Padding = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounding:
    """unit * round(sum), not clamped yet. kind: "floor" or "half even"; unit: float64 [channels], above 0; positive:
    whether it was clamped from below at 0.
    """

    kind: str
    unit: np.ndarray
    positive: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """bias + sum of terms, shape (C, H, W).

    padding: zeros still to be put around the map (top, bottom, left, right). pool: a maximum still to be taken, which
    the following ReLU takes along. averages: matrices still to be applied to rows and columns, an average over uneven
    windows. rounding: a rounding still to be done, for which a clamp is awaited. flat: whether the user sees
    (C * H * W) in one axis. view: the places (c * H + y) * W + x in the order in which the user sees them, where that
    is not a map. origin: the last convolution or linear layer, which names the node.
    """

    shape: tuple[int, int, int]
    terms: tuple[Term, ...]
    bias: np.ndarray
    padding: Padding = NO_PADDING
    pool: Pool | None = None
    averages: tuple[np.ndarray, np.ndarray] | None = None
    rounding: Rounding | None = None
    flat: bool = False
    view: np.ndarray | None = None
    origin: str = ""

    @property
    def pointwise(self) -> bool:
        return all(term.pointwise for term in self.terms)

    @property
    def mixes(self) -> bool:
        """Whether some channel adds several tensors or channels."""
        return not self.pointwise or bool(np.max(sum((t.weights[:, :, 0, 0] != 0).sum(1) for t in self.terms)) > 1)

    @property
    def finite(self) -> bool:
        """Whether no number of it is NaN or infinite."""
        return bool(np.isfinite(self.bias).all()) and all(bool(np.isfinite(t.weights).all()) for t in self.terms)


def plain(value: Value, what: str) -> None:
    if value.pool is not None:
        raise OneSpikeError(f"{what} after a max pool needs a ReLU between them")
    if value.averages is not None:
        raise OneSpikeError(
            f"{what} after an average over uneven windows (ceil_mode, count_include_pad=False or an adaptive pool) is "
            f"not supported, only a linear layer over the whole map is; use windows that fit the map: ceil_mode=False, "
            f"count_include_pad=True, an adaptive pool to a size that divides the map's"
        )
    if any(value.padding):
        raise OneSpikeError(f"{what} after padding is not supported; pad right before a convolution or a pool")


def scale(value: Value, factor: ArrayLike, offset: ArrayLike) -> Value:
    """factor * value + offset, per channel."""
    channels = value.shape[0]
    factor = np.broadcast_to(np.asarray(factor, np.float64), channels)
    offset = np.broadcast_to(np.asarray(offset, np.float64), channels)
    if value.pool is not None and (factor <= 0).any():
        raise OneSpikeError("a max pool followed by a factor that is not positive does not fold; put the ReLU first")
    if any(value.padding) and offset.any():
        raise OneSpikeError("an offset after padding is not supported; pad right before a convolution or a pool")
    if value.rounding is not None:
        if offset.any() or (factor <= 0).any():
            raise OneSpikeError(
                "an offset between rounding and clamp is not supported; clamp from 0, without zero point"
            )
        rounding = dataclasses.replace(value.rounding, unit=value.rounding.unit * factor)
        return dataclasses.replace(value, rounding=rounding)
    if value.averages is not None and offset.any():
        plain(value, "an offset")
    terms = tuple(dataclasses.replace(t, weights=t.weights * factor[:, None, None, None]) for t in value.terms)
    return dataclasses.replace(value, terms=terms, bias=value.bias * factor + offset)


def add(left: Value, right: Value) -> Value:
    """left + right, terms on the same tensor merged where one kernel covers the other."""
    for value in (left, right):
        plain(value, "an addition")
    if left.shape != right.shape or left.flat != right.flat or not _same(left.view, right.view):
        raise OneSpikeError(f"the added maps have different shapes or orders, {left.shape} and {right.shape}")
    terms = list(left.terms)
    for term in right.terms:
        for index, other in enumerate(terms):
            if (merged := merge(other, term) or merge(term, other)) is not None:
                terms[index] = merged
                break
        else:
            terms.append(term)
    terms = [term for term in terms if term.weights.any()] or terms[:1]  # x - x, as in straight-through estimators
    origin = left.origin if not left.pointwise or right.pointwise else right.origin
    return dataclasses.replace(left, terms=tuple(terms), bias=left.bias + right.bias, origin=origin)


def _same(left: np.ndarray | None, right: np.ndarray | None) -> bool:
    return left is right if left is None or right is None else np.array_equal(left, right)


def rows(value: Value, matrix: np.ndarray) -> Value:
    """matrix [channels, old channels] applied to the channels: selection, reordering, zero channels."""
    if value.pool is not None:
        raise OneSpikeError("a max pool needs its ReLU before channels are selected")
    terms = tuple(dataclasses.replace(t, weights=np.tensordot(matrix, t.weights, 1)) for t in value.terms)
    return dataclasses.replace(value, shape=(len(matrix), *value.shape[1:]), terms=terms, bias=matrix @ value.bias)


def concatenate(values: list[Value]) -> Value:
    """Channels of all values, one after the other."""
    total = sum(value.shape[0] for value in values)
    result, start = None, 0
    for value in values:
        matrix = np.zeros((total, value.shape[0]))
        matrix[start : start + value.shape[0]] = np.eye(value.shape[0])
        start += value.shape[0]
        spread = rows(value, matrix)
        result = spread if result is None else add(result, spread)
    assert result is not None
    return result


def window(value: Value, start: tuple[int, int], size: tuple[int, int], step: tuple[int, int]) -> Value:
    """`size` rows and columns of the map from `start`, every `step`-th."""
    shape = (value.shape[0], *size)
    if value.averages is not None:
        every = [np.arange(n) * s + first for first, n, s in zip(start, size, step, strict=True)]
        averages = (value.averages[0][every[0]], value.averages[1][every[1]])
        return dataclasses.replace(value, shape=shape, averages=averages)
    plain(value, "slicing")
    # Rows and columns behind the last; fewer than a step need no cropping.
    below, beside = (
        max(0, extent - first - n * s) for extent, first, n, s in zip(value.shape[1:], start, size, step, strict=True)
    )
    terms = []
    for t in value.terms:
        (step_y, step_x), (top, bottom, left, right) = t.stride, t.padding
        terms.append(
            dataclasses.replace(
                t,
                stride=(step_y * step[0], step_x * step[1]),
                padding=(
                    top - start[0] * step_y,
                    bottom - below * step_y,
                    left - start[1] * step_x,
                    right - beside * step_x,
                ),
            )
        )
    return dataclasses.replace(value, shape=shape, terms=tuple(terms))


def pad(value: Value, padding: Padding) -> Value:
    """Zeros around the map: taken along by the convolution or pool that follows."""
    if value.pool is not None:
        raise OneSpikeError("padding after a max pool needs a ReLU between them")
    if value.averages is not None:
        plain(value, "padding")
    if min(padding) < 0:
        top, bottom, left, right = (max(0, -side) for side in padding)
        _, height, width = value.shape
        value = window(value, (top, left), (height - top - bottom, width - left - right), (1, 1))
        padding = (max(0, padding[0]), max(0, padding[1]), max(0, padding[2]), max(0, padding[3]))
    return dataclasses.replace(value, padding=plus(value.padding, padding))


def plus(left: Padding, right: Padding) -> Padding:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3]
