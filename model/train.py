# SPDX-License-Identifier: Apache-2.0
"""Training of the example networks: seconds on two cores, the same weights for the same seed."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn
from torch.nn import functional as F

from .data import Dataset
from .errors import OneSpikeError
from .files import write_atomically
from .networks import build


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a training run; equal settings and data on the same machine give equal weights.

    shift: images are moved by up to so many pixels at random. flip: and mirrored.
    """

    epochs: int = 16
    batch: int = 100
    rate: float = 0.02
    decay: float = 0.01
    shift: int = 2
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not self.rate > 0 or self.shift < 0:
            raise OneSpikeError(f"Epochs must be at least 1, the batch at least 2, the rate positive: not {self}.")


def batches(
    data: Dataset, settings: Training, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of shuffled, shifted, mirrored batches; a last batch of one image is left out."""
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    order = torch.randperm(len(labels), generator=generator)
    for chosen in order.split(settings.batch):
        if len(chosen) > 1:
            yield augment(images[chosen], settings, generator), labels[chosen]


def augment(images: torch.Tensor, settings: Training, generator: torch.Generator) -> torch.Tensor:
    """Images [N, C, H, W], each moved and mirrored at random; places from outside are 0."""
    number, _, height, width = images.shape
    shift = settings.shift
    if shift:
        padded = F.pad(images, (shift,) * 4)
        offsets = torch.randint(0, 2 * shift + 1, (2, number, 1), generator=generator)
        rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
        index = torch.arange(number)[:, None, None]
        images = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if settings.flip:
        mirrored = torch.rand(number, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images.contiguous(memory_format=torch.channels_last)


def train(module: nn.Module, data: Dataset, settings: Training, *, progress: bool = True) -> nn.Module:
    """Train `module` in place (AdamW, one-cycle rate, cross entropy) and return it in eval mode."""
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(module.parameters(), settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * -(-len(data) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with (
        torch.random.fork_rng(devices=[]),
        Progress(*columns, console=Console(file=sys.stderr), disable=not progress) as bar,
    ):
        torch.manual_seed(settings.seed)  # dropout draws from the global generator
        task = bar.add_task("training", total=steps, note="")
        for epoch in range(settings.epochs):
            right = 0
            for images, labels in batches(data, settings, generator):
                logits = module(images)
                loss = F.cross_entropy(logits, labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                right += int((logits.argmax(1) == labels).sum())
                bar.advance(task)
            bar.update(task, note=f"epoch {epoch + 1}/{settings.epochs}, {100 * right / len(data):.1f} % right")
    return module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def accuracy(module: nn.Module, data: Dataset, batch: int = 250) -> float:
    """Share of right answers."""
    right = 0
    with torch.no_grad():
        for start in range(0, len(data), batch):
            logits = module(torch.from_numpy(data.images[start : start + batch]))
            right += int((logits.argmax(1).numpy() == data.labels[start : start + batch]).sum())
    return right / len(data)


def train_or_load(
    network: str, data: Dataset, settings: Training, cache: str | Path, *, progress: bool = True
) -> tuple[nn.Module, bool]:
    """The trained network and whether it came from `cache`, a folder of weights keyed by settings, data and torch."""
    digest = hashlib.sha256(json.dumps([network, asdict(settings), torch.__version__]).encode())
    digest.update(data.images.tobytes() + data.labels.tobytes())
    module = build(network, settings.seed)
    text = "".join(str(layer) for layer in module.modules())
    digest.update(text.encode())
    path = Path(cache) / f"{network}-{digest.hexdigest()[:16]}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            module.load_state_dict({key: torch.from_numpy(archive[key]) for key in archive.files})
        return module.eval(), True
    except Exception:  # absent, damaged or of another version: train again
        module = build(network, settings.seed)
    train(module, data, settings, progress=progress)
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value.numpy() for key, value in module.state_dict().items()})  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
    return module, False
