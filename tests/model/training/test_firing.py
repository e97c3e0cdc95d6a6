# SPDX-License-Identifier: Apache-2.0
"""Levels of sums in torch: the golden model's at every threshold, one below and one above it."""

import numpy as np
import pytest
import torch

from onespike.model.network.levels import Levels
from onespike.model.training import firing
from onespike.model.training.events import PART, Price

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
    counts, cost = firing._Levels.apply(sums, 8, TABLES[0], None)
    assert cost == 0 and counts.flatten().tolist() == [0, 0, 1, 6, 6, 6]
    (counts * torch.arange(1.0, 7).view(1, -1, 1, 1)).sum().backward()
    assert sums.grad is not None and sums.grad.flatten().tolist() == [0, 2, 3, 4, 5, 0]


def test_the_price_has_the_gradient_of_values_inside_the_clamp() -> None:
    """Of the images that are priced, the mean of the slopes on both sides of a value; none outside the clamp."""
    price = Price(np.full((1, 1), 2.0), np.array([0, 1, 2, 3, 4, 6, 8]), np.array([0, 1, 1, 1, 2, 4, 3]))
    sums = torch.tensor([-0.25, 0.5, 1.0, 2.5, 7.0, 7.75, 8.25]).view(1, -1, 1, 1).repeat(PART + 1, 1, 1, 1)
    sums = sums.requires_grad_()
    counts, cost = firing._Levels.apply(sums, 8, TABLES[0], price)
    assert counts[0].flatten().tolist() == [0, 0, 1, 2, 4, 6, 6]
    assert cost == 2 * (0 + 0 + 1 + 1 + 2 + 4 + 4)  # two images are priced: the mean of equal ones
    (3 * cost).backward()
    assert sums.grad is not None
    slopes = torch.tensor([0, 0.5, 0.5, 0, 1, 0.25, 0])  # 4 lies between slopes of 1 and 1, 6 between 1 and -1/2
    np.testing.assert_allclose(sums.grad[:2].flatten(1), (3 * slopes).expand(2, -1))
    assert not sums.grad[2:].any()
