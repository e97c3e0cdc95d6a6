# SPDX-License-Identifier: Apache-2.0
"""Options of one-timestep training, for `onespike train`, and the command that plays with what it made."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import options
from .options import Command


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        choices=("relu", "one-timestep", "windows"),
        default="relu",
        help="relu (default): train the network as it is; one-timestep: and then with spiking neurons in place of each "
        "ReLU, over fewer and fewer steps, down to one; windows (experimental): a network of its own, whose windows "
        "pass membranes on",
    )
    group = parser.add_argument_group("one-timestep")
    group.add_argument(
        "--steps",
        type=options.several(options.number(1, 100)),
        metavar="T,T,..",
        help="of the stages, falling to 1; 1 alone trains at one timestep at once (default: 5,4,3,2,1)",
    )
    group.add_argument(
        "--stage-epochs",
        type=options.several(options.number(1, 1000), once=False),
        metavar="N[,N..]",
        help="of each stage, one number for all or one for each (default: 3)",
    )
    group.add_argument(
        "--stage-rate", type=options.number(1e-9, 1, float), metavar="R", help="of learning in them (default: 0.001)"
    )
    group.add_argument(
        "--percentile",
        type=options.number(0.1, 99.99, float),
        metavar="P",
        help="of a layer's sums, where its threshold begins (default: 90)",
    )
    group.add_argument(
        "--prune",
        type=options.number(0, 0.999, float),
        metavar="SHARE",
        help="of the weights of all layers but the first and the last that goes, with ReLU, before the stages "
        "(default: 0)",
    )
    group.add_argument(
        "--prune-epochs",
        type=options.number(1, 1000),
        metavar="N",
        help="of training meanwhile, with --rate, --shift and --flip (default: 6)",
    )


def add_play(command: Command) -> None:
    play = command(
        "play",
        "play episodes of an environment, decided by an integer network",
        "The network comes from `onespike train --data gym:NAME` and `onespike convert`.",
    )
    play.add_argument("net", type=Path, metavar="NET.spike")
    play.add_argument("--environment", required=True, metavar="gym:NAME", help="such as gym:CartPole-v1")
    play.add_argument("--episodes", type=options.number(1, 1000), default=1, metavar="N", help="default: 1")
    play.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.npz",
        help="the states as images and the actions as labels, for onespike simulate",
    )
    options.add_common(play, seed=True)
