# SPDX-License-Identifier: Apache-2.0
"""The loss of fine-tuning: right labels, and the answers that the float network gives (Hinton et al., arXiv
1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import OneSpikeError
from .train import wrong


def check(share: float, temperature: float, mix: float) -> None:
    """OneSpikeError unless these can be; mix: of images, as in `Training`."""
    if not 0 <= share <= 1:
        raise OneSpikeError(f"distil must lie in 0..1, not {share}.")
    if not temperature > 0:
        raise OneSpikeError(f"temperature must be positive, not {temperature}.")
    if mix and share != 1:
        raise OneSpikeError(f"Mixed images have no labels: mix needs distil = 1, not {share}.")


def distilled(
    teacher: Callable[[Tensor], Tensor], share: float, temperature: float
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """loss(logits, images, labels): the cross-entropy to the labels, and for `share` of it to the teacher's answers.

    temperature: what both logits are divided by before they are compared.
    """

    def loss(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        found = (1 - share) * wrong(logits, labels)
        if not share:
            return found
        with torch.no_grad():
            asked = teacher(images) / temperature
        if logits.shape[1] == 1:
            missed = F.binary_cross_entropy_with_logits(logits / temperature, asked.sigmoid())
        else:
            missed = F.kl_div((logits / temperature).log_softmax(1), asked.softmax(1), reduction="batchmean")
        return found + share * temperature**2 * missed

    return loss
