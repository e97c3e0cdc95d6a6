# SPDX-License-Identifier: Apache-2.0
"""`onespike play`: episodes of an environment, decided by an integer network."""

from __future__ import annotations

import argparse
import io
import warnings
from typing import Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.errors import OneSpikeError
from ..model.network.judge import answers
from ..model.network.spec import SpikeNet
from ..model.system.files import write_atomically
from ..progress import Progress


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    """One or more episodes, decided by the integers of the golden model."""
    from ..model.training import dqn
    from ..model.training.environment import Environment
    from .policy import figures_of

    net = SpikeNet.load(args.net)
    environment = Environment(args.environment)
    wanted, found = ((environment.features, 1, 1), environment.actions), (net.image.shape, net.output[0])
    if wanted != found:
        raise OneSpikeError(
            f"{args.net} takes {found[0]} and answers {found[1]}, but {environment.name} has {environment.features} "
            f"features and {environment.actions} actions; give the network that was trained on it."
        )

    def decide(state: np.ndarray) -> int:
        with warnings.catch_warnings():  # one state may be near 0 in all of its numbers
            warnings.simplefilter("ignore")
            logits = net.golden(state[None, :, None, None])
        return int(answers(logits, net.output)[0])

    returns, states, actions = [], [], []
    with progress.stage("play", f"Playing {args.episodes} episodes of {environment.name}"):
        for episode in range(args.episodes):
            total, seen, done = dqn.play(environment, decide, dqn.JUDGE_SEED + args.seed * 1000 + episode)
            returns.append(total)
            states.append(seen)
            actions.append(done)
    if args.output is not None:
        buffer = io.BytesIO()
        np.savez(buffer, images=np.concatenate(states)[:, :, None, None], labels=np.concatenate(actions))
        write_atomically(args.output, buffer.getvalue())
    figures = figures_of(dqn.Returns(episodes=tuple(returns)))
    spread = f", deviation {figures['deviation']:.1f}" if args.episodes > 1 else ""
    rows = [("sum of rewards", f"mean {figures['mean']:.1f}{spread}"), ("decisions", f"{sum(map(len, actions)):,}")]
    if args.output is not None:
        rows += [
            ("states", f"{args.output}, and as labels the actions"),
            ("next", f"onespike simulate {args.net} --data {args.output} --images {sum(map(len, actions))}"),
        ]
    tables.facts(console, f"{environment.name} played by {args.net}", rows)
    return {"network": {"hash": net.hash}, "environment": environment.name, **figures}
