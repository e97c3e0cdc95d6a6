# SPDX-License-Identifier: Apache-2.0
"""`onespike explore`: which engines a part can hold for a network, and which of them are worth having."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
from rich.console import Console

from ..fpga.seeds import synthesise_all
from ..hw.config import EngineConfig
from ..model.cost.choose import random_codes
from ..model.cost.explore import Point, explore, fed_lanes, pareto, require_fit
from ..model.errors import OneSpikeError
from ..model.network.spec import SpikeNet
from ..model.targets import Target, find_target
from ..progress import Progress
from . import explored, plotting
from .labelled import accuracy_or_why, load_data

JUDGED = 1000  # images that accuracy is measured on


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    target = find_target(args.target)
    plotting.needed(args.output)
    nets = {str(path): SpikeNet.load(path) for path in args.nets}
    if args.weight_bits is not None:
        have = sorted({net.weight_bits for net in nets.values()})
        nets = {name: net for name, net in nets.items() if net.weight_bits in args.weight_bits}
        if not nets:
            raise OneSpikeError(
                f"No network has the weight bits asked for, but {', '.join(map(str, have))}; convert one with "
                f"`onespike convert --weight-bits N`."
            )
    codes, right = {}, {}
    rests_on: list[str] = []
    for name, net in nets.items():
        codes[name] = guide(args, net)
        if args.data is not None:
            every = load_data(argparse.Namespace(**(vars(args) | {"images": None})), net)
            with progress.stage("golden", f"Accuracy of {name}"):
                judged = every[:JUDGED]
                right[name], sentence = accuracy_or_why(net, judged, net.golden(judged.images))
            where = f"of the first {len(judged)} images of {every.name}{', ' + args.split if every.parted else ''}"
            none = f"No accuracy of {name}: {sentence}"
            rests_on.append(none if right[name] is None else f"Accuracy of {name}: {sentence} {where}.")
    axes: dict[str, Any] = {name: getattr(args, name) for name in ("banks", "lanes", "fire_lanes", "word_bits")}
    if args.multiples is not None:
        axes["multiples"] = args.multiples
    base = EngineConfig(**({"code": args.code} | dict(args.fixed)))
    with progress.jobs("explore", "Exploring") as (_, done):
        points = explore(
            nets, codes, target, base, axes, accuracy=right, executor=args.executor, keep=args.keep, done=done
        )
    require_fit(points, target)
    front = pareto(points)
    real: dict[int, dict[str, Any]] = {}
    if places := spread(len(front), args.synthesise):
        with progress.jobs("synth", f"yosys and nextpnr: {len(places)} engines on {target.name}") as (_, done):
            made = synthesise_all([(front[at].config, 1) for at in places], target.name, args.build,
                                  executor=args.executor, keep=args.keep, done=done)  # fmt: skip
        real = {at: dataclasses.asdict(found) for at, found in zip(places, made, strict=True)}
    worth_having: list[dict[str, Any]] = [
        figures(point) | ({"synthesis": real[at]} if at in real else {}) for at, point in enumerate(front)
    ]
    result = {
        "target": target.name,
        "networks": {name: net.hash for name, net in nets.items()},
        "images": "random pixels" if args.data is None else args.images,
        "points": [figures(point) for point in points],
        "front": worth_having,
    }
    console.print(explored.table(worth_having, target, list(nets)))
    for sentence in rests_on:
        console.print(sentence, soft_wrap=True, markup=False)
    say_refused(console, points, target)
    if args.data is None:
        console.print("Cycles are of random pixels: give --data for those of real images.")
    else:
        number = f"{len(next(iter(codes.values())))} images" if args.images is None else f"{args.images} images"
        console.print(f"Cycles are means of the first {number} of {args.data}.", soft_wrap=True, markup=False)
    if args.output is not None:
        explored.plot(points, front, target, args.output)
        console.print(f"Plot: {args.output}", soft_wrap=True)
    return result


def guide(args: argparse.Namespace, net: SpikeNet) -> np.ndarray:
    """Image codes for the cycle model: of the data, or random."""
    if args.data is not None:
        return net.image.quantise(load_data(args, net).images)
    return random_codes(net.image, args.images, args.seed)


def spread(size: int, number: int) -> list[int]:
    """`number` places from the first to the last of `size`, evenly."""
    number = min(number, size)
    return sorted({round(i * (size - 1) / max(1, number - 1)) for i in range(number)})


def figures(point: Point) -> dict[str, Any]:
    """A point as plain values."""
    found = dataclasses.asdict(point)
    return found | {"area": None if point.area is None else dataclasses.asdict(point.area)}


def say_refused(console: Console, points: list[Point], target: Target) -> None:
    """How many points the part does not take, and why, once for each array."""
    refused = [point for point in points if point.refused]
    if not refused:
        return
    console.print(f"{len(refused)} of {len(points)} engines do not fit {target.name}:")
    seen = {(point.config.banks, point.config.lanes): point for point in reversed(refused)}
    for (banks, lanes), point in sorted(seen.items()):
        console.print(f"  {banks} x {lanes}: {point.refused}", soft_wrap=True)
    widest = {banks: fed_lanes(target, dataclasses.replace(point.config)) for (banks, _), point in seen.items()}
    said = ", ".join(f"{lanes} with {banks} banks" for banks, lanes in sorted(widest.items()))
    console.print(f"Block RAM ports feed at most this many lanes of each bank: {said}.", soft_wrap=True)
