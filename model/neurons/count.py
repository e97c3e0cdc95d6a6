# SPDX-License-Identifier: Apache-2.0
"""The count: how many of the g spikes of one neuron fire."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def count(acc: ArrayLike, shift: ArrayLike, groups: ArrayLike, low: ArrayLike = 0) -> NDArray[np.int64]:
    """``clip(acc >> shift, -low, groups)``, element by element; the shift is arithmetic, so it rounds down.

    Golden function of :class:`onespike.hw.engine.count.CountUnit`. The arguments broadcast.
    """
    acc, shift, groups, low = (np.asarray(value) for value in (acc, shift, groups, low))
    for name, value in (("acc", acc), ("shift", shift), ("groups", groups), ("low", low)):
        assert np.issubdtype(value.dtype, np.integer), f"{name} must hold integers, not {value.dtype}"
    assert np.all((shift >= 0) & (shift < 63)), f"shift must be in 0..62, not {shift}"
    assert np.all(groups >= 0), f"groups must not be negative, not {groups}"
    assert np.all(low >= 0), f"low must not be negative (the lowest count is -low), not {low}"
    acc, shift, groups, low = (value.astype(np.int64) for value in (acc, shift, groups, low))
    result: NDArray[np.int64] = np.clip(acc >> shift, -low, groups)
    return result
