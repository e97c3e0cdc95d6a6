# SPDX-License-Identifier: Apache-2.0
"""The command that puts methods side by side."""

from __future__ import annotations

from pathlib import Path

from ..model.convert.methods import METHODS
from . import options
from .network import add_clip, add_signed, add_source
from .options import Command


def add_compare(command: Command) -> None:
    compare = command(
        "compare",
        "put one trained network under every method: accuracy, spikes, events, cycles, bits moved and energy",
        "All that have hardware run on one engine. Methods are converted without training; docs/methods.md explains "
        "them.",
    )
    compare.add_argument("model", type=Path, metavar="NETWORK", help="a .pt2, .onnx or .npz: see convert")
    options.add_data(compare, 0, "images to classify", default="the first 1000")
    add_source(compare)
    add_clip(compare)
    add_signed(compare)
    methods = compare.add_argument_group("methods")
    methods.add_argument(
        "--methods",
        type=options.several(options.one_of(METHODS)),
        metavar="NAME,NAME,..",
        help=f"of {', '.join(METHODS)} (default: all)",
    )
    methods.add_argument(
        "--groups",
        type=options.several(options.number(1, 255)),
        default=(8, 15, 31),
        metavar="G,G,..",
        help="of psg; T-step networks have as many steps as the first one, and four times as many (default: 8,15,31)",
    )
    methods.add_argument(
        "--phases",
        type=options.several(options.number(2, 31)),
        default=(15, 16),
        metavar="T,T,..",
        help="of phase coding (default: 15,16)",
    )
    methods.add_argument(
        "--base", type=options.own(METHODS["phase"].settings["base"]), metavar="Q", help="of phase coding: see convert"
    )
    methods.add_argument(
        "--weight-bits", type=options.number(2, 16), default=8, metavar="N", help="bits of a weight (default: 8)"
    )
    methods.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL.pt2",
        help="another network for the same images and answers, as it was trained, such as one of `train --method "
        "one-timestep`; may be given several times",
    )
    engine = compare.add_argument_group("engine")
    engine.add_argument("--banks", type=options.power_of_two, default=4, metavar="B", help="pipelines (default: 4)")
    engine.add_argument(
        "--lanes", type=options.number(1, 256), default=16, metavar="L", help="channels of an event (default: 16)"
    )
    engine.add_argument(
        "--cycle-images",
        type=options.number(1, 32),
        default=2,
        metavar="N",
        help="images that cycles are the mean of (default: 2)",
    )
    compare.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="plot accuracy over cycles (matplotlib)")
    options.add_common(compare)


COMMANDS = (add_compare,)
