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
from ..hw.engine.counters import counter_names
from ..model.network.spec import SpikeNet
from ..pictures import load_codes
from ..progress import Progress


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..fpga.host import Board
    from ..fpga.link import SerialLink

    net = SpikeNet.load(args.net)
    codes = load_codes(args.images, net.image)
    with contextlib.closing(SerialLink.open(args.port, baud=args.baud, timeout=args.timeout)) as link:
        with progress.stage("load", f"Loading the network through {args.port}") as stage:
            board = Board(link)
            mapping = board.load(net, guide=codes[:1])
            stage.note = f"{board.config.banks} banks x {board.config.lanes} lanes"
        with (
            progress.stage("classify", f"Classifying {len(codes)} images", spinner=False),
            Bar(console=progress.console, transient=True) as bar,
        ):
            task = bar.add_task("images", total=len(codes))
            answer = board.classify(codes, progress=lambda: bar.advance(task))
        counters = board.counters() if board.config.counters else np.zeros((0, 4), np.int64)
    heads = answer.classes if isinstance(answer.classes, dict) else {"": answer.classes}
    for index, logits in enumerate(answer.logits):
        said = [f"{name} {_said(classes[index])}".strip() for name, classes in heads.items()]
        console.print(f"image {index}: {', '.join(said)}, logits {' '.join(map(str, logits))}", soft_wrap=True)
    if net.output == (1, 1, 1):
        console.print("One output: class 1 where it is at least 0 (a sigmoid's 0.5).")
    if len(counters):
        console.print(f"{counters[:, 0].sum():,} cycles for the last image")
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "classes": {name: found.tolist() for name, found in heads.items()} if net.outputs[1:] else heads[""].tolist(),
        "logits": answer.logits.tolist(),
        "counters": [dict(zip(counter_names(board.config), layer, strict=True)) for layer in counters.tolist()],
        "seconds": dict(progress.seconds),
    }


def _said(label: np.ndarray) -> str:
    return f"class {label}" if label.ndim == 0 else f"classes {' '.join(map(str, label.ravel()))}"
