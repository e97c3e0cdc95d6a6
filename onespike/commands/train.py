# SPDX-License-Identifier: Apache-2.0
"""`onespike train`: an example network on a data set, exported for `onespike convert`."""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically
from ..model.training.data import Dataset, load
from ..model.training.environment import is_environment
from ..model.training.graphs import is_graph, load_graph
from ..progress import Progress
from . import one_timestep, policy, windows
from .labelled import trainable

if TYPE_CHECKING:
    import torch

    from ..model.training.train import Training

GCN = "gcn"


def training_settings(args: argparse.Namespace) -> Training:
    """The defaults, but for what the options say."""
    from ..model.training.train import Training

    given = {name: getattr(args, name, None) for name in ("epochs", "rate", "shift", "flip", "seed")}
    return Training(**{name: value for name, value in given.items() if value is not None})


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..model.training.networks import IMAGES, NETWORKS, outputs
    from ..model.training.train import accuracy, train_or_load

    one_timestep.check(args)
    windows.check(args)
    if is_environment(args.data):
        return policy.train(args, console, progress)
    if args.method == windows.METHOD:
        return windows.train(args, console, progress)
    if args.network == GCN:
        return _run_gcn(args, console, progress)
    if args.network not in NETWORKS:
        raise OneSpikeError(f"There is no network {args.network!r}; choose one of {', '.join(NETWORKS)}, {GCN}.")
    data, held_out = data_of(args, IMAGES[args.network], outputs(args.network))
    settings = training_settings(args)
    plan = one_timestep.plan_of(args, settings) if args.method == one_timestep.METHOD else None
    cache = args.output.parent / ".onespike-cache"
    with progress.stage("train", f"Training {args.network} on {len(data)} images", spinner=False) as stage:
        try:
            module, reused = train_or_load(args.network, data, settings, cache)
        except (RuntimeError, ValueError) as error:  # torch's own words for a network that does not take these images
            raise OneSpikeError(
                f"The network {args.network!r} does not take images of {data.images.shape[1:]}: {_first_line(error)}."
            ) from None
        stage.note = "reused, as it was trained before with these settings" if reused else ""
    right = accuracy(module, held_out)
    found: dict[str, Any] = {}
    if plan is not None:
        found = {"relu_accuracy": right}
        if args.prune:
            found["pruned"] = one_timestep.prune(module, data, held_out, settings, args, cache, progress)
        module, stages = one_timestep.reduce(module, data, held_out, plan, cache, console, progress)
        right, found = accuracy(module, held_out), {**found, **stages}
    write_atomically(args.output, exported(module, data.images[:1]))
    seen = held_out is data
    what = "images that it was trained on, as there are no others: give --test DATA" if seen else (
        "images that it has not seen"
    )
    before = f"; {tables.percent(found['relu_accuracy'], 2)} before, with ReLU" if found else ""
    _facts(args, console, f"{tables.percent(right, 2)} of {len(held_out)} {what}{before}")
    return {
        "network": args.network,
        **({"one_timestep": found} if found else {}),
        "accuracy": {"float": right, "images": len(held_out)} | ({"seen": True} if seen else {}),
        "output": str(args.output),
        "reused": reused,
        "seconds": progress.seconds["train"],
    }


def data_of(
    args: argparse.Namespace, shape: tuple[int, int, int] | None, number: int | None
) -> tuple[Dataset, Dataset]:
    """What is trained on and, of the same shape, what is judged on: --test, the test split, or what was trained on.

    shape: of the network's image; number: of its outputs; None: as the data have them.
    """
    data = load(args.data, "train", shape, args.limit)
    classes = (number or windows.classes_of(data.labels), 1, 1)
    data = trainable(data, classes, args.limit)
    if not args.test and not data.parted:
        return data, data
    held_out = trainable(load(args.test or args.data, "test", shape), classes)
    if held_out.images.shape[1:] != data.images.shape[1:]:
        raise OneSpikeError(
            f"The images of {held_out.name!r} have the shape {held_out.images.shape[1:]}, but those that are trained "
            f"on {data.images.shape[1:]}; give --test images of the same shape."
        )
    return data, held_out


def _run_gcn(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    """A graph network, which belongs to the graph of its data."""
    from ..model.training.gcn import GraphTraining, node_accuracy, train_gcn

    if not is_graph(args.data):
        raise OneSpikeError(
            f"The network {GCN!r} takes a graph, which {args.data!r} is not; give 'graph' or a folder of a citation "
            f"network's files."
        )
    if args.method != "relu":
        raise OneSpikeError(f"--method {args.method} is for sequential networks of images; leave it out for {GCN!r}.")
    if args.limit or args.test:
        raise OneSpikeError(f"--limit and --test are for images; leave them out for {GCN!r}: nodes are one graph.")
    if args.flip or args.shift:
        raise OneSpikeError(f"--shift and --flip move pictures; leave them out for {GCN!r}.")
    data, held_out = load_graph(args.data, "train"), load_graph(args.data, "test")
    given = {name: getattr(args, name) for name in ("epochs", "rate", "seed") if getattr(args, name) is not None}
    with progress.stage("train", f"Training {GCN} on {len(data.features)} x {len(data.matrix)} nodes"):
        module = train_gcn(data, GraphTraining(**given))
    right, nodes = node_accuracy(module, held_out), int((held_out.labels >= 0).sum())
    write_atomically(args.output, exported(module, data.features[:1]))
    _facts(args, console, f"{tables.percent(right, 2)} of {nodes} nodes whose class it has not seen")
    return {
        "network": GCN,
        "accuracy": {"float": right, "nodes": nodes},
        "output": str(args.output),
        "reused": False,
        "seconds": progress.seconds["train"],
    }


def _facts(args: argparse.Namespace, console: Console, accuracy: str) -> None:
    """What was trained, and what comes next."""
    rows = [
        ("accuracy", accuracy),
        ("network", str(args.output)),
        ("next", f"onespike convert {args.output} --calibration {args.data} -o NET.spike"),
    ]
    tables.facts(console, f"{args.network} trained on {args.data}", rows)


def exported(module: torch.nn.Module, example: np.ndarray) -> bytes:
    """The contents of a .pt2 file."""
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # torch warns about its own deprecated calls
        program = torch.export.export(module, (torch.from_numpy(example),))
        torch.export.save(program, buffer)
    return buffer.getvalue()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
