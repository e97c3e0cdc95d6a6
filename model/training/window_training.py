# SPDX-License-Identifier: Apache-2.0
"""Training of a network of windows and fused membranes (windowed.py): surrogate gradients, from random weights on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from ..errors import OneSpikeError
from ..frontend.torch_threads import torch_threads
from ..system import parallel
from .data import Dataset
from .train import Training, fit, recall, remember, wrong
from .windowed import WindowedNet, WindowPlan

RATED = 1000  # images that spikes are counted on


def train_windows(
    data: Dataset, plan: WindowPlan, settings: Training, cache: str | Path, *, progress: bool = True
) -> tuple[WindowedNet, bool]:
    """The trained network in eval mode, and whether it was found in `cache`.

    data: images [N, C, H, W] in 0..1 with a class each. cache: a folder that keeps the weights when they are there and
    the state after every epoch, both by the plan, the settings and the data: the same call goes on after a break.
    Raises OneSpikeError for images that do not divide into the windows, and where weights become what they cannot be.
    """
    plan.check_image(*data.images.shape[2:])
    if data.labels.ndim != 1 or not len(data):
        raise OneSpikeError(f"{data.name} has no class for each image, which training of windows needs.")
    classes = max(2, int(data.labels.max()) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = WindowedNet(plan, data.images.shape[1], classes)
    digest = hashlib.sha256(json.dumps([net.configuration(), asdict(settings), torch.__version__]).encode())
    digest.update(data.images.tobytes() + data.labels.tobytes())
    path = Path(cache) / f"windows-{digest.hexdigest()[:16]}.npz"
    if recall(path, net):
        return net.eval(), True
    fit(
        net.train(), data, settings, lambda logits, images, labels: wrong(logits, labels),
        f"{plan.groups} {plan.windows} windows", checkpoint=path.with_suffix(".checkpoint"), progress=progress,
        after=lambda done, steps: net.check(),
    )  # fmt: skip
    net.eval()
    remember(path, net)
    return net, False


@torch.no_grad()
def spikes_of(net: WindowedNet, images: Tensor, batch: int = 250) -> tuple[list[Tensor], Tensor]:
    """Spikes [groups, N, C, h, w] of every layer, and logits [N, classes], of images [N, C, H, W]."""
    layers: list[list[Tensor]] = [[] for _ in net.fires]
    logits = []
    with torch_threads(parallel.chosen()):
        for part in images.split(batch):
            for fire in net.fires:
                fire.seen = []
            logits.append(net(part))
            for kept, fire in zip(layers, net.fires, strict=True):
                assert fire.seen is not None
                kept += fire.seen
                fire.seen = None
    return [torch.cat(kept, 1) for kept in layers], torch.cat(logits)


def rates(net: WindowedNet, images: Tensor) -> list[float]:
    """Spikes per neuron of every layer, over all windows: a place that lies in two counts in both."""
    return [float(spikes.mean()) for spikes in spikes_of(net, images[:RATED])[0]]
