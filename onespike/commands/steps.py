# SPDX-License-Identifier: Apache-2.0
"""`onespike steps`: accuracy of parallel spike generation and of integrate-and-fire over T, on the same weights.

OneSpike's Fig. 2. For every T the network is converted once, for g = T counts; integrate-and-fire then runs T steps
with the same integers as weights and the same clip levels as thresholds.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.convert.converter import Conversion, prepare
from ..model.convert.integrated import Time
from ..model.network import stepped
from ..model.network.judge import Judge, judge_of
from ..progress import Progress
from . import plotting
from .convert import read_source
from .labelled import load_data

MEMBRANES = {"if": False, "if_half": True}  # whether they begin with half a threshold
SHOWN = {"psg": "PSG, one timestep, g = T", "if": "integrate-and-fire, membranes from 0",
         "if_half": "integrate-and-fire, membranes from theta / 2"}  # fmt: skip


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    plotting.needed(args.output)
    args.calibration = args.calibration or args.data
    graph, _, seen = read_source(args)
    assert seen is not None, "there are calibration images"
    points = []
    for steps in args.steps:
        with progress.stage(f"T = {steps}", f"T = {steps}: conversion, one timestep and {steps} steps"):
            conversion = prepare(
                graph, None, seen, groups=steps, mean=args.mean, std=args.std, input_range=args.input_range,
                weight_bits=args.weight_bits,
            )  # fmt: skip
            data = load_data(args, conversion.net)
            judged = judge_of(conversion.net, data.labels, repr(data.name))
            points.append(measure(conversion, steps, data.images, judged))
    result = {"network": args.model.name, "data": data.name, "images": len(data), "weight_bits": args.weight_bits,
              "calibration_images": len(seen), "points": points}  # fmt: skip
    show(console, result)
    if args.output is not None:
        plot(result, args.output)
        console.print(f"Plotted to {args.output}.", soft_wrap=True)
    return result


def measure(conversion: Conversion, steps: int, images: np.ndarray, judged: Judge) -> dict[str, Any]:
    """Accuracy and spikes per hidden neuron at one T; error: standard errors of accuracies, of `ahead` for `if`..,
    the difference of accuracies on the same images."""
    net = conversion.net
    found = net.golden(images, layers=True)
    right = judged.right(found.logits)
    neurons = sum(math.prod(net.conv_shapes[layer.name]) for layer in net.layers[:-1]) * len(images)
    point: dict[str, Any] = {"steps": steps, "psg": float(right.mean()), "psg_error": _error(right)}
    for name, half in MEMBRANES.items():
        over = stepped.run(dataclasses.replace(conversion, time=Time(steps, half)).net, images)
        other = judged.right(over.logits)
        point[name], point[f"{name}_error"] = float(other.mean()), _error(right - other)
        point[f"{name}_spikes_per_neuron"] = sum(over.fired.values()) / neurons
    return point


def _error(values: np.ndarray) -> float:
    return float(values.std() / math.sqrt(len(values)))


def show(console: Console, result: dict[str, Any]) -> None:
    """A row for every T."""
    table = tables.titled(
        f"{result['network']}: accuracy on {result['images']} images of {result['data']}, the same weights in a row",
        "T, PSG (g = T), IF from 0, IF from theta / 2, spikes per neuron: IF from 0, from theta / 2",
        "+-: one standard error; of IF, that of its difference from PSG on the same images.",
    )
    for point in result["points"]:
        cells = [f"{100 * point[n]:.2f} +- {100 * point[f'{n}_error']:.2f}" for n in ("psg", *MEMBRANES)]
        spikes = [f"{point[f'{name}_spikes_per_neuron']:.3f}" for name in MEMBRANES]
        table.add_row(str(point["steps"]), *cells, *spikes)
    console.print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    """Accuracy over T, which is logarithmic; the format follows the file's name."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text is text
        figure, axes = plotting.figure(6, 4.6)
        steps = [point["steps"] for point in result["points"]]
        for (name, label), style in zip(SHOWN.items(), ("o-", "s--", "^:"), strict=True):
            axes.plot(steps, [100 * point[name] for point in result["points"]], style, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [str(number) for number in steps])
        axes.set(xlabel="T", ylabel=f"accuracy, %, {result['images']} images", ylim=(0, 100))
        axes.set_title(f"{result['network']}, {result['data']}, {result['weight_bits']}-bit weights")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center")  # lines go anywhere inside
        plotting.save(figure, path)
