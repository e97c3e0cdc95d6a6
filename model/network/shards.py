# SPDX-License-Identifier: Apache-2.0
"""The golden model on many images as jobs of some images each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..system import campaign
from ..system.campaign import Done, Job
from .spec import SpikeNet

SHARD = 1000  # images of a job


def golden_shards(
    net: SpikeNet, images: np.ndarray, executor: str = "local:1", *, keep: str | Path | None = None,
    done: Done | None = None, shard: int = SHARD,
) -> np.ndarray:  # fmt: skip
    """`net.golden(images)`, int64 [N, logits]; executor, keep and done as in `campaign.run`."""
    parts = {first: images[first : first + shard] for first in range(0, len(images), shard)}
    jobs = [
        Job(name=f"images {first} to {first + len(part) - 1}", function=logits, arguments=(net, part))
        for first, part in parts.items()
    ]
    found = campaign.run(jobs, executor, keep=keep, done=done)
    return np.concatenate([np.array(part, np.int64).reshape(-1, net.classes) for part in found])


def logits(net: SpikeNet, images: np.ndarray) -> np.ndarray:
    """One shard."""
    return net.golden(images)
