# SPDX-License-Identifier: Apache-2.0
"""How the image lies before the engine where the network itself rearranges it first.

A walk over a network begins with the image as its first axis says, channels. Where the first layer wants another
order, as behind a transpose of (N, H, W, C), the operation in hand raises `Moved`; the walk begins anew with the image
laid out in that order, and what moves it about falls away. The host rearranges images from then on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import OneSpikeError
from ..network.arrangement import Arrangement, arrangement_of
from ..network.spec import INPUT
from .affine import Value
from .arrange import seen
from .graph import Graph
from .upright import upright

OTHER_ORDER = (
    "it reads the image in an order that the host cannot lay out; only reshapes and transposes of the whole image that "
    "change its shape are left to the host, so crop, mirror and turn pictures in the data instead"
)
PLACES = "a constant that differs from place to place is not supported; only one number per channel"
Result = TypeVar("Result")
MOST_WALKS = 6  # each for the order that the one before asked for


class Moved(Exception):
    """A layer needs the image as `view` of its places, a map (C, H, W) or (C, L); `refusal` says so to the user."""

    def __init__(self, view: np.ndarray, refusal: OneSpikeError) -> None:
        super().__init__(str(refusal))
        self.view, self.refusal = view, refusal


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """taken: the shape of an image as the module takes it. shape: (C, H, W) of the image tensor. places: which number
    of the module's image lies at each place of that; None where it is their own order.
    """

    taken: tuple[int, ...]
    shape: tuple[int, int, int]
    places: np.ndarray | None = None

    def start(self, value: Value) -> Value:
        """The image tensor as the module sees it."""
        if self.places is None:
            return value
        return seen(value, np.argsort(self.places).reshape(self.taken))

    @property
    def arrangement(self) -> Arrangement | None:
        """What the host does with the module's images; None where nothing is to be done."""
        return None if self.places is None else arrangement_of(self.taken, self.places)

    def finish(self, graph: Graph) -> Graph:
        """The graph with its arrangement, upright where that is cheaper."""
        arrangement = self.arrangement
        if arrangement is not None:
            image = None if graph.image is None else dataclasses.replace(graph.image, arrangement=arrangement)
            graph = dataclasses.replace(graph, image=image, arrangement=arrangement)
        return upright(graph, self.taken)

    def after(self, view: np.ndarray) -> Layout | None:
        """The layout in which a map seen as `view` of this one's places lies as it should; None where there is none.

        Its channels may come in another order: that a layer takes into its weights.
        """
        own = np.arange(math.prod(self.shape)) if self.places is None else self.places
        if view.ndim not in (2, 3):
            return None
        for table in (view, view[np.argsort(view.reshape(len(view), -1)[:, 0])]):
            places = own[table.reshape(-1)]
            shape = (len(table), 1, table.shape[1]) if table.ndim == 2 else table.shape
            found = arrangement_of(self.taken, places)
            if found is not None:
                # Two orders of one shape: nobody could tell which of them an array is in.
                ordered = np.array_equal(places, np.arange(len(places)))
                return None if self.taken == shape and not ordered else Layout(
                    taken=self.taken, shape=shape, places=places
                )
        return None

    def same(self, other: Layout) -> bool:
        """Whether both lay the image out alike."""
        own, others = (
            np.arange(math.prod(x.shape)) if x.places is None else x.places for x in (self, other)
        )
        return self.shape == other.shape and np.array_equal(own, others)


def laid_out(taken: Sequence[int], shape: tuple[int, int, int], walk: Callable[[Layout], Result]) -> Result:
    """The result of `walk` with the layout that the network's layers need; at first that of `shape`, (C, H, W)."""
    layouts = [Layout(taken=tuple(taken), shape=shape)]
    refusal = None
    while True:
        try:
            return walk(layouts[-1])
        except Moved as moved:
            refusal = refusal or moved.refusal
            layout = layouts[-1].after(moved.view)
            if layout is None or len(layouts) == MOST_WALKS or any(layout.same(other) for other in layouts):
                raise refusal from None
            layouts.append(layout)


def of_image(value: Value) -> bool:
    """Whether the value is the whole image, each of its numbers once, perhaps in another order and scaled."""
    term = value.terms[0]
    waits = value.pool is not None or value.averages is not None or value.rounding is not None or any(value.padding)
    if waits or len(value.terms) > 1 or term.tensor != INPUT or not term.whole:
        return False
    matrix = term.weights[:, :, 0, 0]
    if matrix.shape[0] != matrix.shape[1] or not np.array_equal(matrix, np.diag(np.diag(matrix))):
        return False  # channels are mixed, copied or left out
    return value.view is None or np.array_equal(np.sort(value.view, axis=None), np.arange(math.prod(value.shape)))


def view_of(value: Value, shape: Sequence[int]) -> np.ndarray:
    """The places of the value in the order in which the user sees them, in his shape without the batch."""
    return np.arange(math.prod(shape)).reshape(tuple(shape)) if value.view is None else value.view


def by_place(array: np.ndarray, value: Value, shape: Sequence[int]) -> np.ndarray | None:
    """A constant that is broadcast over (N, *shape), as the user sees the value, as one number per channel.

    None where it has several for a channel. Raises `Moved` where it differs along one other axis of the image alone:
    that holds its channels.
    """
    view = view_of(value, shape)
    try:
        full = np.broadcast_to(array, (1, *view.shape))[0]
    except ValueError:
        return None
    size = math.prod(value.shape)
    if view.size != size or np.unique(view).size != size:
        return None
    numbers = np.empty(size)
    numbers[view.reshape(-1)] = full.reshape(-1)
    table = numbers.reshape(value.shape[0], -1)
    if (table == table[:, :1]).all():
        return table[:, 0].copy()
    if view.ndim in (2, 3) and of_image(value):
        for axis in range(view.ndim):
            lines = np.moveaxis(full, axis, 0).reshape(view.shape[axis], -1)
            if (lines == lines[:, :1]).all():
                raise Moved(
                    np.moveaxis(view, axis, 0),
                    OneSpikeError(PLACES),
                )
    return None
