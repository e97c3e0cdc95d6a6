# SPDX-License-Identifier: Apache-2.0
"""torch's threads, for as long as a block lasts: they spin while they wait for one another, unless OMP_WAIT_POLICY was
PASSIVE when torch was imported, and beside other busy processes that takes several times as long as one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """So many threads for torch inside; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
