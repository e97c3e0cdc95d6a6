# SPDX-License-Identifier: Apache-2.0
"""Clamp-and-quantise training: a few epochs in which the network learns with the integers that it will run on.

Batch norm is folded beforehand, and the trained module computes the golden model's own integers (`clamped`), so
nothing is lost between training and hardware.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch.nn import functional as F

from .clamped import ClampQuantised, FloatGraph
from .converter import Conversion, check_images, prepare
from .data import Dataset
from .errors import OneSpikeError
from .train import Training, batches


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
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Conversion:
    """Train the quantised network for a few epochs; `.net` of the result is the integer network.

    network: a `Conversion`, or whatever `prepare` takes, which `settings` go to (the data serve as calibration).
    data: images in the module's own scale. distil: weight of the float network's answers beside the labels. Equal seeds
    give equal networks on the same machine and number of threads. Raises OneSpikeError as `prepare` does.
    """
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    if not isinstance(network, Conversion):
        settings.setdefault("calibration", data.images)
        network = prepare(network, **settings)
    elif settings:
        raise OneSpikeError(f"{sorted(settings)[0]!r} is fixed by the conversion already; leave it out.")
    if not 0 <= distil <= 1:
        raise OneSpikeError(f"distil must lie in 0..1, not {distil}.")
    check_images(data.images, network.image)
    plan = Training(epochs=epochs, batch=batch, rate=rate, shift=shift, flip=flip, seed=seed)
    model, teacher = ClampQuantised(network), FloatGraph(network)
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, rate)
    steps = epochs * -(-len(data) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not progress) as bar:
        task = bar.add_task("fine-tuning", total=steps, note="")
        for epoch in range(epochs):
            right = 0
            for images, labels in batches(data, plan, generator):
                logits = model(images)
                loss = (1 - distil) * F.cross_entropy(logits, labels)
                if distil:
                    with torch.no_grad():
                        answers = teacher(images).softmax(1)
                    loss = loss + distil * F.kl_div(logits.log_softmax(1), answers, reduction="batchmean")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                right += int((logits.argmax(1) == labels).sum())
                bar.advance(task)
            bar.update(task, note=f"epoch {epoch + 1}/{epochs}, {100 * right / len(data):.1f} % right")
    return model.result()
