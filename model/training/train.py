# SPDX-License-Identifier: Apache-2.0
"""Training of the example networks: seconds on two cores, the same weights for the same seed."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn
from torch.nn import functional as F

from ..errors import OneSpikeError
from ..frontend.torch_threads import torch_threads
from ..system import bounded, parallel
from ..system.files import write_atomically
from .data import Dataset
from .networks import build

CHECK = hashlib.sha256().digest_size  # bytes at the end of a checkpoint, by which damage is known


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a training run; equal settings and data on the same machine give equal weights.

    rate: the largest; it rises over the share `warmup` of the steps and falls to nothing over the rest. shift: images
    are moved by up to so many pixels at random. flip: and mirrored. mix: each is blended with another one, which makes
    up to this share of it; labels then say nothing.
    """

    epochs: int = 16
    batch: int = 100
    rate: float = 0.02
    decay: float = 0.01
    warmup: float = 0.3
    shift: int = 2
    flip: bool = False
    mix: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not self.rate > 0 or self.shift < 0:
            raise OneSpikeError(f"Epochs must be at least 1, the batch at least 2, the rate positive: not {self}.")
        if not 0 <= self.mix <= 1:
            raise OneSpikeError(f"mix must lie in 0..1, not {self.mix}.")


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
    """Images [N, C, H, W], each moved, mirrored and blended at random; places from outside are 0."""
    number, _, height, width = images.shape
    shift = settings.shift
    if shift:
        padded = F.pad(images, (shift,) * 4)
        offsets = torch.randint(0, 2 * shift + 1, (2, number, 1), generator=generator)
        for axis, side in enumerate((height, width)):
            if side == 1:  # a row of features has nowhere to go: it would become a row of zeros
                offsets[axis] = shift
        rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
        index = torch.arange(number)[:, None, None]
        images = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if settings.flip:
        mirrored = torch.rand(number, 1, 1, 1, generator=generator) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if settings.mix:
        share = settings.mix * torch.rand(number, 1, 1, 1, generator=generator)
        images = torch.lerp(images, images.flip(0), share)
    return images.contiguous(memory_format=torch.channels_last)


