# SPDX-License-Identifier: Apache-2.0
"""Iterative latency reduction (Chowdhury, Rathi and Roy, arXiv 2110.05929): an ANN becomes a network of one timestep.

Thresholds begin at a percentile of the currents; then the network is trained at T steps, each T from the weights,
thresholds and leaks of the one before, down to 1. Weights that are zero in the ANN (magnitude.py) stay zero.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from ..errors import OneSpikeError
from ..frontend.torch_threads import torch_threads
from ..system import parallel
from .data import Dataset
from .spiking import SpikingNet
from .train import Training, accuracy, fit, recall, remember, wrong

BALANCED = 500  # training images that thresholds are set on
RATED = 1000  # images that spikes are counted on


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Settings. steps: T of every stage, falling to 1. training: of one stage. epochs: of each stage, or one number for
    all; none: those of `training`. percentile: of the currents, where thresholds begin.
    """

    steps: tuple[int, ...] = (5, 4, 3, 2, 1)
    training: Training = field(default_factory=lambda: Training(epochs=3, rate=1e-3, decay=0.0, warmup=0.1))
    epochs: tuple[int, ...] = ()
    percentile: float = 90.0

    def __post_init__(self) -> None:
        if not self.steps or any(not 1 <= t <= 100 for t in self.steps) or self.steps[-1] != 1:
            raise OneSpikeError(f"Steps must be whole numbers in 1..100 and end with 1, not {list(self.steps)}.")
        if any(one <= other for one, other in zip(self.steps, self.steps[1:], strict=False)):
            raise OneSpikeError(f"Steps must fall from stage to stage, as in 5,3,1, not {list(self.steps)}.")
        if len(self.epochs) not in (0, 1, len(self.steps)) or any(number < 1 for number in self.epochs):
            raise OneSpikeError(
                f"The epochs of stages must be one number, or one for each of {len(self.steps)} stages, at least 1, "
                f"not {list(self.epochs)}."
            )
        if not 0 < self.percentile < 100:
            raise OneSpikeError(f"The percentile of thresholds must lie between 0 and 100, not {self.percentile:g}.")

    @property
    def trainings(self) -> list[Training]:
        """The settings of every stage."""
        number = len(self.steps)
        epochs = self.epochs if len(self.epochs) == number else (*self.epochs, self.training.epochs)[:1] * number
        return [replace(self.training, epochs=each) for each in epochs]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage ends with. rates: spikes per neuron and step of every spiking layer. kept: share of all weights that
    are not zero for good. thresholds, leaks: of every spiking layer. reused: whether it was trained before.
    """

    steps: int
    accuracy: float
    rates: tuple[float, ...]
    kept: float
    thresholds: tuple[float, ...]
    leaks: tuple[float, ...]
    reused: bool


def reduce_latency(
    ann: nn.Module,
    data: Dataset,
    held_out: Dataset,
    plan: Reduction,
    cache: str | Path,
    *,
    progress: bool = True,
    told: Callable[[Stage], None] | None = None,
) -> tuple[SpikingNet, list[Stage]]:
    """The network of one timestep, and what each stage came to, on held-out images.

    ann: trained, in eval mode, as `SpikingNet` takes it. cache: a folder that keeps every stage when it ends and the
    state after every epoch, so that the same call goes on after a break. told: is called with every stage.
    Raises OneSpikeError where a threshold or leak becomes what it cannot be.
    """
    net = SpikingNet(ann, plan.steps[0])
    images = torch.from_numpy(data.images[:: -(-len(data) // BALANCED)])
    with torch_threads(parallel.chosen()):
        net.balance(images, plan.percentile)
    digest = hashlib.sha256(torch.__version__.encode())
    digest.update(data.images.tobytes() + data.labels.tobytes())
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    stages = []
    for steps, training in zip(plan.steps, plan.trainings, strict=True):
        digest.update(json.dumps([steps, asdict(training)]).encode())  # a stage depends on those before it
        path = Path(cache) / f"one-timestep-{digest.hexdigest()[:16]}.npz"
        net.steps = steps
        if not (reused := recall(path, net)):
            _train(net, data, training, path.with_suffix(".checkpoint"), progress)
            remember(path, net)
        stages.append(_judged(net, held_out, reused))
        if told is not None:
            told(stages[-1])
    return net.eval(), stages


def _train(net: SpikingNet, data: Dataset, training: Training, checkpoint: Path, progress: bool) -> None:
    net.train()

    @torch.no_grad()
    def after(done: int, steps: int) -> None:
        net.check()
        for index, layer in net.weighted():
            layer.weight.mul_(net.kept(index))

    fit(
        net, data, training, lambda logits, images, labels: wrong(logits, labels), f"T = {net.steps}",
        checkpoint=checkpoint, progress=progress, after=after,
    )  # fmt: skip


def _judged(net: SpikingNet, held_out: Dataset, reused: bool) -> Stage:
    net.eval()
    right = accuracy(net, held_out)
    with torch_threads(parallel.chosen()):
        rates = net.rates(torch.from_numpy(held_out.images[:RATED]))
    kept = sum(float(net.kept(index).sum()) for index, _ in net.weighted())
    return Stage(
        steps=net.steps, accuracy=right, rates=tuple(rates), kept=kept / net.weights, reused=reused,
        thresholds=tuple(float(fire.threshold.detach()) for fire in net.fires),
        leaks=tuple(float(fire.leak.detach()) for fire in net.fires),
    )  # fmt: skip
