# SPDX-License-Identifier: Apache-2.0
"""Kernels whose outputs read only some inputs, as blocks without the zeros between them (ONNX and PyTorch: groups)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .source import Source


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


def depthwise(codes: np.ndarray, source: Source, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sums [n, H', W', out] of padded codes [n, H, W, in], each channel of which is a group: tap by tap, no gathering.

    matrix: [in, taps, outputs of a channel]; size: H', W'.
    """
    kernel_h, kernel_w = source.weights.shape[2:]
    (step_y, step_x), (gap_y, gap_x) = source.stride, source.dilation
    own = matrix.shape[2]
    total: np.ndarray | None = None
    for tap, (y, x) in enumerate((y * gap_y, x * gap_x) for y in range(kernel_h) for x in range(kernel_w)):
        rows, columns = slice(y, y + step_y * size[0], step_y), slice(x, x + step_x * size[1], step_x)
        values = codes[:, rows, columns][:, : size[0], : size[1]]
        if own == 1:
            part = values * matrix[:, tap, 0]
        else:
            part = (values[..., None] * matrix[:, tap]).reshape(*values.shape[:3], -1)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total
