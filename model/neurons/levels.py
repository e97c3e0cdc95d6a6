# SPDX-License-Identifier: Apache-2.0
"""The table neuron: which of its levels a sum fires."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def levels(values: ArrayLike, thresholds: ArrayLike, stored: ArrayLike) -> NDArray[np.int64]:
    """``stored[number of thresholds <= value]``, element by element.

    values: integers of any shape, sums after their shift; thresholds [n] rising; stored [n + 1] integers: the levels,
    or what a memory holds for them. Golden function of :class:`onespike.hw.engine.levels.LevelUnit`.
    """
    values, thresholds, stored = (np.asarray(each) for each in (values, thresholds, stored))
    for name, each in (("values", values), ("thresholds", thresholds), ("stored", stored)):
        assert np.issubdtype(each.dtype, np.integer), f"{name} must hold integers, not {each.dtype}"
    assert thresholds.ndim == stored.ndim == 1 and len(stored) == len(thresholds) + 1, "thresholds lie between levels"
    assert np.all(thresholds[1:] >= thresholds[:-1]), "thresholds must rise"
    result: NDArray[np.int64] = stored.astype(np.int64)[np.searchsorted(thresholds, values, side="right")]
    return result
