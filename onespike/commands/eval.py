# SPDX-License-Identifier: Apache-2.0
"""`onespike eval`: accuracy of the golden model, and, beside the trained network, where it is lost."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..model.convert.layerwise import layer_losses, occupancy, rounder
from ..model.frontend.graph import activate
from ..model.network.judge import judge_of
from ..model.network.shards import golden_shards
from ..model.network.spec import SpikeNet
from ..model.network.spikes import count_spikes
from ..model.training.data import Dataset
from ..progress import Progress
from . import waits
from .labelled import load_data

LAYER_IMAGES = 1000  # that `eval` follows through every layer


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    waits.check(net, args.waits)
    data = load_data(args, net)
    graph = None
    if args.model is not None:
        from .graphs import read_graph  # torch only where there is a model to import

        graph = read_graph(args)
    judged = judge_of(net, data.labels, repr(data.name))
    kept = ""  # what an earlier run has left says nothing of the speed
    started = time.perf_counter()
    text = f"Golden model on {len(data)} images"
    if args.executor is None and args.keep is None:
        with progress.stage("golden", text):
            found = net.golden(data.images)
    else:
        with progress.jobs("golden", text) as (stage, done):
            found = golden_shards(net, data.images, args.executor or "local:1", keep=args.keep, done=done)
            kept = stage.note
    seconds = time.perf_counter() - started
    right = judged.share(found)
    result: dict[str, Any] = {
        "network": {"hash": net.hash, "groups": figures.groups(net), "weight_bits": net.weight_bits},
        "accuracy": {"golden": right, "images": len(data)},
        "images_per_second": None if kept else len(data) / seconds,
    }
    if args.waits:
        with progress.stage("waits", f"Streaming form on {len(data)} images, {len(args.waits)} waits"):
            result["streaming"] = waits.measure(net, data, args.waits)
    if net.membranes is not None:
        return result | {"spikes": _steps(net, data, right, console, progress)}
    part = data[:LAYER_IMAGES]
    with progress.stage("layers", f"Every layer on {len(part)} images"):
        occupied = occupancy(net, net.image.quantise(part.images))
        losses = None if graph is None else layer_losses(graph, net, part.images, part.labels)
    result["layers"] = figures.layers(occupied, losses) | {"images": len(part)}
    what = f"of {len(data)} images ({data.name}{f', {args.split}' * data.parted})"
    if net.output == (1, 1, 1):
        what += "; one output: class 1 where it is at least 0 (a sigmoid's 0.5)"
    rows = []
    if graph is not None and losses is not None:
        with progress.stage("float", f"Float network on {len(data)} images"):
            for name, activation in (("float", activate), ("quantised", rounder(net, losses.worths))):
                logits = graph.run(data.images, np.float32, activation)
                result["accuracy"][name] = judged.share(logits)
        rows = [
            ("float", tables.percent(result["accuracy"]["float"], 2)),
            (
                "clamp-quantised",
                f"{tables.percent(result['accuracy']['quantised'], 2)} with the float network's weights",
            ),
        ]
    rows += [
        ("accuracy" if graph is None else "integers", f"{tables.percent(right, 2)} {what}"),
        ("speed", kept or f"{result['images_per_second']:,.0f} images per second"),
    ]
    tables.facts(console, f"Golden model of {args.net}", rows)
    console.print(tables.layers(result["layers"]))
    if args.waits:
        console.print(waits.table(result["streaming"]))
        console.print(waits.energy(result["streaming"]))
    return result


def _steps(net: SpikeNet, data: Dataset, right: float, console: Console, progress: Progress) -> dict[str, Any]:
    """The spikes of a T-step network, which has none of the figures of one timestep."""
    part = data[:LAYER_IMAGES]
    with progress.stage("spikes", f"Spikes of {len(part)} images"):
        found = count_spikes(net, part.images)
    rows = [
        ("accuracy", f"{tables.percent(right, 2)} of {len(data)} images ({data.name})"),
        ("steps", f"{found.steps}, integrate-and-fire: a reference model, without hardware"),
        ("spikes", f"{found.per_neuron:.3f} of a hidden neuron and image"),
        ("additions", f"{found.per_image('additions'):,.0f} an image, one for every spike and reader"),
    ]
    tables.facts(console, "T-step network", rows)
    return {"steps": found.steps, "per_neuron": found.per_neuron, "images": found.images,
            "layers": [dataclasses.asdict(layer) for layer in found.layers]}  # fmt: skip
