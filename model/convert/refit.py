# SPDX-License-Identifier: Apache-2.0
"""Weights that make up for rounding, found on the codes that a layer really reads.

Two steps per node, both from the Gram matrix H of its inputs over calibration images. Least squares moves the weights
so that the sums follow the float network although the codes are rounded and clipped:

    W + argmin over D of |D X - E|**2 + ridge |D|**2 diag(H)        E: float sums less those on the codes X

Then the weights are rounded to the grid of the integers one input after the other, and the inputs still to come take
over the error that each rounding makes (optimal brain quantisation in the order of GPTQ, Frantar et al., arXiv
2210.17323).

Weights of zero stay zero. Output channels that read no common input (depthwise, grouped) are problems of their own, and
the inputs of a large node are taken in blocks: each moves for what those before it have left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..frontend.graph import Graph, Node, Term
from ..network.spec import INPUT
from ..system import parallel
from .exact import NOISE
from .least_squares import (
    RIDGES,
    by_places,
    choose_ridge,
    fit,
    fit_places,
    gram_of,
    inner,
    pieces,
    product,
    ridged,
    round_in_turn,
)
from .quantise import Arithmetic, Scale, grid
from .rounding import ends

ROWS = 1 << 16  # output places that the Gram matrix is summed over
CELLS = 1 << 26  # and inputs times places, at most
LARGEST = 4608  # inputs that are solved for at once; more are taken in blocks
BLOCK = 1024
QUIET = 0.3  # what an error counts where the outcome stays silent, or saturated, in spite of it
TRIES = 4  # to round on a grid that the rounded weights fit


@dataclass(kw_only=True)
class _Block:
    """Output channels and the columns of the kernel matrix that they share, with the ridged Gram matrix of these."""

    outputs: np.ndarray
    columns: np.ndarray
    gram: np.ndarray


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
    """The node with weights on the integers' grid; shortcuts, one weight per channel, stay as they are.

    codes: of its sources [n, H, W, C]; wanted: the float network's sums [n, H', W', channels]; step: of its counts.
    """
    dense = [index for index, term in enumerate(node.terms) if not term.light]
    inputs = sum(node.terms[index].weights[0].size for index in dense)
    if not dense:
        return node
    target = wanted.reshape(-1, node.channels)
    places = min(len(target), ROWS, CELLS // min(inputs, LARGEST))
    chosen = np.sort(np.random.default_rng(0).choice(len(target), places, replace=False))
    reader = _Reader(graph, node, dense, codes, scales, chosen)
    error = target[chosen] - reader.sums()
    if node.fires:
        bottom, top = ((step * end).astype(np.float32) for end in ends(node, step, groups))
        found = target[chosen] - error
        quiet = (np.maximum(target[chosen], found) <= bottom) | (np.minimum(target[chosen], found) >= top)
        error *= np.where(quiet, np.float32(QUIET), np.float32(1))
    error -= error.mean(0)
    kernel = reader.kernel.copy()
    mask = kernel != 0
    blocks: list[_Block] = []
    for outputs, parts in _blocks(mask, reader.lanes):
        for columns in parts:
            if (block := _move(reader, kernel, mask, error, outputs, columns, len(parts) > 1)) is not None:
                blocks.append(block)
    if not blocks:  # nothing ever reaches this node
        return node
    unit = grid(_with(node, dense, kernel, scales), scales, step, groups, arithmetic) / step
    for _ in range(TRIES):
        whole = np.rint(kernel * unit[:, None])
        for block in blocks:
            at = np.ix_(block.outputs, block.columns)
            real = kernel[at] * unit[block.outputs, None]
            whole[at] = round_in_turn(real, block.gram, arithmetic.limit, None if mask[at].all() else mask[at])
        rounded = _with(node, dense, whole / unit[:, None], scales)
        kept = whole * (grid(rounded, scales, step, groups, arithmetic) / step / unit)[:, None]
        if not (lost := (np.abs(kept - np.rint(kept)) > NOISE).any(1)).any():
            break
        # Taking errors over has made a sum too large for this grid.
        unit = unit * (np.where(lost, 0.5, 1.0) if node.fires else 0.95)
    return rounded


def _move(
    reader: _Reader,
    kernel: np.ndarray,
    mask: np.ndarray,
    error: np.ndarray,
    outputs: np.ndarray,
    columns: np.ndarray,
    more: bool,
) -> _Block | None:
    """Move the block's weights in `kernel` [channels, inputs] and, where `more` follow, take the effect off `error`."""
    read = reader.read(columns)
    read -= read.mean(0)
    gram = gram_of(read)
    if not gram.diagonal().any():
        return None
    wanted = error[:, outputs] if len(outputs) < len(kernel) else error
    at = np.ix_(outputs, columns)
    ridge = choose_ridge(read, wanted)
    if np.isfinite(ridge):
        if by_places(read) and mask[at].all():
            move = fit_places(read, wanted, ridge).T
        else:
            move = fit(ridged(gram, ridge), inner(read, wanted), mask[at])
        kernel[at] += move
        if more:
            error[:, outputs] -= product(read, move.T.astype(np.float32))
    return _Block(outputs=outputs, columns=columns, gram=ridged(gram, RIDGES[0]))


