# SPDX-License-Identifier: Apache-2.0
"""Faults: flipped bits in a network that runs, with and without parity and watchdog: `python -m onespike.bench.faults`.

Jobs as in `docs/campaigns.md`: what is finished is kept. The table is that of `docs/faults.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..hw.config import EngineConfig
from ..model.convert.converter import prepare
from ..model.cost.bound import most_cycles
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import fit_config, map_network
from ..model.network.spec import SpikeNet
from ..model.system import campaign
from ..model.system.files import write_atomically
from ..model.training.data import DIGITS, load
from ..model.training.train import Training, train
from ..sim.faults import OUTCOMES, jobs
from .workloads import pooled

KINDS = ("weights", "spikes", "program", "walk tables", "channels", "queues and sums", "registers")
WATCHDOG = 4096  # cycles, or as many as a layer of the network can take


def engines(net: SpikeNet, banks: int, lanes: int) -> dict[str, EngineConfig]:
    plain = fit_config(net, EngineConfig(banks=banks, lanes=lanes))
    watchdog = max(WATCHDOG, *most_cycles(map_network(net, plain)))
    return {"plain": plain, "parity": dataclasses.replace(plain, parity=True, watchdog=watchdog)}


def small_network(folder: Path) -> tuple[SpikeNet, np.ndarray]:
    """Two convolutions and a linear layer for digits of 8 x 8 pixels, trained in seconds and kept, and test images."""
    from torch import manual_seed, nn

    data, test = pooled(load(DIGITS, "train")), pooled(load(DIGITS, "test"))
    path = folder / "small.spike"
    if not path.exists():
        manual_seed(0)
        first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        train(module, data, Training(epochs=12, shift=0))
        prepare(module, calibration=data.images[:256], groups=8).net.save(path)
    return SpikeNet.load(path), test.images


def summed(found: list[tuple[str, str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Engine -> kind -> trials, outcomes, what was noted, and what nobody noticed, of all jobs."""
    result: dict[str, dict[str, Any]] = {}
    for engine, kind, part in found:
        row = result.setdefault(engine, {}).setdefault(
            kind, {"trials": 0, "outcomes": Counter(), "noted": Counter(), "silent": []}
        )
        row["trials"] += part["trials"]
        row["outcomes"].update(part["outcomes"])
        row["noted"].update(part["noted"])
        row["silent"] += part["silent"]
    return result


def markdown(figures: dict[str, dict[str, Any]]) -> str:
    """The table: shares of the trials in percent."""
    lines = [f"| engine | flipped | trials | {' | '.join(OUTCOMES)} |", f"|---|---|--:|{'--:|' * len(OUTCOMES)}"]
    for engine, kinds in figures.items():
        for kind, row in kinds.items():
            shares = (f"{100 * row['outcomes'].get(name, 0) / row['trials']:.1f}" for name in OUTCOMES)
            lines.append(f"| {engine} | {kind} | {row['trials']:,} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onespike.bench.faults", description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", type=Path, help="a .spike file (default: a small one, which is trained)")
    parser.add_argument("--data", default=DIGITS, help="its images (default: digits)")
    parser.add_argument("--images", type=int, default=20, help="of them, one in each trial (default: 20)")
    parser.add_argument("--trials", type=int, default=500, help="of every kind and engine (default: 500)")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS), help="what is flipped (default: all)")
    parser.add_argument("--banks", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--executor", default="local", help="local, local:N or dask://host:port (default: local)")
    parser.add_argument("--build", type=Path, default=Path("build/faults"), help="engines and finished jobs")
    parser.add_argument("--json", type=Path, help="a file for the figures, with every flip that nobody noticed")
    args = parser.parse_args(argv)
    console = Console(highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        if args.network is None:
            net, images = small_network(args.build)
        else:
            net, images = SpikeNet.load(args.network), load(args.data, "test").images
        codes = net.image.quantise(images[: args.images])
        todo = [
            (name, job)
            for name, config in engines(net, args.banks, args.lanes).items()
            for job in jobs(map_network(net, config), codes, args.kind, args.trials, args.build.absolute())
        ]
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            task = bar.add_task("Jobs", total=None)
            found = campaign.run([job for _, job in todo], args.executor, keep=args.build / "jobs",
                                 done=lambda done, total: bar.update(task, completed=done, total=total))  # fmt: skip
    except (OneSpikeError, AssertionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, OneSpikeError) else 1
    except KeyboardInterrupt:
        return 130  # what is finished is kept
    parts = [(name, job.arguments[2], part) for (name, job), part in zip(todo, found, strict=True)]
    figures = summed(parts)
    console.print(markdown(figures), soft_wrap=True)
    if args.json is not None:
        write_atomically(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
