# SPDX-License-Identifier: Apache-2.0
"""Small dense problems of `refit`: weights that follow a target, and their rounding to whole numbers.

Both keep weights that are zero, and solve all channels together: they read the same inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..system import parallel

RIDGES = (0.1, 1.0, 10.0)  # of every input's own square sum: weights move only where that pays
PIECE = 1 << 12  # rows at a time, per thread
ITERATIONS = 24  # of conjugate gradients
MANY = 1024  # inputs: of as many, the system is large beside all else
TURNS = 64  # inputs that are rounded one by one between two products
FEW = 16  # places per input, below which the ridge is chosen on places that the fit has not seen


def inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left.T @ right float64 of float32 matrices with many rows; always summed in the same order."""
    parts = parallel.each(lambda rows: (left[rows].T @ right[rows]).astype(np.float64), pieces(len(left)))
    return np.sum(parts, 0)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, where `left` has many rows."""
    return np.concatenate(parallel.each(lambda rows: left[rows] @ right, pieces(len(left))))


def pieces(rows: int, size: int = PIECE) -> list[slice]:
    """So many rows in pieces, each the work of one thread."""
    return [slice(start, start + size) for start in range(0, rows, size)]


def gram_of(read: np.ndarray) -> np.ndarray:
    """The Gram matrix float64 [inputs, inputs] of centred reads float32 [places, inputs]."""
    return inner(read, read)


def ridged(gram: np.ndarray, ridge: float) -> np.ndarray:
    """The same with a ridge on its diagonal; inputs that are always silent keep it invertible."""
    found = gram.copy()
    found[np.diag_indices(len(gram))] += _added(gram.diagonal(), ridge)
    return found


def _added(own: np.ndarray, ridge: float) -> np.ndarray:
    """The ridge of inputs with these square sums."""
    return np.asarray(ridge * own + 1e-6 * own.mean())


def choose_ridge(read: np.ndarray, error: np.ndarray) -> float:
    """The least ridge where places are many; else the one whose fit to every other place leaves least in the rest.

    read: centred [places, inputs]; error: [places, channels]. Infinite where no fit is better than none.
    """
    if len(read) >= FEW * read.shape[1]:
        return RIDGES[0]
    seen, unseen = slice(0, None, 2), slice(1, None, 2)
    left = {np.inf: float((error[unseen] ** 2).sum(dtype=np.float64))}
    for ridge, move in zip(RIDGES, _moves(read[seen], error[seen]), strict=True):
        left[ridge] = float(((error[unseen] - read[unseen] @ move.astype(np.float32)) ** 2).sum(dtype=np.float64))
    return min(left, key=lambda ridge: left[ridge])


def _moves(read: np.ndarray, error: np.ndarray) -> Iterator[np.ndarray]:
    """For every ridge what `fit` finds [inputs, channels]."""
    if by_places(read):
        yield from (fit_places(read, error, ridge) for ridge in RIDGES)
        return
    gram, cross = gram_of(read), inner(read, error)
    yield from (np.linalg.solve(ridged(gram, ridge), cross) for ridge in RIDGES)


def by_places(read: np.ndarray) -> bool:
    """Whether `fit_places` is the shorter way."""
    return read.shape[1] > MANY and 2 * len(read) <= read.shape[1]


def fit_places(read: np.ndarray, error: np.ndarray, ridge: float) -> np.ndarray:
    """What `fit` finds for ridged(gram_of(read), ridge) [inputs, channels], with unknowns for places, not for inputs:

    D**-1 X.T (X D**-1 X.T + 1)**-1 E        D: the ridge
    """
    free = 1 / _added(np.einsum("pi,pi->i", read, read, dtype=np.float64), ridge)

    def part(inputs: slice) -> np.ndarray:
        wide = read[:, inputs].astype(np.float64)
        return np.asarray(wide * free[inputs] @ wide.T)

    places = np.sum(parallel.each(part, pieces(read.shape[1], MANY)), 0)
    places[np.diag_indices(len(places))] += 1
    return np.asarray(free[:, None] * (read.T @ np.linalg.solve(places, error.astype(np.float64))))


def fit(gram: np.ndarray, cross: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What to add to the weights [channels, inputs] where `mask`: gram @ move = cross [inputs, channels].

    Exact where all weights may move, else by conjugate gradients for all channels at once.
    """
    if mask.all():
        return np.linalg.solve(gram, cross).T
    own = gram.diagonal()
    move, left = np.zeros(mask.shape), np.where(mask, cross.T, 0.0)
    towards = step = left / own
    size = (left * towards).sum(1)
    for _ in range(ITERATIONS):
        curved = np.where(mask, step @ gram, 0.0)
        length = size / np.maximum((step * curved).sum(1), 1e-300)
        move += length[:, None] * step
        left = left - length[:, None] * curved
        towards = left / own
        before, size = size, (left * towards).sum(1)
        step = towards + (size / np.maximum(before, 1e-300))[:, None] * step
    return move


def round_in_turn(weights: np.ndarray, gram: np.ndarray, limit: int, mask: np.ndarray | None = None) -> np.ndarray:
    """Whole numbers in [-limit, limit] near `weights` [channels, inputs], with little error under `gram`.

    Input by input, where those to come take over the errors of those before. What GPTQ leaves to input i after all its
    updates stands in the triangle R of gram = R @ R.T: sum over j < i of R[j, i] error[j] / R[i, i] (the nearest plane
    of Babai; Chen et al., arXiv 2507.18553). Zero where not `mask`; such an input has no error of its own, and hands on
    what it was to take over (as in SparseGPT, Frantar and Alistarh, arXiv 2301.00774).
    """
    triangle = np.linalg.cholesky(gram[::-1, ::-1])[::-1, ::-1]
    taken = triangle / triangle.diagonal()
    wanted = np.ascontiguousarray(weights.T)
    rounded, errors = np.empty_like(wanted), np.empty_like(wanted)
    for first in range(0, len(wanted), TURNS):
        turns = slice(first, first + TURNS)
        # What all inputs before these hand on is one product; what these hand to each other comes row by row.
        moved = wanted[turns] + taken[:first, turns].T @ errors[:first]
        for turn, row in enumerate(moved, first):
            row += taken[first:turn, turn] @ errors[first:turn]
            rounded[turn] = np.clip(np.rint(row), -limit, limit)
            if mask is not None:
                rounded[turn, ~mask[:, turn]] = 0
            errors[turn] = wanted[turn] - rounded[turn]
    return np.ascontiguousarray(rounded.T)
