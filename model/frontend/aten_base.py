# SPDX-License-Identifier: Apache-2.0
"""What every torch operation needs to know: the operation in hand, and torch's arguments as (height, width)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import arrange
from .affine import Value
from .builder_larger import Larger
from .layout import PLACES, by_place, of_image


def pair(value: Any) -> tuple[int, int]:
    """(height, width) of torch's int, [a] or [a, b]; one axis (Conv1d) lies along the width."""
    values = [value, value] if isinstance(value, int) else list(value)
    return (int(values[0]), int(values[-1])) if len(values) == 2 else (1, int(values[0]))


def spatial(value: Any, rank: int, one: int) -> tuple[int, int]:
    """As `pair`; where the tensor has three axes an int counts for the width alone and the height takes `one`."""
    if rank == 3:
        return one, int(value if isinstance(value, int) else value[-1])
    return pair(value * 2 if isinstance(value, (list, tuple)) and len(value) == 1 else value)


def per_channel(constant: Any, value: Value) -> np.ndarray:
    """A constant that torch would broadcast over (N, C, H, W), or (N, F), as one float64 per channel."""
    array = np.asarray(constant, np.float64)
    if array.size == 1:
        return np.full(value.shape[0], array.reshape(()))
    channels, height, width = value.shape
    flat = value.flat or ((height, width) == (1, 1) and array.shape[-1] == channels)
    if flat and array.shape[-1] == channels * height * width and array.size == array.shape[-1]:
        table = array.reshape(channels, -1)
        if (table == table[:, :1]).all():
            return table[:, 0]
    else:
        full = array.reshape((1,) * (4 - array.ndim) + array.shape) if array.ndim < 4 else array
        if full.shape[0] == 1 and full.shape[1] in (1, channels):
            table = np.broadcast_to(full[0], value.shape).reshape(channels, -1)
            if (table == table[:, :1]).all():
                return table[:, 0].copy()
    raise OneSpikeError(PLACES)


class Context:
    """The operation in hand.

    where, name: for nodes and messages. ranks: axes of its sources. source_shape, result_shape: of its first source and
    its result, the batch included; the first may be left out. movable: whether a walk in which the image lies otherwise
    may follow (`layout.py`).
    """

    def __init__(self, builder: Larger, movable: bool = False) -> None:
        self.builder = builder
        self.movable = movable
        self.where = ""
        self.name = ""
        self.ranks: tuple[int, ...] = ()
        self.source_shape: tuple[int, ...] = ()
        self.result_shape: tuple[int, ...] = ()

    def per_channel(self, constant: Any, value: Value) -> np.ndarray:
        """`per_channel` of a constant that is added to or multiplied with `value` in hand."""
        array = np.asarray(constant, np.float64)
        if array.size > 1 and self.movable and (value.view is not None or of_image(value)):
            if (found := by_place(array, value, self.source_shape[1:])) is not None:
                return found
            if value.view is not None:
                raise OneSpikeError(PLACES)
        if self.ranks[:1] == (3,) and array.ndim:  # (N, C, L) has no height of its own
            array = np.expand_dims(array.reshape((1,) * (3 - array.ndim) + array.shape), 2)
        return per_channel(array, value)

    def rearrange(
        self, x: Value, function: Callable[[np.ndarray], np.ndarray | Sequence[np.ndarray]]
    ) -> Value | tuple[Value, ...]:
        """The value after `function`, which moves the numbers of an array of `source_shape` about."""
        if any(x.padding):
            raise OneSpikeError("reshaping or slicing after padding is not supported; pad right before a convolution")
        shape = self.source_shape
        if not shape:  # not told: one image, in as many axes as the operation's source has
            size = {2: (math.prod(x.shape),), 3: (x.shape[0], x.shape[2]), 4: x.shape}[self.ranks[0]]
            shape = (1, *(size if x.view is None else x.view.shape))
        return arrange.rearrange(x, shape, function)