def progress_bar(shown: bool = True) -> Progress:
    """A bar on stderr whose tasks have a `note`."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr), disable=not shown)


def fit(
    module: nn.Module,
    data: Dataset,
    settings: Training,
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    title: str,
    *,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    note: Callable[[], str] = str,
    after: Callable[[int, int], None] | None = None,
    keep: bool = False,
) -> None:
    """Train `module` in place with AdamW and a one-cycle rate; loss(logits, images, labels) is what falls.

    note: what the progress says beside loss and share of right answers, asked after every step. after: gets the number
    of steps that are done, and that of all, after every step; what it changes in the module, checkpoints keep.
    checkpoint: a file that keeps the state after every epoch. A run that finds it goes on from there, to the same
    weights as without a break; its name must tell settings and data apart. It is removed at the end, unless it is to be
    kept: the same run then takes no time.
    """
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    checkpoint = None if checkpoint is None else Path(checkpoint)
    generator = torch.Generator().manual_seed(settings.seed)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, settings.rate, weight_decay=settings.decay)
    steps = -(-len(data) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=settings.epochs * steps, pct_start=settings.warmup
    )
    with (
        torch.random.fork_rng(devices=[]),
        torch_threads(parallel.chosen()),
        progress_bar(progress) as bar,
    ):
        torch.manual_seed(settings.seed)  # dropout draws from the global generator
        state = _restore(checkpoint, module, optimiser, schedule, generator)
        task = bar.add_task(title, total=settings.epochs * steps, completed=state * steps, note="")
        for epoch in range(state, settings.epochs):
            right, seen, lost, done = 0, 0, 0.0, epoch * steps
            for images, labels in batches(data, settings, generator):
                logits = module(images)
                optimiser.zero_grad()
                missed = loss(logits, images, labels)
                missed.backward()
                optimiser.step()
                schedule.step()
                done += 1
                if after is not None:
                    after(done, settings.epochs * steps)
                right, seen = right + int((decided(logits) == labels).sum()), seen + len(images)
                lost += len(images) * missed.item()
                said = f"epoch {epoch + 1}/{settings.epochs}, loss {lost / seen:.3f}, {100 * right / seen:.1f} % right"
                bar.update(task, advance=1, note=said + note())
            if checkpoint is not None:
                _keep(checkpoint, epoch + 1, module, optimiser, schedule, generator)
    if checkpoint is not None and not keep:
        checkpoint.unlink(missing_ok=True)


def checkpoint_of(folder: str | Path | None, kind: str, chosen: list[Any], data: Dataset) -> Path | None:
    """The file in a folder for the state of a run; its name tells kind, settings and data apart. None without one."""
    if folder is None:
        return None
    digest = hashlib.sha256(json.dumps(chosen).encode())
    digest.update(data.images.tobytes() + data.labels.tobytes())
    return Path(folder) / f"{kind}-{digest.hexdigest()[:16]}.checkpoint"


def _keep(path: Path, epoch: int, module: nn.Module, optimiser: Any, schedule: Any, generator: Any) -> None:
    buffer = io.BytesIO()
    torch.save(
        {
            "epoch": epoch,
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "generators": (generator.get_state(), torch.get_rng_state()),
        },
        buffer,
    )
    data = buffer.getvalue()
    write_atomically(path, data + hashlib.sha256(data).digest())


def _restore(path: Path | None, module: nn.Module, optimiser: Any, schedule: Any, generator: Any) -> int:
    """The number of epochs that the checkpoint has done; 0 where there is none, or a damaged one."""
    if path is None or not path.is_file():
        return 0
    try:
        data = bounded.read(path)
        if len(data) < CHECK or hashlib.sha256(data[:-CHECK]).digest() != data[-CHECK:]:
            return 0
        state = torch.load(io.BytesIO(data[:-CHECK]), weights_only=True)
    except (OneSpikeError, bounded.Damaged):
        return 0
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    generator.set_state(state["generators"][0])
    torch.set_rng_state(state["generators"][1])
    return int(state["epoch"])


def decided(logits: torch.Tensor) -> torch.Tensor:
    """The class of each image, as `judge.py` says."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] >= 0).long()


def train(
    module: nn.Module,
    data: Dataset,
    settings: Training,
    *,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    title: str = "training",
    after: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train `module` in place on the labels, as `fit` does, and return it in eval mode."""
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(
        module, data, settings, lambda logits, images, labels: wrong(logits, labels), title,
        checkpoint=checkpoint, progress=progress, after=after,
    )  # fmt: skip
    return module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def accuracy(module: nn.Module, data: Dataset, batch: int = 250) -> float:
    """Share of right answers."""
    right = 0
    with torch.no_grad(), torch_threads(parallel.chosen()):
        for start in range(0, len(data), batch):
            logits = module(torch.from_numpy(data.images[start : start + batch]))
            right += int((decided(logits).numpy() == data.labels[start : start + batch]).sum())
    return right / len(data)


def wrong(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy; of one output, with a sigmoid."""
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))


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
    if recall(path, module):
        return module.eval(), True
    train(module, data, settings, checkpoint=path.with_suffix(".checkpoint"), progress=progress)
    remember(path, module)
    return module, False


def recall(path: Path, module: nn.Module) -> bool:
    """Load what `remember` wrote; False, and the module as it was, where the file is absent, damaged or of another."""
    try:
        with bounded.opened(path) as (file, size):
            archive = bounded.Archive(file, size)
            keys = [name.removesuffix(".npy") for name in archive.names]
            found = {key: torch.from_numpy(archive.array(key).copy()) for key in keys}
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        if shapes != {key: value.shape for key, value in found.items()}:
            return False
        module.load_state_dict(found)
    except (OneSpikeError, bounded.Damaged, TypeError, ValueError, RuntimeError):  # types of torch
        return False
    return True


def remember(path: Path, module: nn.Module) -> None:
    """Write parameters and buffers to a NumPy archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **{key: value.numpy() for key, value in module.state_dict().items()})  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
