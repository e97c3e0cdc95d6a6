# SPDX-License-Identifier: Apache-2.0
"""Weights that make up for rounding, found on the codes that a layer really reads.

Two steps per node, both from the Gram matrix H of its inputs over calibration images. Least squares moves the weights
so that the sums follow the float network although the codes are rounded and clipped:

    W + argmin over D of |D X - E|**2 + RIDGE |D|**2 diag(H)        E: float sums less those on the codes X

Then the weights are rounded to the grid of the integers one input after the other, and the inputs still to come take
over the error that each rounding makes (optimal brain quantisation in the order of GPTQ, Frantar et al., arXiv
2210.17323).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from . import parallel
from .graph import Graph, Node, Term
from .quantise import Arithmetic, Scale, grid
from .spec import INPUT

ROWS = 1 << 16  # output places that the Gram matrix is summed over
BLOCK = 1 << 12  # of them at a time, per thread
CELLS = 1 << 26  # and inputs times places, at most
LARGEST = 4608  # inputs of a node; those of larger ones stay as they are
RIDGE = 0.1  # of every input's own square sum: weights move only where that pays
QUIET = 0.3  # what an error counts where the outcome stays silent, or saturated, in spite of it


def refit(
    graph: Graph,
    node: Node,
    codes: Mapping[str, np.ndarray],
    scales: Mapping[str, Scale],
    wanted: np.ndarray,
    step: np.ndarray,
    groups: int,
    arithmetic: Arithmetic,
) -> Node:
    """The node with weights on the integers' grid; terms with zeros (pruned, grouped, shortcuts) stay as they are.

    codes: of its sources [n, H, W, C]; wanted: the float network's sums [n, H', W', channels]; step: of its counts.
    """
    dense = [index for index, term in enumerate(node.terms) if term.weights.all() and not term.light]
    inputs = sum(node.terms[index].weights[0].size for index in dense)
    if not dense or inputs > LARGEST:
        return node
    target = wanted.reshape(-1, node.channels)
    places = min(len(target), ROWS, CELLS // inputs)
    chosen = np.sort(np.random.default_rng(0).choice(len(target), places, replace=False))
    target = target[chosen]
    found = node.bias.astype(np.float32)
    parts, kernels = [], []
    for index, term in enumerate(node.terms):
        scale = scales[term.tensor]
        pad = (np.array(graph.pad) - scale.offset) / scale.step if term.tensor == INPUT else np.zeros(1)
        read = patches(term, codes[term.tensor], np.rint(pad).astype(np.float32), chosen)
        kernel = (term.weights * scale.step[:, None, None]).reshape(node.channels, -1)
        offset = (term.weights.sum((2, 3)) @ scale.offset).astype(np.float32)
        found = found + _product(read, kernel.T.astype(np.float32)) + offset
        if index in dense:
            parts.append(read)
            kernels.append(kernel)
    error = target - found
    if node.fires:
        top = (step * groups).astype(np.float32)
        quiet = (np.maximum(target, found) <= 0) | (np.minimum(target, found) >= top)
        error *= np.where(quiet, np.float32(QUIET), np.float32(1))
    read, kernel = np.concatenate(parts, 1), np.concatenate(kernels, 1)
    read -= read.mean(0)
    gram = _inner(read, read)
    own = gram.diagonal()
    if not own.any():  # nothing ever reaches this node
        return node
    gram[np.diag_indices(inputs)] += RIDGE * own + 1e-6 * own.mean()
    kernel += np.linalg.solve(gram, _inner(read, error - error.mean(0))).T
    moved = _with(node, dense, kernel, scales)
    unit = (grid(moved, scales, step, groups, arithmetic) / step)[:, None]
    return _with(node, dense, round_in_turn(kernel * unit, gram, arithmetic.limit) / unit, scales)


def round_in_turn(weights: np.ndarray, gram: np.ndarray, limit: int) -> np.ndarray:
    """Whole numbers in [-limit, limit] near `weights` [channels, inputs], with little error under `gram`."""
    weights, rounded = weights.copy(), np.empty_like(weights)
    spread = np.linalg.cholesky(np.linalg.inv(gram)).T
    for turn in range(weights.shape[1]):
        rounded[:, turn] = np.clip(np.rint(weights[:, turn]), -limit, limit)
        error = (weights[:, turn] - rounded[:, turn]) / spread[turn, turn]
        weights[:, turn + 1 :] -= error[:, None] * spread[turn, turn + 1 :]
    return rounded


def patches(term: Term, codes: np.ndarray, pad: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """What the kernel reads at the `chosen` output places of codes [n, H, W, C]: [places, C * kernel places]."""
    top, bottom, left, right = term.padding
    number, height, width, channels = codes.shape
    padded = np.empty((number, height + top + bottom, width + left + right, channels), np.float32)
    padded[:] = pad
    padded[:, top : top + height, left : left + width] = codes
    rows, columns = term.output_shape(height, width)
    kernel_h, kernel_w = term.weights.shape[2:]
    read = np.empty((len(chosen), channels, kernel_h, kernel_w), np.float32)

    def fill(block: slice) -> None:
        image, place = np.divmod(chosen[block], rows * columns)
        y, x = (start * step for start, step in zip(np.divmod(place, columns), term.stride, strict=True))
        for i in range(kernel_h):
            for j in range(kernel_w):
                read[block, :, i, j] = padded[image, y + i * term.dilation[0], x + j * term.dilation[1]]

    parallel.each(fill, _blocks(len(chosen)))
    return read.reshape(len(chosen), -1)


def _blocks(places: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, places, BLOCK)]


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, for many rows of `left`."""
    return np.concatenate(parallel.each(lambda block: left[block] @ right, _blocks(len(left))))


def _inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left.T @ right over many rows, in float64; always summed in the same order."""
    return sum(parallel.each(lambda block: (left[block].T @ right[block]).astype(np.float64), _blocks(len(left))))  # type: ignore[return-value]


def _with(node: Node, dense: list[int], kernel: np.ndarray, scales: Mapping[str, Scale]) -> Node:
    """The node with `kernel` [channels, inputs], per code of its sources, as the weights of its dense terms."""
    terms, start = list(node.terms), 0
    for index in dense:
        term = terms[index]
        size = term.weights[0].size
        weights = kernel[:, start : start + size].reshape(term.weights.shape)
        terms[index] = dataclasses.replace(term, weights=weights / scales[term.tensor].step[:, None, None])
        start += size
    return dataclasses.replace(node, terms=tuple(terms))
