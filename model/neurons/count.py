# SPDX-License-Identifier: Apache-2.0
"""The count: how many of the g spikes of one neuron fire."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def count(acc: ArrayLike, shift: ArrayLike, groups: ArrayLike) -> NDArray[np.int64]:
    """``clip(acc >> shift, 0, groups)``, element by element; the shift is arithmetic, so it rounds down.

    Golden function of :class:`onespike.hw.engine.count.CountUnit`. The arguments broadcast.
    """
    acc, shift, groups = (np.asarray(value) for value in (acc, shift, groups))
    for name, value in (("acc", acc), ("shift", shift), ("groups", groups)):
        assert np.issubdtype(value.dtype, np.integer), f"{name} must hold integers, not {value.dtype}"
    assert np.all((shift >= 0) & (shift < 63)), f"shift must be in 0..62, not {shift}"
    assert np.all(groups >= 0), f"groups must not be negative, not {groups}"
    result: NDArray[np.int64] = np.clip(acc.astype(np.int64) >> shift.astype(np.int64), 0, groups.astype(np.int64))
    return result
