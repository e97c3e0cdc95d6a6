# SPDX-License-Identifier: Apache-2.0
"""`onespike train --method one-timestep`: the trained network as spiking neurons, over fewer and fewer steps to one."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .. import tables
from ..model.cost.spike_energy import energy_ratio, memory_accesses
from ..model.errors import OneSpikeError
from ..model.training.data import Dataset
from ..progress import Progress

if TYPE_CHECKING:
    import torch

    from ..model.training.latency import Reduction
    from ..model.training.train import Training

METHOD = "one-timestep"
OPTIONS = ("steps", "stage_epochs", "stage_rate", "percentile", "prune", "prune_epochs")
PRUNE_EPOCHS = 6


def check(args: argparse.Namespace) -> None:
    """OneSpikeError for options of this method without it, and of pruning without a share."""
    if args.method != METHOD and (given := [name for name in OPTIONS if getattr(args, name) is not None]):
        option = "--" + given[0].replace("_", "-")
        raise OneSpikeError(f"{option} is about stages of spiking neurons; add --method {METHOD}, or leave it out.")
    if args.prune_epochs is not None and not args.prune:
        raise OneSpikeError("--prune-epochs says how long pruning takes; give --prune SHARE as well, or leave it out.")


def plan_of(args: argparse.Namespace, settings: Training) -> Reduction:
    """The stages that the options ask for; images move as in the training of the network."""
    from ..model.training.latency import Reduction

    plan = Reduction()
    rate = plan.training.rate if args.stage_rate is None else args.stage_rate
    training = dataclasses.replace(
        plan.training, shift=settings.shift, flip=settings.flip, seed=settings.seed, rate=rate
    )
    own = {name: getattr(args, name) for name in ("steps", "percentile") if getattr(args, name) is not None}
    return Reduction(training=training, epochs=tuple(args.stage_epochs or ()), **own)


def prune(
    module: torch.nn.Module,
    data: Dataset,
    held_out: Dataset,
    settings: Training,
    args: argparse.Namespace,
    cache: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Prune the ReLU network in place, trained on as it was, and the figures of what is left."""
    from ..model.training import magnitude
    from ..model.training.train import accuracy

    settings = dataclasses.replace(settings, epochs=args.prune_epochs or PRUNE_EPOCHS)
    with progress.stage("prune", f"Pruning {tables.percent(args.prune)} of the weights", spinner=False) as stage:
        magnitude.prune(module, data, settings, args.prune, cache)
        kept = [float((layer.weight != 0).double().mean()) for layer in magnitude.weighted(module)]
        right = accuracy(module, held_out)
        stage.note = (
            f"{tables.percent(right, 2)} right with ReLU; left, by layer: {', '.join(map(tables.percent, kept))}"
        )
    return {"share": args.prune, "epochs": settings.epochs, "accuracy": right, "kept": kept}


def reduce(
    module: torch.nn.Module,
    data: Dataset,
    held_out: Dataset,
    plan: Reduction,
    cache: Path,
    console: Console,
    progress: Progress,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network of one timestep, to be exported, and the figures of every stage, which are shown, too."""
    import torch

    from ..model.training.latency import reduce_latency

    steps = ", ".join(map(str, plan.steps))
    with progress.stage("reduce", f"Training spiking neurons at T = {steps}", spinner=False):
        net, stages = reduce_latency(module, data, held_out, plan, cache)
    macs, neurons = net.sizes(torch.from_numpy(held_out.images[:1]))
    weights = net.weights
    most = memory_accesses(weights, sum(neurons), plan.steps[0])
    rows = []
    for stage in stages:
        spikes = [rate * stage.steps for rate in stage.rates]
        accesses = memory_accesses(weights, sum(neurons), stage.steps)
        rows.append(
            {
                **dataclasses.asdict(stage),
                "spikes": sum(s * n for s, n in zip(spikes, neurons, strict=True)) / sum(neurons),
                "energy_ratio": energy_ratio(macs, spikes),
                "memory_accesses": accesses,
                "memory_share": accesses / most,
            }
        )
    _show(console, rows)
    return net.one_step(), {"macs": macs, "neurons": neurons, "weights": weights, "stages": rows}


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = tables.titled(
        "Stages: spiking neurons at T steps",
        "T, weights, accuracy, spikes of a neuron, by layer and step, energy of ANN, memory accesses",
        "Energy as eq. 4 of Chowdhury, Rathi and Roy: how much more the ANN takes (FP32, 4.6 pJ a MAC, 0.9 pJ an "
        "addition, memory not charged). Memory accesses: weights in every step, and membranes where T > 1, of those of "
        "the first stage.",
    )
    for row in rows:
        table.add_row(
            str(row["steps"]),
            tables.percent(row["kept"]),
            tables.percent(row["accuracy"], 2),
            f"{row['spikes']:.3f}",
            " ".join(f"{rate:.3f}" for rate in row["rates"]),
            f"{row['energy_ratio']:.1f} x",
            f"{row['memory_share']:.3f}",
        )
    console.print(table)
