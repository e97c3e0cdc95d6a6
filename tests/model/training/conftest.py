# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that train."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order: equal seeds then give equal networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
