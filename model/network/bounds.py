# SPDX-License-Identifier: Apache-2.0
"""Bounds of sums, and the bits that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .source import Source


def signed_bits(low: int, high: int) -> int:
    """The two's complement width that holds every integer in [low, high]."""
    return max(int(high).bit_length(), (-int(low) - 1).bit_length() if low < 0 else 0) + 1


def reach(source: Source, low: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest sum of W * value of every output channel, for values in low..top, low <= 0 <= top.

    Integers of Python [channels]: no bias and no value is too large for them.
    """
    negative, positive = (
        part(source.weights, 0).sum((1, 2, 3), dtype=np.int64).astype(object) for part in (np.minimum, np.maximum)
    )
    low, top = low << source.shift, top << source.shift
    return negative * top + positive * low, positive * top + negative * low
