# SPDX-License-Identifier: Apache-2.0
"""Shards of images through the golden model are one run; what is kept is not run again."""

import numpy as np
import pytest

from command_line import small_net
from onespike.model.network import shards

NET = small_net()
CODES = np.random.default_rng(4).integers(0, 256, (5, *NET.image.shape), dtype=np.uint8)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_shards_are_one_run(size, tmp_path, monkeypatch):
    told = []
    found = shards.golden_shards(NET, CODES, keep=tmp_path, shard=size, done=lambda *numbers: told.append(numbers))
    np.testing.assert_array_equal(found, NET.golden(CODES))
    parts = -(-5 // size)
    assert told == [(number, parts) for number in range(parts + 1)]
    monkeypatch.setattr(shards.campaign, "work", None)
    np.testing.assert_array_equal(shards.golden_shards(NET, CODES, keep=tmp_path, shard=size), found)
