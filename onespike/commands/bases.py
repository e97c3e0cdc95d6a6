# SPDX-License-Identifier: Apache-2.0
"""`onespike bases`: the error of phase coding over its base, on real activations (Hwang and Kung, Fig. 6)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.convert import phase_base
from ..model.convert.image_tensor import check_images, image_of
from ..model.errors import OneSpikeError
from ..progress import Progress
from . import plotting
from .convert import read_source

ROOTS = {"2**(1/3)": 2 ** (1 / 3), "2**(1/4)": 2 ** (1 / 4)}


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    plotting.needed(args.output)
    normal = phase_base.normal()
    curves = [(f"N(0, 1), T = {phases}", phases, normal) for phases in args.phases]
    images = 0
    if args.model is not None:
        graph, _, given = read_source(args)
        if given is None:
            raise OneSpikeError("Activations need images; give --calibration.")
        image = image_of(graph, 8, args.mean, args.std, args.input_range)
        given = check_images(given, image, own_scale=graph.image is not None)
        images = min(len(given), phase_base.IMAGES)
        with progress.stage("activations", f"Activations of {args.model} on {images} images"):
            found = phase_base.activations(graph, given)
        curves = [(f"{args.model.name}, T = {phases}", phases, found) for phases in args.phases] + curves
    table = tables.titled(
        "Mean absolute percentage error of phase coding", f"values, best base, MAPE, {', '.join(ROOTS)}"
    )
    result: dict[str, Any] = {"bases": list(phase_base.BASES), "images": images, "curves": []}
    for name, phases, values in curves:
        errors = phase_base.errors(values, phases)
        best = int(errors.argmin())
        roots = {root: phase_base.error(values, base, phases) for root, base in ROOTS.items()}
        figures = {"values": name, "phases": phases, "best": phase_base.BASES[best], "error": float(errors[best])}
        result["curves"].append(
            figures | {"chosen": phase_base.choose(values, phases), "roots": roots, "errors": errors.tolist()}
        )
        shares = [tables.percent(share, 2) for share in (errors[best], *roots.values())]
        table.add_row(name, f"{phase_base.BASES[best]:.2f}", *shares)
    console.print(table)
    if args.output is not None:
        plot(result, args.output)
        console.print(f"Plotted to {args.output}.", soft_wrap=True)
    return result


def plot(result: dict[str, Any], path: Path) -> None:
    """Error over base, a line for every curve, its least marked; the format follows the file's name."""
    figure, axes = plotting.figure(7, 4.5)
    for curve in result["curves"]:
        label = f"{curve['values']}: {100 * curve['error']:.2f} % at {curve['best']:.2f}"
        style = ":" if curve["values"].startswith("N(") else "-"
        (line,) = axes.plot(result["bases"], 100 * np.array(curve["errors"]), style, label=label)
        axes.plot(curve["best"], 100 * curve["error"], "o", color=line.get_color())
    for base in ROOTS.values():
        axes.axvline(base, ls="--", lw=0.8, c="0.7")
    axes.set(
        xlabel="base Q (dashed: cube and fourth root of 2)", ylabel="mean absolute percentage error, %", ylim=(0, 20)
    )
    axes.legend()
    plotting.save(figure, path)
