# SPDX-License-Identifier: Apache-2.0
"""Reshapes, permutations, slices and copies of a map: which place of it the user's tensor shows where.

An operation that only moves numbers about is run once on the numbers of the places themselves. What comes out is
either a map again (channels selected, rows and columns cropped and strided: all exact for the machine), or an order
that the next linear layer takes into its weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import OneSpikeError
from . import affine
from .affine import Value


def rearrange(
    value: Value, shape: Sequence[int], function: Callable[[np.ndarray], np.ndarray | Sequence[np.ndarray]]
) -> Value | tuple[Value, ...]:
    """The value after `function`, which moves numbers of an array about; `shape`: [N, ...] as the user sees the value.

    A function with several results gives a tuple.
    """
    batch, size = shape[0], math.prod(value.shape)
    places = np.arange(size) if value.view is None else value.view
    # Floating point, which every operation of torch takes; exact up to 2**53.
    numbers = (np.arange(batch)[:, None] * size + places.reshape(1, -1)).reshape(tuple(shape)).astype(np.float64)
    results = function(numbers)
    if isinstance(results, np.ndarray):
        return seen(value, _first(results, batch, size))
    return tuple(seen(value, _first(result, batch, size)) for result in results)


def _first(result: np.ndarray, batch: int, size: int) -> np.ndarray:
    """The part of the first image, if every image has the same."""
    if result.ndim and len(result) == batch:
        images = result.astype(np.int64) - (np.arange(batch) * size).reshape(-1, *[1] * (result.ndim - 1))
        if images.min() >= 0 and images.max() < size and (images == images[:1]).all():
            return images[0]
    raise OneSpikeError(
        "it mixes the images of a batch, or its shape does not follow the batch; keep the batch first, as in "
        "x.flatten(1) or x.view(x.size(0), -1)"
    )


def seen(value: Value, view: np.ndarray) -> Value:
    """The value whose user sees the places `view`, as a map where that is possible."""
    plain = dataclasses.replace(value, view=None, flat=False)
    channels, height, width = value.shape
    if not view.ndim:  # one number for every image
        view = view.reshape(1)
    if view.ndim == 1 and view.size == math.prod(value.shape) and np.array_equal(view, np.arange(view.size)):
        return dataclasses.replace(plain, flat=(height, width) != (1, 1))
    shape = {1: (*view.shape, 1, 1), 2: (view.shape[0], 1, view.shape[-1]), 3: view.shape}.get(view.ndim)
    if shape is None:
        return dataclasses.replace(plain, view=view)
    places = view.reshape(shape)
    channel, row, column = places[:, 0, 0] // (height * width), places[0, :, 0] // width % height, places[0, 0] % width
    regular = channel[:, None, None] * height * width + row[:, None] * width + column
    steps = [int(axis[1] - axis[0]) if len(axis) > 1 else 1 for axis in (row, column)]
    walks = all(
        step > 0 and np.array_equal(axis, axis[0] + step * np.arange(len(axis)))
        for axis, step in zip((row, column), steps, strict=True)
    )
    row_of_places = view.ndim == 1 and (height, width) != (1, 1)
    if row_of_places or not walks or not np.array_equal(places, regular):
        return dataclasses.replace(plain, view=view)
    if not np.array_equal(channel, np.arange(channels)):
        plain = affine.rows(plain, np.eye(channels)[channel])
    if (len(row), len(column)) == (height, width):
        return plain
    return affine.window(plain, (int(row[0]), int(column[0])), (len(row), len(column)), (steps[0], steps[1]))


def linear_kernel(value: Value, weights: np.ndarray) -> np.ndarray:
    """Weights [O, features] on the user's order as a kernel [O, C, H, W] on the whole map."""
    features = np.zeros((math.prod(value.shape), len(weights)))
    if value.view is None:
        features[:] = weights.T
    else:
        np.add.at(features, value.view.reshape(-1), weights.T)  # a place may be seen twice
    kernel = features.T.reshape(-1, *value.shape)
    if value.averages is None:
        return kernel
    return np.einsum("ocij,iy,jx->ocyx", kernel, *value.averages, optimize=True)
