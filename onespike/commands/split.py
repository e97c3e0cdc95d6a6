# SPDX-License-Identifier: Apache-2.0
"""`onespike split`: a network over several boards, one behind the other, each part a network file of its own."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from .. import tables
from ..model.cost.area import estimate
from ..model.cost.explore import excess
from ..model.cost.row import balanced
from ..model.network.spec import SpikeNet
from ..model.system.locks import owned
from ..model.targets import find_target
from ..parsers.options import make_mapping
from ..progress import Progress
from .explore import guide


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    codes = guide(args, net)
    target = find_target(args.target) if args.target else None
    with progress.stage("split", f"Cutting {len(net.layers)} layers for {args.boards} boards") as stage:
        found = balanced(
            net, args.boards, codes, lambda part, images: make_mapping(args, part, images, target),
            lambda mapping: "" if target is None else excess(estimate(mapping.config, target), target),
        )  # fmt: skip
        slowest = max(each.interval for each in found)
        stage.note = f"{slowest:,.0f} cycles from image to image"
    with owned(args.output) as folder:
        files = [folder / f"part{number}.spike" for number in range(1, len(found) + 1)]
        for file, each in zip(files, found, strict=True):
            each.part.net.save(file)
        left = len(found) + 1  # of an earlier split over more boards
        while (stale := folder / f"part{left}.spike").is_file():
            stale.unlink()
            left += 1
    latency = sum(each.cycles for each in found)
    parts = [each.figures() | {"file": str(file)} for each, file in zip(found, files, strict=True)]
    table = tables.titled("Parts", "part, layers, cycles, image to image, words in, words out, file")
    for number, (part, each) in enumerate(zip(parts, found, strict=True), 1):
        layers = each.part.net.layers
        names = layers[0].name if len(layers) == 1 else f"{layers[0].name} to {layers[-1].name}"
        table.add_row(str(number), names, tables.big(each.cycles), tables.big(each.interval), tables.big(each.words_in),
                      tables.big(each.words_out), part["file"])  # fmt: skip
    console.print(table)
    rows = [("latency", f"{latency:,.0f} cycles in all boards, the links' time left out"),
            ("throughput", f"an image every {slowest:,.0f} cycles")]  # fmt: skip
    if args.clock:
        link = max(32 * (each.words_in + each.words_out) for each in found) * args.clock * 1e6 / slowest
        rate = 1e6 * args.clock / slowest
        rows += [("at the clock", f"{rate:,.0f} images a second, latency {latency / args.clock / 1000:.3g} ms"),
                 ("links", f"{link / 1e6:,.1f} Mbit/s of the busiest board for that rate")]  # fmt: skip
    tables.facts(console, "Row of boards", rows)
    if args.data is None:
        console.print("Cycles are of random pixels: give --data for those of real images.")
    return {"network": {"hash": net.hash}, "parts": parts, "latency_cycles": latency, "interval_cycles": slowest}
