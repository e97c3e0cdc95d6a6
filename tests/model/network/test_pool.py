# SPDX-License-Identifier: Apache-2.0
"""Pools: what their numbers may be, side by side, and the windows at the edges of a map."""

import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network.pool import Pool


@pytest.mark.parametrize("side", range(4))
def test_padding_is_smaller_than_the_kernel_on_every_side(side):
    kernel = (3, 2)
    for size in (kernel[side // 2] - 1, kernel[side // 2], -1):
        padding = tuple(size if axis == side else 0 for axis in range(4))
        if 0 <= size < kernel[side // 2]:
            assert Pool(kind="max", kernel=kernel, stride=(1, 1), padding=padding).padding == padding
        else:
            with pytest.raises(OneSpikeError, match=r"^Pool padding .* must be smaller than the kernel \(3, 2\)\.$"):
                Pool(kind="max", kernel=kernel, stride=(1, 1), padding=padding)


@pytest.mark.parametrize("change", [{"kernel": (0, 1)}, {"kernel": (1, 0)}, {"stride": (0, 1)}, {"stride": (1, 0)}])
def test_kernel_and_stride_are_at_least_one(change):
    assert Pool(kind="sum", kernel=(1, 1), stride=(1, 1)).output_shape(4, 5) == (4, 5)
    with pytest.raises(OneSpikeError, match=r"^Pool kernel and stride must be at least 1, not"):
        Pool(**{"kind": "sum", "kernel": (1, 1), "stride": (1, 1), **change})


def test_windows_are_clipped_to_the_map():
    pool = Pool(kind="max", kernel=(3, 2), stride=(2, 1), padding=(1, 2, 0, 1))
    assert pool.output_shape(4, 3) == (3, 3)
    rows, columns = pool.windows(4, 3)
    assert rows == [range(0, 2), range(1, 4), range(3, 4)] and columns == [range(0, 2), range(1, 3), range(2, 3)]
    assert Pool(kind="max", kernel=(5, 5), stride=(1, 1)).output_shape(4, 3) == (0, 0)
