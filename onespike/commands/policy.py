# SPDX-License-Identifier: Apache-2.0
"""`onespike train --data gym:..`: a policy by deep Q learning, with ReLU, then spiking, over fewer and fewer steps."""

from __future__ import annotations

import argparse
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically
from ..progress import Progress

if TYPE_CHECKING:
    from ..model.training.dqn import Returns

NETWORK = "dqn"
DEFAULT = "digits"  # of --network
RELU_STEPS = 30_000  # of the environment, unless told otherwise
STAGE_STEPS = 20_000
STAGE_RATE = 1e-4
FOLLOW = 3_000  # batches on which a spiking network learns the values of the ReLU network
STATES = 2_000  # that are kept for the calibration, spread over those that were seen last


def train(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    import torch

    from ..model.training.dqn import Memory, Policy, QLearning, follow, judged, learn
    from ..model.training.environment import Environment
    from ..model.training.latency import Reduction
    from ..model.training.spiking import SpikingNet
    from ..model.training.train import progress_bar
    from .train import exported

    _check(args)
    environment = Environment(args.data)
    spiking = args.method != "relu"
    plan = Reduction(**{name: found for name in ("steps", "percentile") if (found := getattr(args, name)) is not None})
    seed = args.seed or 0
    first = QLearning(steps=RELU_STEPS, seed=seed, **({} if args.rate is None else {"rate": args.rate}))
    torch.manual_seed(seed)
    network: Any = Policy(environment.features, environment.actions)
    memory = Memory(first.memory, environment.features)
    teacher: Any = None
    rows: list[dict[str, Any]] = []

    def stage(title: str, settings: QLearning, steps: int) -> None:
        with (
            progress.stage(f"learn {title}", f"Learning {environment.name} with {title}", spinner=False) as shown,
            progress_bar() as bar,
        ):
            task = bar.add_task(title, total=settings.steps, note="")

            def told(done: int, note: str) -> None:
                bar.update(task, completed=done, note=note)

            if teacher is not None:
                follow(network, teacher, memory.seen, settings)
            shown.note = f"{learn(environment, network, settings, memory, told):.0f} where it chose its weights"
        rows.append({"network": title, "steps": steps, **figures_of(judged(environment, network))})

    stage("ReLU", first, 0)
    module = network
    if spiking:
        teacher = network
        network = SpikingNet(network, plan.steps[0])
        network.balance(torch.from_numpy(memory.seen[-first.copy * 8 :]), plan.percentile)
        for steps in plan.steps:
            network.steps = steps
            settings = QLearning(
                steps=STAGE_STEPS, rate=args.stage_rate or STAGE_RATE, batch=128, start=0.1, follow=FOLLOW,
                seed=seed + steps,
            )  # fmt: skip
            stage(f"T = {steps}", settings, steps)
        module = network.one_step()
    states = memory.seen[:: -(-len(memory.seen) // STATES)]
    example = args.output.with_suffix(".npy")
    buffer = io.BytesIO()
    np.save(buffer, states)
    write_atomically(example, buffer.getvalue())
    write_atomically(args.output, exported(module.eval(), states[:1]))
    table = tables.titled(
        f"{environment.name}: sum of rewards of {rows[0]['episodes']} episodes, played greedily",
        "network, mean, deviation, least, most",
    )
    for row in rows:
        table.add_row(row["network"], *(f"{row[name]:.1f}" for name in ("mean", "deviation", "least", "most")))
    console.print(table)
    following = f"onespike convert {args.output} --calibration {example} --input-range -1 1 -o NET.spike"
    tables.facts(
        console,
        f"{NETWORK} trained on {environment.name}",
        [("network", str(args.output)), ("states", str(example)), ("next", following)],
    )
    return {
        "network": NETWORK,
        "environment": environment.name,
        "scale": environment.scale.tolist(),
        "returns": rows,
        "output": str(args.output),
        "states": str(example),
    }


def _check(args: argparse.Namespace) -> None:
    """OneSpikeError for options that mean nothing here."""
    given = {
        "--network": args.network not in (NETWORK, DEFAULT), "--epochs": args.epochs, "--test": args.test,
        "--limit": args.limit, "--shift": args.shift, "--flip": args.flip, "--prune": args.prune,
        "--stage-epochs": args.stage_epochs, "--prune-epochs": args.prune_epochs,
    }  # fmt: skip
    if wrong := [option for option, found in given.items() if found]:
        raise OneSpikeError(f"{wrong[0]} is about images; leave it out for the environment {args.data!r}.")


def figures_of(returns: Returns) -> dict[str, Any]:
    return {
        "episodes": len(returns.episodes),
        "mean": returns.mean,
        "deviation": returns.deviation if len(returns.episodes) > 1 else 0.0,
        "least": min(returns.episodes),
        "most": max(returns.episodes),
        "each": list(returns.episodes),
    }
