# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that train."""

from collections.abc import Callable

import pytest
import torch

from onespike.model.training.train import batches


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order: equal seeds then give equal networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stop_in_second_epoch(monkeypatch) -> Callable[[], list[int]]:
    """From its call on, training stops once, as its second epoch begins; it gives a list with an entry an epoch."""

    def interrupt() -> list[int]:
        calls: list[int] = []

        def stop(*arguments):
            calls.append(0)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return batches(*arguments)

        monkeypatch.setattr("onespike.model.training.train.batches", stop)
        return calls

    return interrupt
