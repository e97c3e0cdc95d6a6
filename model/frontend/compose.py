# SPDX-License-Identifier: Apache-2.0
"""Algebra of kernels: two kernels on one tensor as one, and a kernel behind another as one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import OneSpikeError
from .graph import Term

LARGEST = 1 << 26  # weights of a composed kernel


def merge(large: Term, small: Term) -> Term | None:
    """One term for both, or None: the taps of `small` must be taps of `large`."""
    if large.tensor != small.tensor or large.stride != small.stride:
        return None
    places = []
    for axis in (0, 1):
        size, count = large.weights.shape[2 + axis], small.weights.shape[2 + axis]
        gap, pad = large.dilation[axis], large.padding[2 * axis]
        offsets = [i * small.dilation[axis] - small.padding[2 * axis] + pad for i in range(count)]
        if any(offset % gap or not 0 <= offset // gap < size for offset in offsets):
            return None
        places.append([offset // gap for offset in offsets])
    weights = large.weights.copy()
    weights[:, :, np.array(places[0])[:, None], np.array(places[1])] += small.weights
    return dataclasses.replace(large, weights=weights)


def before(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The kernel [O, I, kh, kw] that applies `matrix` [C, I] and then `weights` [O, C, kh, kw]."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(diagonal := np.diag(matrix))):
        return weights * diagonal[:, None, None]
    return np.tensordot(weights, matrix, (1, 0)).transpose(0, 3, 1, 2)


def behind(term: Term, weights: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int]) -> Term:
    """One kernel that applies `term` and then, without padding, `weights` [O, C, kh, kw]."""
    out, _, height, width = weights.shape
    tap = lambda y, x: np.tensordot(weights[:, :, y, x], term.weights, 1)  # noqa: E731
    return _chain(term, tap, (height, width), out, stride, dilation)


def too_large(terms: Iterable[Term], weights: np.ndarray, dilation: tuple[int, int]) -> bool:
    """Whether a kernel that applies one of `terms` and then `weights` would have more weights than LARGEST."""
    sizes = (math.prod(joint_sides(term, weights.shape[2:], dilation)) * term.weights.shape[1] for term in terms)
    return any(len(weights) * size > LARGEST for size in sizes)


def joint_sides(term: Term, kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Height and width of one kernel that applies `term` and then one of these sides, the gaps of both filled."""
    height, width = (
        (inner - 1) * gap + 1 + (outer - 1) * step * spread
        for inner, gap, outer, step, spread in zip(
            term.weights.shape[2:], term.dilation, kernel, term.stride, dilation, strict=True
        )
    )
    return height, width


def averaged(term: Term, kernel: tuple[int, int], stride: tuple[int, int], divisor: float) -> Term:
    """One kernel that applies `term` and then adds up whole windows and divides."""
    share = term.weights / divisor
    return _chain(term, lambda y, x: share, kernel, len(share), stride, (1, 1))


def _chain(
    term: Term,
    tap: Callable[[int, int], np.ndarray],
    kernel: tuple[int, int],
    out: int,
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Term:
    """Taps of the second kernel are shifted copies of the first: `tap` gives each, [O, I, kh, kw]."""
    inner = term.weights.shape[1]
    strides = (term.stride[0] * stride[0], term.stride[1] * stride[1])
    if kernel == (1, 1):
        return dataclasses.replace(term, weights=tap(0, 0), stride=strides)
    steps = [s * d for s, d in zip(term.stride, dilation, strict=True)]
    spans = [d * (k - 1) + 1 for d, k in zip(term.dilation, term.weights.shape[2:], strict=True)]
    height, width = joint_sides(term, kernel, dilation)
    if out * inner * height * width > LARGEST:
        raise OneSpikeError(
            f"without a ReLU before it, it joins the layer before it in a kernel of {out * inner * height * width:,} "
            f"weights; put a ReLU between them"
        )
    weights = np.zeros((out, inner, height, width))
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            rows = slice(y * steps[0], y * steps[0] + spans[0], term.dilation[0])
            columns = slice(x * steps[1], x * steps[1] + spans[1], term.dilation[1])
            weights[:, :, rows, columns] += tap(y, x)
    return dataclasses.replace(term, weights=weights, stride=strides, dilation=(1, 1))


def uncropped(term: Term) -> Term:
    """The same term with padding of 0 or more: a cropped side becomes taps of weight zero."""
    if min(term.padding) >= 0:
        return term
    weights, padding, dilation = term.weights, list(term.padding), list(term.dilation)
    for axis in (0, 1):
        gap = dilation[axis] = term.dilation[axis] if weights.shape[2 + axis] > 1 else 1
        extra = [max(0, -(padding[side] // gap)) for side in (2 * axis, 2 * axis + 1)]
        amounts = [(0, 0)] * 4
        amounts[2 + axis] = (extra[0], extra[1])
        weights = np.pad(weights, amounts)
        for side, taps in enumerate(extra):
            padding[2 * axis + side] += taps * gap
    top, bottom, left, right = padding
    return dataclasses.replace(
        term, weights=weights, padding=(top, bottom, left, right), dilation=(dilation[0], dilation[1])
    )
