# SPDX-License-Identifier: Apache-2.0
"""The loss against its formulas, for several classes and for one output."""

import numpy as np
import pytest
import torch

from onespike.model.errors import OneSpikeError
from onespike.model.training.distil import check, distilled

RNG = np.random.default_rng(0)
IMAGES = torch.zeros(6, 1)  # that nothing looks at


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_classes(share, temperature):
    logits, asked, labels = RNG.normal(0, 3, (6, 4)), RNG.normal(0, 3, (6, 4)), RNG.integers(0, 4, 6)
    wrong = -np.log(softmax(logits)[np.arange(6), labels]).mean()
    wanted, found = softmax(asked / temperature), softmax(logits / temperature)
    divergence = (wanted * np.log(wanted / found)).sum(1).mean()
    loss = distilled(lambda images: torch.from_numpy(asked), share, temperature)
    missed = loss(torch.from_numpy(logits), IMAGES, torch.from_numpy(labels))
    assert float(missed) == pytest.approx((1 - share) * wrong + share * temperature**2 * divergence)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_one_output(share, temperature):
    logits, asked, labels = RNG.normal(0, 3, (6, 1)), RNG.normal(0, 3, (6, 1)), RNG.integers(0, 2, 6)

    def entropy(values, likely):
        found = 1 / (1 + np.exp(-values))
        return -(likely * np.log(found) + (1 - likely) * np.log(1 - found)).mean()

    likely = 1 / (1 + np.exp(-asked / temperature))
    wanted = (1 - share) * entropy(logits, labels[:, None]) + share * temperature**2 * entropy(
        logits / temperature, likely
    )
    loss = distilled(lambda images: torch.from_numpy(asked), share, temperature)
    assert float(loss(torch.from_numpy(logits), IMAGES, torch.from_numpy(labels))) == pytest.approx(wanted)


def test_a_teacher_of_no_share_is_not_asked():
    def teacher(images):
        raise AssertionError("asked")

    loss = distilled(teacher, 0.0, 1.0)
    assert float(loss(torch.zeros(6, 4), IMAGES, torch.zeros(6, dtype=torch.int64))) == pytest.approx(np.log(4))


def test_bad_settings():
    check(1.0, 2.0, 0.5)
    with pytest.raises(OneSpikeError, match=r"^distil must lie in 0\.\.1, not -0\.1\.$"):
        check(-0.1, 1.0, 0.0)
    with pytest.raises(OneSpikeError, match=r"^temperature must be positive, not nan\.$"):
        check(0.5, float("nan"), 0.0)
    with pytest.raises(OneSpikeError, match=r"^Mixed images have no labels: mix needs distil = 1, not 0\.9\.$"):
        check(0.9, 1.0, 0.1)
