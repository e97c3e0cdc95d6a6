# SPDX-License-Identifier: Apache-2.0
"""`onespike run`: classify pictures on a board."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bar

from .. import figures
from ..fpga.bitstream import line_seconds
from ..hw.engine.counters import counter_names
from ..labels import class_names, said
from ..model.cost.explore import count_cycles
from ..model.network.spec import SpikeNet
from ..parsers.options import CHOOSING
from ..pictures import load_codes
from ..progress import Progress
from .labelled import load_data


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..fpga.host import Board
    from ..fpga.link import SerialLink

    net = SpikeNet.load(args.net)
    names = class_names(net, args.labels)
    codes = load_codes(args.images, net.image)
    guide = None
    if args.data is not None:
        given = argparse.Namespace(data=args.data, split="test", images=CHOOSING)
        guide = net.image.quantise(load_data(given, net).images)
    with contextlib.closing(SerialLink.open(args.port, baud=args.baud, timeout=args.timeout)) as link:
        with progress.stage("load", f"Loading the network through {args.port}") as stage:
            board = Board(link)
            mapping = board.load(net, guide=guide)
            how = f"{board.sent:,} words" if board.sent else "the board holds it, nothing was loaded"
            stage.note = f"{board.config.banks} banks x {board.config.lanes} lanes, {how}"
        with (
            progress.stage("classify", f"Classifying {len(codes)} images", spinner=False),
            Bar(console=progress.console, transient=True) as bar,
        ):
            task = bar.add_task("images", total=len(codes))
            answer = board.classify(codes, progress=lambda: bar.advance(task))
        counters = board.counters() if board.config.counters else np.zeros((0, 4), np.int64)
    for fault in board.mended:
        console.print(f"{fault}; it was loaded again where that could help, and the image repeated.", soft_wrap=True)
    heads = answer.classes if isinstance(answer.classes, dict) else {"": answer.classes}
    for index, logits in enumerate(answer.logits):
        each = [f"{name} {said(classes[index], names)}".strip() for name, classes in heads.items()]
        console.print(f"image {index}: {', '.join(each)}, logits {' '.join(map(str, logits))}", soft_wrap=True)
    if net.output == (1, 1, 1):
        console.print("One output: class 1 where it is at least 0 (a sigmoid's 0.5).")
    cycles, _ = count_cycles(mapping, codes[-1:])
    if len(counters):
        console.print(f"{counters[:, 0].sum():,} cycles for the last image, {cycles:,.0f} predicted")
    line, engine = line_seconds(mapping, args.baud), cycles / (1e6 * args.clock) if args.clock else 0.0
    rates = {"measured": len(codes) / progress.seconds["classify"], "predicted": 1 / (line + engine)}
    rests_on = f"{args.baud} baud, " + (f"{args.clock:g} MHz" if args.clock else "the engine's time left out")
    console.print(
        f"{rates['measured']:,.1f} images a second; {rates['predicted']:,.1f} predicted ({rests_on})", soft_wrap=True
    )
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "loaded_words": board.sent,
        "class_names": list(names),
        "classes": {name: found.tolist() for name, found in heads.items()} if net.outputs[1:] else heads[""].tolist(),
        "logits": answer.logits.tolist(),
        "counters": [dict(zip(counter_names(board.config), layer, strict=True)) for layer in counters.tolist()],
        "predicted_cycles": cycles,
        "images_per_second": rates,
        "mended": board.mended,
        "seconds": dict(progress.seconds),
    }
