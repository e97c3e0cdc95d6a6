# SPDX-License-Identifier: Apache-2.0
"""Small dense problems of `refit`: weights that follow a target, and their rounding to whole numbers.

Both keep weights that are zero, and solve all channels together: they read the same inputs.
"""

from __future__ import annotations

import numpy as np

from ..system import parallel

RIDGES = (0.1, 1.0, 10.0)  # of every input's own square sum: weights move only where that pays
PIECE = 1 << 12  # rows at a time, per thread
ITERATIONS = 24  # of conjugate gradients
FEW = 16  # places per input, below which the ridge is chosen on places that the fit has not seen


def inner(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left.T @ right float64 of float32 matrices with many rows; always summed in the same order."""
    parts = parallel.each(lambda rows: (left[rows].T @ right[rows]).astype(np.float64), pieces(len(left)))
    return np.sum(parts, 0)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left @ right, where `left` has many rows."""
    return np.concatenate(parallel.each(lambda rows: left[rows] @ right, pieces(len(left))))


def pieces(rows: int) -> list[slice]:
    """So many rows in pieces, each the work of one thread."""
    return [slice(start, start + PIECE) for start in range(0, rows, PIECE)]


def gram_of(read: np.ndarray) -> np.ndarray:
    """The Gram matrix float64 [inputs, inputs] of centred reads float32 [places, inputs]."""
    return inner(read, read)


def ridged(gram: np.ndarray, ridge: float) -> np.ndarray:
    """The same with a ridge on its diagonal; inputs that are always silent keep it invertible."""
    own = gram.diagonal()
    found = gram.copy()
    found[np.diag_indices(len(own))] += ridge * own + 1e-6 * own.mean()
    return found


def choose_ridge(read: np.ndarray, error: np.ndarray) -> float:
    """The least ridge where places are many; else the one whose fit to every other place leaves least in the rest.

    read: centred [places, inputs]; error: [places, channels]. Infinite where no fit is better than none.
    """
    if len(read) >= FEW * read.shape[1]:
        return RIDGES[0]
    seen, unseen = slice(0, None, 2), slice(1, None, 2)
    gram, cross = gram_of(read[seen]), inner(read[seen], error[seen])
    left = {np.inf: float((error[unseen] ** 2).sum(dtype=np.float64))}
    for ridge in RIDGES:
        move = np.linalg.solve(ridged(gram, ridge), cross).astype(np.float32)
        left[ridge] = float(((error[unseen] - read[unseen] @ move) ** 2).sum(dtype=np.float64))
    return min(left, key=lambda ridge: left[ridge])


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

    Zero where not `mask`; there an input passes on what it was to take over (as in SparseGPT, Frantar and Alistarh,
    arXiv 2301.00774).
    """
    weights, rounded = weights.copy(), np.empty_like(weights)
    spread = np.linalg.cholesky(np.linalg.inv(gram)).T
    for turn in range(weights.shape[1]):
        rounded[:, turn] = np.clip(np.rint(weights[:, turn]), -limit, limit)
        if mask is not None:
            rounded[~mask[:, turn], turn] = 0
        error = (weights[:, turn] - rounded[:, turn]) / spread[turn, turn]
        weights[:, turn + 1 :] -= error[:, None] * spread[turn, turn + 1 :]
    return rounded
