# SPDX-License-Identifier: Apache-2.0
"""`onespike train --method windows`: windows and fused membranes, in torch and in integers (experimental)."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.cost.window_energy import SLIP, WindowWork, window_work
from ..model.errors import OneSpikeError
from ..model.training.environment import is_environment
from ..model.training.graphs import is_graph
from ..progress import Progress

if TYPE_CHECKING:
    from ..model.network.windowed import WindowNet
    from ..model.training.train import Training
    from ..model.training.windowed import WindowPlan

METHOD = "windows"
OPTIONS = ("window_groups", "windows", "fusion", "widths", "leak", "threshold", "pad", "fraction_bits")
DEFAULT = "digits"  # of --network
COMPARED = 1000  # images on which spikes of torch and integers are compared
WORKED = 100  # images whose work is counted


def check(args: argparse.Namespace) -> None:
    """OneSpikeError for options of this method without it, and for those of others with it."""
    given = [name for name in OPTIONS if getattr(args, name) is not None]
    if args.method != METHOD:
        if given:
            option = "--" + given[0].replace("_", "-")
            raise OneSpikeError(f"{option} is about windows; add --method {METHOD}, or leave it out.")
        return
    if is_environment(args.data) or is_graph(args.data):
        raise OneSpikeError(f"--method {METHOD} takes images with a class each, which {args.data!r} has not.")
    if args.network != DEFAULT:
        raise OneSpikeError(f"--method {METHOD} has a network of its own, of --widths; leave --network out.")


def plan_of(args: argparse.Namespace) -> WindowPlan:
    """The network that the options ask for."""
    from ..model.training.windowed import WindowPlan

    given = {name: getattr(args, name) for name in OPTIONS if name != "fraction_bits"}
    given["groups"] = given.pop("window_groups")
    return WindowPlan(**{name: value for name, value in given.items() if value is not None})


def settings_of(args: argparse.Namespace) -> Training:
    """How it is trained: many small steps, as a network that begins with random weights takes them."""
    from ..model.training.train import Training

    given = {name: getattr(args, name) for name in ("epochs", "rate", "shift", "flip", "seed")}
    return Training(**{"batch": 50, "rate": 0.03, **{k: v for k, v in given.items() if v is not None}})


def train(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    import torch

    from ..model.training.train import accuracy, remember
    from ..model.training.window_integers import compare, integers
    from ..model.training.window_training import rates, train_windows
    from ..model.training.windowed import OMEGA
    from .train import data_of

    plan, settings = plan_of(args), settings_of(args)
    data, held_out = data_of(args, None, None)
    cache = args.output.parent / ".onespike-cache"
    with progress.stage(
        "train", f"Training {plan.groups} {plan.windows} windows on {len(data)} images", spinner=False
    ) as stage:
        net, reused = train_windows(data, plan, settings, cache)
        stage.note = "reused, as it was trained before with these settings" if reused else ""
    found: dict[str, Any] = {
        "network": METHOD, "experimental": True, "windows": dataclasses.asdict(plan), "passes": plan.groups,
        "weights": sum(p.numel() for p in net.parameters()),
        "leaks": [float(fire.leak.detach().clamp(0, 1)) for fire in net.fires],
        "spike_rates": rates(net, torch.from_numpy(held_out.images)),
        "accuracy": {"float": accuracy(net, held_out), "images": len(held_out)},
        "output": str(args.output), "reused": reused, "seconds": progress.seconds["train"],
    }  # fmt: skip
    if held_out is data:
        found["accuracy"]["seen"] = True
    if plan.fusion != OMEGA:
        remember(args.output, net)
        _show(args, console, found, None)
        return found
    image = (net.channels, *data.images.shape[2:])
    whole = integers(net, image, fraction=args.fraction_bits or 8)
    whole.save(args.output)
    with progress.stage("compare", "Comparing integers with torch"):
        agreement = compare(net, whole, held_out.images[:COMPARED], held_out.labels[:COMPARED])
    pixels = whole.pixels(held_out.images[:WORKED])
    work = window_work(whole, pixels, whole.run(pixels))
    found["integers"] = {"fraction": whole.fraction, "membrane_bits": whole.membrane_bits}
    found["agreement"] = dataclasses.asdict(agreement)
    energy = {"ann_uj": work.ann, "ann_as_printed_uj": work.ann_as_printed, "snn_uj": work.snn}
    found["work"] = {**dataclasses.asdict(work), **energy}
    _show(args, console, found, (whole, work))
    return found


def _show(
    args: argparse.Namespace, console: Console, found: dict[str, Any], more: tuple[WindowNet, WindowWork] | None
) -> None:
    plan, right = found["windows"], found["accuracy"]
    seen = "images that it was trained on: give --test DATA" if right.get("seen") else "images that it has not seen"
    windows = f"{plan['groups']} {plan['windows']}, {plan['groups']} passes one behind another in the one timestep"
    rows = [
        ("accuracy", f"{tables.percent(right['float'], 2)} of {right['images']} {seen}"),
        ("windows", f"{windows}; fusion {plan['fusion']}"),
        ("spikes of a neuron", " ".join(f"{rate:.2f}" for rate in found["spike_rates"])),
    ]
    if more is None:
        rows.append(("weights", f"{args.output}, in floating point: only the fusion omega has integers"))
    else:
        whole, work = more
        agreed = found["agreement"]
        least = min(agreed["spikes"])
        rows += [
            ("integers", f"{tables.percent(agreed['integers'], 2)} (torch {tables.percent(agreed['torch'], 2)}) of "
             f"{agreed['images']}; equal are {tables.percent(agreed['classes'], 1)} of the classes, "
             f"{tables.percent(least, 1)} of the spikes or more in every layer"),
            ("membranes", f"{whole.membrane_bits:,} bits, {whole.fraction} behind the point; {work.updates:,} updates, "
             f"{math.ceil(work.membrane_bits / 8):,} bytes moved an image"),
            ("work", f"{work.macs:,} MACs dense, {work.window_macs:,} in windows; {work.additions:,.0f} additions, "
             f"{work.first:,} MACs on pixels"),
            ("energy", f"{work.snn:.2f} uJ, ANN {work.ann:.2f} uJ (operations alone: FP32 MAC 4.6, addition 0.9 pJ); "
             f"as the paper counts, ANN {work.ann_as_printed:.2f} uJ, printed {SLIP:,} times as large"),
            ("network", f"{args.output}: a reference model, which the engine does not run"),
        ]  # fmt: skip
    tables.facts(console, f"windows trained on {args.data} (experimental)", rows)


def classes_of(labels: np.ndarray) -> int:
    """How many classes labels show, at least two."""
    return max(2, int(labels.max()) + 1) if labels.ndim == 1 and len(labels) and labels.max() < 10_000 else 2
