# SPDX-License-Identifier: Apache-2.0
"""Levels: a value is searched in a table of thresholds, and the code of the level found is stored."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def levels(values: ArrayLike, thresholds: Sequence[int], stored: Sequence[int]) -> NDArray[np.int64]:
    """``stored[number of thresholds <= value]``, element by element.

    thresholds: rising, one fewer than `stored`. Golden function of :class:`onespike.hw.engine.levels.LevelsUnit`.
    """
    values, limits = np.asarray(values), np.asarray(thresholds, np.int64)
    assert np.issubdtype(values.dtype, np.integer), f"values must hold integers, not {values.dtype}"
    assert len(limits) + 1 == len(stored), f"{len(stored)} levels have one threshold fewer, not {len(limits)}"
    assert np.all(limits[1:] >= limits[:-1]), f"thresholds must rise: {list(thresholds)}"
    result: NDArray[np.int64] = np.asarray(stored, np.int64)[np.searchsorted(limits, values, side="right")]
    return result
