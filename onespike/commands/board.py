# SPDX-License-Identifier: Apache-2.0
"""`onespike board`: a simulated board at a pseudo-terminal, for `onespike run`."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from .. import figures, outputs, tables
from ..model.network.spec import SpikeNet
from ..parsers.options import make_mapping
from ..progress import Progress


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..sim.board import serve_board
    from ..sim.verilator import find_verilator

    net = SpikeNet.load(args.net)
    find_verilator()
    mapping = make_mapping(args, net)
    config = mapping.config
    tables.facts(console, "Simulated board", [("engine", f"{config.banks} banks x {config.lanes} lanes, blank")])

    result = {"hardware": figures.hardware(mapping)}

    def ready(path: str) -> None:
        outputs.write_figures(args, result | {"port": path})  # now: the command ends when it is interrupted
        console.print(f"Serial port: {path}", soft_wrap=True)
        console.file.flush()

    serve_board(config, args.output, ready, link=args.pty)
    return result
