# SPDX-License-Identifier: Apache-2.0
"""Levels of sums in torch: the golden model's at every threshold, one below and one above it."""

import numpy as np
import pytest
import torch

from onespike.model.network.levels import Levels
from onespike.model.training import firing

TABLES = (
    Levels((0, 1, 2, 3, 4, 6, 8), (3, 9, 14, 20, 31, 40), 2),
    Levels((-4, -2, 0, 1, 5), (-17, -5, 1, 2), 3),
    Levels((0, 7), (1,), 0),
)


@pytest.mark.parametrize("longest", [firing.LONGEST, 1], ids=["looked up", "searched"])
@pytest.mark.parametrize("table", TABLES)
def test_levels_of_sums(table: Levels, longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "LONGEST", longest)
    ends = np.array(table.thresholds)
    fine = 4  # sums have two more binary places than the thresholds, so that some lie between
    sums = np.unique(np.concatenate([ends * fine + off for off in (-fine, -1, 0, 1, fine)] + [[-9999, 9999]]))
    real = torch.tensor(np.ldexp(sums.astype(np.float32), -table.fraction - 2)).view(1, -1, 1, 1)
    want = [table.levels[int(sum(-(-end * fine) <= x for end in ends))] for x in sums]
    for laid in (real, real.expand(2, -1, 3, 1).contiguous(memory_format=torch.channels_last)):
        found = firing.levels_of(table, laid)
        assert found.shape == laid.shape and (found == torch.tensor(want).view(1, -1, 1, 1)).all()


def test_the_gradient_is_that_of_the_clamp() -> None:
    sums = torch.tensor([-0.25, 0.0, 1.5, 7.75, 8.0, 8.25]).view(1, -1, 1, 1).requires_grad_()
    counts = firing._Levels.apply(sums, 8, TABLES[0])
    assert counts.flatten().tolist() == [0, 0, 1, 6, 6, 6]
    (counts * torch.arange(1.0, 7).view(1, -1, 1, 1)).sum().backward()
    assert sums.grad is not None and sums.grad.flatten().tolist() == [0, 2, 3, 4, 5, 0]
