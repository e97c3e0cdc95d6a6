# SPDX-License-Identifier: Apache-2.0
"""Clamp-and-quantise training: a few epochs in which the network learns with the integers that it will run on.

Batch norm is folded beforehand, and the trained module computes the golden model's own integers (`clamped`), so
nothing is lost between training and hardware.
"""

from __future__ import annotations

import functools
import inspect
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..convert.arguments import check_names
from ..convert.converter import Conversion, prepare
from ..convert.image_tensor import check_images
from ..errors import OneSpikeError
from ..network.judge import judge_of
from . import prune
from .clamped import ClampQuantised, FloatGraph, quick
from .data import Dataset
from .distil import check as check_distilling
from .distil import distilled
from .events import prices
from .train import Training, checkpoint_of, fit


def finetune(
    network: Any,
    data: Dataset,
    *,
    epochs: int = 4,
    rate: float = 1e-3,
    batch: int = 100,
    shift: int = 2,
    flip: bool = False,
    distil: float = 0.5,
    temperature: float = 1.0,
    mix: float = 0.0,
    events: float = 0.0,
    prune_rows: float = 0.0,
    prune_lanes: int = 16,
    seed: int = 0,
    checkpoints: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Conversion:
    """Train the quantised network for a few epochs; `.net` of the result is the integer network.

    network: a `Conversion`, or whatever `convert` takes, which `settings` go to (the data serve as calibration).
    data: images in the module's own scale. distil: weight of the float network's answers beside the labels;
    temperature: what both logits are divided by before they are compared. mix: blend every image with another one, up
    to this share (Zhang et al., arXiv 1710.09412); only the float network can answer for such images, so that distil
    must be 1. They show more of the float network's function than the images that it has learned by heart.
    events: weight in the loss of the events that the engine makes per dense MAC, as `operations.count` counts them
    with all multiples: fewer cycles for some accuracy. prune_rows: share of the weight rows that become zero on the
    way, for an engine of `prune_lanes` lanes (prune.py). checkpoints: a folder that keeps the state after every epoch,
    so that the same call goes on after a break. Equal seeds give equal networks on the same machine and number of
    threads.
    Raises OneSpikeError as `convert` does.
    """
    own = inspect.getfullargspec(finetune)
    check_names(settings, prepare, settings.get("method", "psg"), "finetune", [*own.args, *own.kwonlyargs])
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    if not isinstance(network, Conversion):
        settings.setdefault("calibration", data.images)
        network = prepare(network, **settings)
    elif settings:
        raise OneSpikeError(f"{sorted(settings)[0]!r} is fixed by the conversion already; leave it out.")
    check_distilling(distil, temperature, mix)
    if not events >= 0 or events == float("inf"):
        raise OneSpikeError(f"events must be a finite weight of at least 0, not {events}.")
    prune.check(prune_rows, prune_lanes)
    check_data(network, data)
    pruning = prune.RowPruning(network, data.images, prune_rows, prune_lanes) if prune_rows else None
    model = ClampQuantised(network, prices(network.net) if events else None, pruning)
    answers = distilled(FloatGraph(network, quick()), distil, temperature)

    def loss(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        found = answers(logits, images, labels)
        return found + events * model.cost if events else found

    plan = Training(
        epochs=epochs, batch=batch, rate=rate, decay=0.0, warmup=0.1, shift=shift, flip=flip, mix=mix, seed=seed
    )
    chosen = [network.net.hash, asdict(plan), distil, temperature, events]
    chosen += [prune_rows, prune_lanes] if pruning else []
    checkpoint = checkpoint_of(checkpoints, "finetune", chosen, data)

    def note() -> str:
        return f", {float(model.cost.detach()):.3f} hidden events per MAC" if events else ""

    after = None if pruning is None else functools.partial(pruning.after, kernels=model.kernels)
    fit(model, data, plan, loss, "fine-tuning", checkpoint=checkpoint, progress=progress, note=note, after=after)
    return model.result()


def check_data(conversion: Conversion, data: Dataset) -> None:
    """OneSpikeError unless these labelled images can train the network."""
    check_images(data.images, conversion.image)
    judge_of(conversion.net, data.labels, repr(data.name))
    if (places := math.prod(conversion.net.output[1:])) > 1:
        raise OneSpikeError(
            f"Fine-tuning is for networks that answer once an image, but this one answers at {places} places; convert "
            f"it without, with more groups or weight bits."
        )
