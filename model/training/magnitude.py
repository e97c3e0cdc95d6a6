# SPDX-License-Identifier: Apache-2.0
"""Weight pruning: the weights that matter least become zero while a network goes on learning, and stay zero.

The first and the last layer stay whole. Of all others together those of the least score go, gradually, as rows do
(prune.py), in the first part of the steps (LAMP: Lee, Park, Mo, Ahn and Shin, arXiv 2010.07611):

    score of w = w**2 / sum of v**2 over all weights v of the layer that are left and not smaller

A layer's scale does not matter, as none does before a batch norm; its largest weight has score 1, and stays. Layers of
many weights lose more of them than layers of few.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import OneSpikeError
from .data import Dataset
from .prune import PART, ROUNDS, gone
from .train import Training, recall, remember, train


def prune(
    module: nn.Module, data: Dataset, settings: Training, share: float, cache: str | Path, *, progress: bool = True
) -> bool:
    """Prune `module`, a trained network, in place, and leave it in eval mode; whether it was found in `cache`.

    share: of the weights of all layers but the first and the last, that goes; from 0 to below 1. settings: of the
    training meanwhile; the rate rises and falls again. cache: a folder that keeps the network, and the state after
    every epoch, so that the same call goes on after a break. Raises OneSpikeError where nothing can be pruned.
    """
    if not 0 <= share < 1:
        raise OneSpikeError(f"The share of pruned weights must be at least 0 and below 1, not {share:g}.")
    layers = inner(module)
    digest = hashlib.sha256(json.dumps([share, asdict(settings), torch.__version__]).encode())
    digest.update(data.images.tobytes() + data.labels.tobytes() + str(module).encode())
    for value in module.state_dict().values():
        digest.update(value.numpy().tobytes())
    path = Path(cache) / f"pruned-{digest.hexdigest()[:16]}.npz"
    if recall(path, module):
        module.eval()
        return True
    for layer in layers:
        layer.register_buffer("kept", (layer.weight != 0).to(layer.weight.dtype))  # checkpoints keep it, too

    @torch.no_grad()
    def after(done: int, steps: int) -> None:
        before, now = (min(ROUNDS, int(each * ROUNDS / (PART * steps))) for each in (done - 1, done))
        if now > before:
            _drop(layers, share * gone(now / ROUNDS))
        for layer in layers:
            layer.weight.mul_(layer.get_buffer("kept"))

    checkpoint, title = path.with_suffix(".checkpoint"), f"{100 * share:g} % pruned"
    train(module, data, settings, checkpoint=checkpoint, progress=progress, title=title, after=after)
    for layer in layers:
        del layer.kept
    remember(path, module)
    return False


def inner(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The layers that are pruned: all with weights but the first and the last."""
    found = weighted(module)[1:-1]
    if not found:
        raise OneSpikeError(
            "Nothing to prune: the first and the last layer stay whole, and there are no others; choose a network of "
            "more layers, or leave pruning out."
        )
    return found


def weighted(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def scores(weights: Tensor) -> Tensor:
    """LAMP's of a layer's weights, float64, of the same shape."""
    squares = weights.detach().double().flatten().square()
    order = squares.argsort()
    ranked = squares[order]
    not_smaller = ranked.flip(0).cumsum(0).flip(0)
    found = torch.empty_like(squares)
    found[order] = ranked / not_smaller.clamp(min=torch.finfo(torch.float64).tiny)
    return found.view_as(weights)


def _drop(layers: list[nn.Conv2d | nn.Linear], share: float) -> None:
    """Mark this share of the layers' weights as gone; those that are gone already count, and stay so."""
    kept = [layer.get_buffer("kept") for layer in layers]
    found = [torch.where(mask > 0, scores(layer.weight), -1.0) for layer, mask in zip(layers, kept, strict=True)]
    joined = torch.cat([each.flatten() for each in found])
    if number := int(share * len(joined)):
        level = joined.kthvalue(number).values
        for mask, each in zip(kept, found, strict=True):
            mask[(each <= level) & (each < 1)] = 0.0
