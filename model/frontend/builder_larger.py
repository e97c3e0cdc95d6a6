# SPDX-License-Identifier: Apache-2.0
"""Maps that become larger: transposed convolutions, and nearest upsampling before anything but a linear layer.

Both copy a tensor into a larger one (`Source.up`): each place becomes a field of places, all with its value, or zeros
but for the first. A transposed convolution is an ordinary one, its kernel turned round, on a map with zeros between.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import INPUT
from ..network.spread import MOST_UP
from . import affine
from .affine import Value
from .builder import Builder
from .graph import Graph, Term
from .own_cost import Work


class Larger(Builder):
    """The builder, with what makes maps larger."""

    def unfolded(self, value: Value, where: str) -> Value:
        """The map itself of a value whose user sees nearest upsampling of it; others stay as they are."""
        if (view := value.view) is None or view.ndim not in (2, 3):
            return value
        channels, height, width = value.shape
        seen = view[:, None] if view.ndim == 2 else view
        up = (seen.shape[1] // height, seen.shape[2] // width)
        own = np.arange(channels * height * width).reshape(value.shape)
        wanted = own.repeat(max(1, up[0]), 1).repeat(max(1, up[1]), 2)
        if not np.array_equal(seen, wanted):
            return value
        plain = dataclasses.replace(value, view=None, flat=False)
        return self._larger(self._tensors(plain, where, "upsampling"), up, True, where)

    def transposed(
        self,
        value: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int],
        padding: tuple[int, int],
        more: tuple[int, int],
        dilation: tuple[int, int],
        groups: int = 1,
        origin: str = "",
        where: str = "",
    ) -> Value:
        """A transposed convolution: weights float64 [C, O / groups, kh, kw]; more: rows and columns at the far end."""
        channels, share, *kernel = weights.shape
        if channels != value.shape[0] or channels % groups:
            raise OneSpikeError(f"its weights {list(weights.shape)} do not fit an input of {value.shape[0]} channels")
        dense = np.zeros((share * groups, channels, *kernel))
        for group in range(groups):
            rows = slice(group * channels // groups, (group + 1) * channels // groups)
            dense[group * share : (group + 1) * share, rows] = weights[rows].swapaxes(0, 1)[..., ::-1, ::-1]
        used, places = int(np.count_nonzero(weights)), value.shape[1] * value.shape[2]
        own = Work(macs=used * places, weights=used)
        if stride != (1, 1):
            value = self._tensors(value, where, "a transposed convolution", zeros=True)
            value = self._larger(value, stride, False, where)
        around = []
        for axis in (0, 1):
            first = dilation[axis] * (kernel[axis] - 1) - padding[axis]
            around += [first, first + more[axis] - (stride[axis] - 1)]
        value = affine.pad(value, (around[0], around[1], around[2], around[3]))
        return self.convolve(value, dense, bias, dilation=dilation, origin=origin, where=where, own=own)

    def finish(self, value: Value, where: str) -> Graph:
        return super().finish(self.unfolded(value, where), where)

    def _tensors(self, value: Value, where: str, what: str, zeros: bool = False) -> Value:
        """The value as sums of whole hidden tensors; zeros: without an offset, which would stand at the zeros, too."""
        if value.pool is None and value.averages is None and not any(value.padding):
            whole = all(term.whole and term.tensor != INPUT for term in value.terms)
            if whole and not (zeros and value.bias.any()):
                return value
        value = self.settled(value, where, f"{what} behind a sum needs a ReLU before it")
        if any(term.tensor == INPUT or not term.whole for term in value.terms):
            raise OneSpikeError(f"{what} of the image itself is not supported; put a convolution with a ReLU before it")
        return value

    def _larger(self, value: Value, up: tuple[int, int], held: bool, where: str) -> Value:
        """Every place of a value, sums of whole tensors, as a field of `up` places (`network/spread.py`)."""
        if up == (1, 1):
            return value
        if max(up) > MOST_UP:
            raise OneSpikeError(f"it makes the map {max(up)} times larger; up to {MOST_UP} times are supported")
        height, width = (size * n for size, n in zip(value.shape[1:], up, strict=True))
        copies = []
        for term in value.terms:
            if (found := self.raised.get((term.tensor, up, held))) is None:
                channels = self.shapes[term.tensor][0]
                part = Term(tensor=term.tensor, weights=np.eye(channels)[:, :, None, None], up=up, held=held)
                copy = Value(shape=(channels, height, width), terms=(part,), bias=np.zeros(channels))
                name = f"{term.tensor}.larger"
                found = self._node(copy, name, where, unpooled=(height, width), exact=True).terms[0].tensor
                self.raised[term.tensor, up, held] = found
            copies.append(dataclasses.replace(term, tensor=found))
        return dataclasses.replace(value, shape=(value.shape[0], height, width), terms=tuple(copies))
