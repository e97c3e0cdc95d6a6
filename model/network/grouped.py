# SPDX-License-Identifier: Apache-2.0
"""Kernels whose outputs read only some inputs, as blocks without the zeros between them (ONNX and PyTorch: groups)."""

from __future__ import annotations

import math

import numpy as np


def spread(weights: np.ndarray, groups: int) -> np.ndarray:
    """The dense kernel [out, in, KH, KW] of weights [out, in / groups, KH, KW], of the same type and read-only."""
    outputs, share, *kernel = weights.shape
    dense = np.zeros((groups, outputs // groups, groups, share, *kernel), weights.dtype)
    every = np.arange(groups)
    dense[every, :, every] = weights.reshape(groups, -1, share, *kernel)
    dense = dense.reshape(outputs, groups * share, *kernel)
    dense.setflags(write=False)
    return dense


def compact(dense: np.ndarray) -> tuple[int, np.ndarray]:
    """The most groups that the zeros of a kernel [out, in, KH, KW] allow, and its weights [out, in / groups, KH, KW].

    A kernel without such zeros comes back as it is: groups 1.
    """
    outputs, inputs, *kernel = dense.shape
    most = math.gcd(outputs, inputs)
    if most == 1 or dense[0, -1].any() or dense[-1, 0].any():  # what most kernels have
        return 1, dense
    reads = dense.any((2, 3))
    rows, columns = np.nonzero(reads)
    for groups in range(most, 1, -1):
        if most % groups == 0 and np.array_equal(rows * groups // outputs, columns * groups // inputs):
            every = np.arange(groups)
            blocks = dense.reshape(groups, outputs // groups, groups, inputs // groups, *kernel)[every, :, every]
            return groups, np.ascontiguousarray(blocks.reshape(outputs, inputs // groups, *kernel))
    return 1, dense
