# SPDX-License-Identifier: Apache-2.0
"""`onespike compare`: one trained network under every method, on one engine and the same images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..bench import comparison, comparison_tables
from ..bench.comparison import Entry
from ..model.convert.converter import Conversion, graph_of, prepare
from ..model.convert.image_tensor import image_of
from ..model.convert.phase import table_of
from ..model.errors import OneSpikeError
from ..model.frontend.graph import Graph
from ..model.network.judge import judge
from ..model.network.spec import SpikeNet
from ..parsers.options import engine
from ..progress import Progress
from . import plotting
from .convert import read_source
from .labelled import load_for

JUDGED = 1000  # images, unless --images says more or fewer
BESIDE = "trained"  # the method of networks that others stand beside
COUNTED = 32  # of them, on which spikes, events and bits are counted: T-step networks take long


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    plotting.needed(args.output)
    entries = comparison.entries(args.groups, args.phases, args.base, args.methods)
    if args.base not in (None, "auto"):
        for phases in args.phases:
            table_of(args.base, phases)  # a base that cannot be is a mistake, and no method that was refused
    args.calibration = args.calibration or args.data
    graph, _, images = read_source(args)
    image = image_of(graph, 8, args.mean, args.std, args.input_range)
    data = load_for(args, image)
    if args.images is None:
        data = data[:JUDGED]
    judged = judge(graph.shapes()[graph.nodes[-1].name], data.labels, repr(data.name))
    with progress.stage("float", f"The float network on {len(data)} images"):
        right = judged.share(graph.run(data.images, np.float32))
    names = ("weight_bits", "clip", "percentile", "mean", "std", "input_range")
    settings = {name: getattr(args, name) for name in names}
    start = comparison.start_of(graph, image, images, settings)
    made: list[tuple[Entry, Conversion | str]] = []
    for entry in entries:
        with progress.stage(f"convert {entry.label}", f"{entry.label}: conversion, {entry.stated}") as stage:
            try:
                made.append((entry, comparison.convert(entry, start)))
            except OneSpikeError as error:
                made.append((entry, str(error)))
                stage.note = "refused"
    for path in args.beside:
        with progress.stage(f"convert {path}", f"{path}: conversion, as it was trained"):
            made.append(_beside(path, graph, images, settings))
    if all(isinstance(found, str) for _, found in made):
        raise OneSpikeError(str(made[0][1]))

    def share(net: SpikeNet) -> float:
        return judged.share(net.golden(data.images))

    def stage_of(text: str) -> Any:
        return progress.stage(text, text)

    codes = image.quantise(data.images[:COUNTED])
    cycled = min(args.cycle_images, len(codes))
    result = comparison.measure(made, engine(args.banks, args.lanes), codes, cycled, share, stage_of)
    result |= {"network": str(args.model), "data": data.name, "float": right, "seconds": dict(progress.seconds)}
    result["images"]["judged"] = len(data)
    comparison_tables.show(result, console)
    if args.output is not None:
        made_figure, axes = plotting.figure(7, 5)
        comparison_tables.draw(result, axes)
        plotting.save(made_figure, args.output)
        console.print(f"Plotted to {args.output}.", soft_wrap=True)
    return result


def _beside(
    path: Path, graph: Graph, images: np.ndarray | None, settings: dict[str, Any]
) -> tuple[Entry, Conversion]:
    """Another network for the same images and answers, which was trained for few spikes, with what it brings along."""
    own = graph_of(path)
    shapes = [(each.shape, each.arrangement, each.output) for each in (own, graph)]
    if shapes[0] != shapes[1]:
        raise OneSpikeError(
            f"{path} takes images of {own.shape} and gives outputs of {own.output}, but the network beside it "
            f"{graph.shape} and {graph.output}; give a network for the same images and answers."
        )
    conversion = prepare(own, calibration=images, **settings)
    counts = [layer.groups for layer in conversion.net.layers if layer.fires]
    stated = "single spikes, 1 step" if max(counts, default=0) == 1 else f"up to g = {max(counts)} groups, 1 step"
    return Entry(label=path.stem, stated=f"trained: {stated}", method=BESIDE, settings={}), conversion