def _blocks(mask: np.ndarray, lanes: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Output channels that have inputs in common, and the columns of these inputs, in parts small enough to solve.

    mask: weights that are not zero [channels, columns]; lanes: which input channel a column belongs to, ascending.
    """
    starts = np.flatnonzero(np.diff(lanes, prepend=-1))
    reads = np.logical_or.reduceat(mask, starts, axis=1)
    left = np.asarray(reads.any(1))
    while left.any():
        outputs: np.ndarray = np.zeros(len(mask), bool)
        outputs[left.argmax()] = True
        while True:
            wider = np.asarray(reads[:, reads[outputs].any(0)].any(1))
            if (wider == outputs).all():
                break
            outputs = wider
        left &= ~outputs
        columns = np.flatnonzero(reads[outputs].any(0)[lanes])
        size = LARGEST if len(columns) <= LARGEST else BLOCK
        yield np.flatnonzero(outputs), np.array_split(columns, -(-len(columns) // size))


class _Reader:
    """What a node reads at the `chosen` output places, as columns of a matrix: its dense terms one after the other.

    kernel: the weights per code [channels, columns]. lanes: a number for the input channel of every column, ascending.
    """

    def __init__(
        self,
        graph: Graph,
        node: Node,
        dense: list[int],
        codes: Mapping[str, np.ndarray],
        scales: Mapping[str, Scale],
        chosen: np.ndarray,
    ) -> None:
        self.graph, self.node, self.dense, self.codes, self.scales, self.chosen = (
            graph, node, dense, codes, scales, chosen,
        )  # fmt: skip
        terms = [node.terms[index] for index in dense]
        self.kernel = np.concatenate([self._per_code(term) for term in terms], 1)
        sizes = np.concatenate([np.full(term.weights.shape[1], term.weights[0, 0].size) for term in terms])
        self.lanes = np.repeat(np.arange(len(sizes)), sizes)
        self.kept: np.ndarray | None = None

    def sums(self) -> np.ndarray:
        """The node's sums float32 [places, channels] on these codes; small matrices are kept for `read`."""
        found = self.node.bias.astype(np.float32)
        parts = []
        for index, term in enumerate(self.node.terms):
            offset = (term.weights.sum((2, 3)) @ self.scales[term.tensor].offset).astype(np.float32)
            kernel, lane = self._per_code(term), term.weights[0, 0].size
            parts_of = min(term.weights.shape[1], -(-kernel.shape[1] // LARGEST))
            for channels in np.array_split(np.arange(term.weights.shape[1]), parts_of):
                read = self._patches(term, channels)
                part = kernel[:, channels[0] * lane : (channels[-1] + 1) * lane]
                found = found + product(read, part.T.astype(np.float32))
                if index in self.dense and self.kernel.shape[1] <= LARGEST:
                    parts.append(read)
            found = found + offset
        self.kept = np.concatenate(parts, 1) if parts else None
        return found

    def read(self, columns: np.ndarray) -> np.ndarray:
        """These columns, float32 [places, columns]; the caller may change them."""
        if self.kept is not None:
            return self.kept[:, columns] if len(columns) < self.kept.shape[1] else self.kept
        parts, first = [], 0
        for term in (self.node.terms[index] for index in self.dense):
            lane = term.weights[0, 0].size
            here = columns[(columns >= first) & (columns < first + term.weights[0].size)] - first
            if len(here):
                channels = np.unique(here // lane)
                read = self._patches(term, channels)
                parts.append(read[:, np.searchsorted(channels, here // lane) * lane + here % lane])
            first += term.weights[0].size
        return np.concatenate(parts, 1)

    def _per_code(self, term: Term) -> np.ndarray:
        return (term.weights * self.scales[term.tensor].step[:, None, None]).reshape(self.node.channels, -1)

    def _patches(self, term: Term, channels: np.ndarray) -> np.ndarray:
        scale, codes = self.scales[term.tensor], self.codes[term.tensor]
        pad = np.zeros(len(scale.step))
        if term.tensor == INPUT:
            pad = (np.array(self.graph.pad) - scale.offset) / scale.step
        if len(channels) < codes.shape[3]:
            term = dataclasses.replace(term, weights=term.weights[:1, channels])
            codes, pad = codes[..., channels], pad[channels]
        return patches(term, codes, np.rint(pad).astype(np.float32), self.chosen)


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

    def fill(part: slice) -> None:
        image, place = np.divmod(chosen[part], rows * columns)
        y, x = (start * step for start, step in zip(np.divmod(place, columns), term.stride, strict=True))
        for i in range(kernel_h):
            for j in range(kernel_w):
                read[part, :, i, j] = padded[image, y + i * term.dilation[0], x + j * term.dilation[1]]

    parallel.each(fill, pieces(len(chosen)))
    return read.reshape(len(chosen), -1)


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
