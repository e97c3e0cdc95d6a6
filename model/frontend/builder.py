# SPDX-License-Identifier: Apache-2.0
"""The builder of a graph: convolutions, activations, quantisers and pools turn the sums of `affine` into its nodes."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import INPUT
from .affine import NO_PADDING, Padding, Value, plain, plus
from .builder_pools import Pools
from .builder_stairs import Stairs
from .compose import before, behind, too_large
from .curve import Curve
from .graph import Graph, Term, tidy
from .own_cost import Work, told


class Builder(Stairs, Pools):
    """Builds a graph from its image to `finish`; `Nodes` has its fields."""

    def convolve(
        self,
        value: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = NO_PADDING,
        dilation: tuple[int, int] = (1, 1),
        origin: str = "",
        where: str = "",
        own: Work | None = None,
    ) -> Value:
        """A convolution of `value`: weights float64 [O, C, kh, kw], bias float64 [O].

        own: what the user's layer multiplies, where that is not a weight of the kernel at every place.
        """
        if weights.ndim != 4 or weights.shape[1] != value.shape[0] or bias.shape != weights.shape[:1]:
            raise OneSpikeError(
                f"its weights {list(weights.shape)} and bias {list(bias.shape)} do not fit an input of "
                f"{value.shape[0]} channels"
            )
        if value.pool is not None:
            value = self.settled(value, where, "a max pool over signed values needs a ReLU before the next layer")
        plain(dataclasses.replace(value, padding=NO_PADDING), "a convolution")
        top, bottom, left, right = padding = plus(padding, value.padding)
        value = dataclasses.replace(value, padding=NO_PADDING)
        if not value.pointwise and any(padding):
            need = "padding follows a convolution or linear layer without a ReLU between them; put one there"
            value = self.whole(value, where, need)
        elif not value.pointwise and self.sign is not False and too_large(value.terms, weights, dilation):
            value = self.stored(value, where)
        _, height, width = value.shape
        kernel_h, kernel_w = weights.shape[2:]
        out_h = (height + top + bottom - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1
        out_w = (width + left + right - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1
        known = int(np.count_nonzero(weights))
        own = own or Work(macs=known * out_h * out_w, weights=known)
        self.own[origin] = self.own.get(origin, Work()) + own
        terms = []
        if value.pointwise and any(self._neighbours(t, value.shape[1:], padding) for t in value.terms):
            value = self._copied(value)
        if any(padding) and self._padded(value):
            # Zeros around a map with an offset: the offset is there only where the map is.
            constant = (weights * value.bias[:, None, None]).sum(1, keepdims=True)
            ones = self._ones(value)
            terms.append(Term(tensor=ones, weights=constant, stride=stride, padding=padding, dilation=dilation))
        else:
            bias = bias + weights.sum((2, 3)) @ value.bias
        if value.pointwise:
            terms += [self._on_places(t, weights, (out_h, out_w), stride, (top, left), dilation) for t in value.terms]
        else:
            terms += [behind(t, weights, stride, dilation) for t in value.terms]
        return Value(shape=(len(bias), out_h, out_w), terms=tuple(terms), bias=bias, origin=origin)

    def _on_places(
        self,
        term: Term,
        weights: np.ndarray,
        size: tuple[int, int],
        stride: tuple[int, int],
        first: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Term:
        """`weights` on a map made of single places of a tensor, perhaps strided or cropped; the result has `size`.

        first: rows and columns of padding in front.
        """
        steps, gaps, around = [], [], []
        for axis in (0, 1):
            taps, inner, full = weights.shape[2 + axis], term.stride[axis], self.shapes[term.tensor][1 + axis]
            step, gap = stride[axis] * inner, dilation[axis] * inner if taps > 1 else 1
            front = first[axis] * inner + term.padding[2 * axis]
            missing = (size[axis] - 1) * step + (taps - 1) * gap + 1 - front - full
            # Places behind the last one read need cropping only where they make up another step.
            around += [front, missing if missing >= 0 else min(0, missing + step - 1)]
            steps.append(step)
            gaps.append(gap)
        return Term(
            tensor=term.tensor,
            weights=weights if term.identity else before(weights, term.weights[:, :, 0, 0]),
            stride=(steps[0], steps[1]),
            padding=(around[0], around[1], around[2], around[3]),
            dilation=(gaps[0], gaps[1]),
        )

    def _neighbours(self, term: Term, size: tuple[int, ...], padding: Padding) -> bool:
        """Whether padding of a cropped map of `size`, which should hold zeros, would show what was cropped."""
        for axis in (0, 1):
            first, step = -term.padding[2 * axis], term.stride[axis]
            last = first + (size[axis] - 1) * step
            if (padding[2 * axis] and first >= step) or (
                padding[2 * axis + 1] and last + step < self.shapes[term.tensor][1 + axis]
            ):
                return True
        return False

    def activate(
        self, value: Value, ceiling: float | None, where: str, floor: float | None = 0.0, curve: Curve | None = None
    ) -> Value:
        """clip(curve(value), floor, ceiling), with the maximum still to be taken."""
        if any(value.padding):
            bare = self.activate(dataclasses.replace(value, padding=NO_PADDING), ceiling, where, floor, curve)
            return dataclasses.replace(bare, padding=value.padding)
        if floor != 0 and self.unsigned(value):
            floor, curve = 0.0, curve if curve is not None and curve.kind == "tanh" else None
        if ceiling is None and curve is None and self.unsigned(value) and not value.mixes:
            return value
        if value.averages is not None:
            plain(value, "an activation")
        term = value.terms[0]
        unpooled = term.output_shape(*self.shapes[term.tensor][1:])
        value = self._narrowed(value, where)
        return self._node(
            value, value.origin, where, unpooled=unpooled, floor=floor, ceiling=ceiling, curve=curve, pool=value.pool
        )

    def ended(self, value: Value, where: str) -> Value:
        """The value as an output of the network: a sum, with nothing still to be done."""
        if any(value.padding):
            raise OneSpikeError("the network must end with a convolution or linear layer, not with padding")
        if value.pool is not None:
            need = "the network must end with a convolution or linear layer, not with a pool of signed values"
            value = self.settled(value, where, need)
        plain(value, "the end of the network")
        return self.clamped(value, where)

    def finish(self, value: Value, where: str) -> Graph:
        """The graph whose last node gives `value`."""
        value = self.ended(value, where)
        if value.view is not None and not np.array_equal(value.view.reshape(-1), np.arange(value.view.size)):
            raise OneSpikeError("the network ends with a reshape or permute that changes the order of its outputs")
        term = value.terms[0]
        if len(value.terms) == 1 and term.identity and not value.bias.any() and term.tensor == INPUT:
            raise OneSpikeError("the network has no convolution or linear layer")
        value = self._narrowed(value, where)
        self.notes += self.told()
        self._node(value, value.origin, where, unpooled=value.shape[1:], fires=False)
        zero = () if self.zero is None else tuple(float(z) for z in self.zero)
        graph = tidy(Graph(shape=self.shape, nodes=tuple(self.nodes), pad=zero, image=self.image))
        self.notes += told(graph, self.own, self.origins, self.sign)
        return dataclasses.replace(graph, notes=tuple(self.notes))
