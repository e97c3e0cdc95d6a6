# SPDX-License-Identifier: Apache-2.0
"""What every test of a command may ask for: a small network's file, and a folder of images for it."""

import numpy as np
import pytest

from command_line import small_net, write_idx


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.spike"
    small_net().save(path)
    return path


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    return write_idx(tmp_path / "images", rng.integers(0, 256, (5, 6, 6)), rng.integers(0, 3, 5))
