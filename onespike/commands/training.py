# SPDX-License-Identifier: Apache-2.0
"""The commands that make networks: `train` and `convert`. torch is imported where it is needed: not for ONNX files."""

from __future__ import annotations

import argparse
import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..model.convert.converter import Conversion, graph_of, image_of, prepare
from ..model.errors import OneSpikeError
from ..model.frontend.graph import Graph
from ..model.system.files import write_atomically
from ..model.training.data import Dataset, in_scale, load, load_images
from ..progress import Progress

if TYPE_CHECKING:
    import torch

    from ..model.training.train import Training


def training_settings(args: argparse.Namespace) -> Training:
    """The defaults, but for what the options say."""
    from ..model.training.train import Training

    given = {name: getattr(args, name, None) for name in ("epochs", "rate", "shift", "flip", "seed")}
    return Training(**{name: value for name, value in given.items() if value is not None})


def run_train(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..model.training.networks import NETWORKS
    from ..model.training.train import accuracy, train_or_load

    if args.network not in NETWORKS:
        raise OneSpikeError(f"There is no network {args.network!r}; choose one of {', '.join(NETWORKS)}.")
    data, held_out = load(args.data, "train"), load(args.data, "test")
    settings = training_settings(args)
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
    write_atomically(args.output, exported(module, data))
    rows = [
        ("accuracy", f"{tables.percent(right, 2)} of {len(held_out)} images that it has not seen"),
        ("network", str(args.output)),
        ("next", f"onespike convert {args.output} --calibration {args.data} -o NET.spike"),
    ]
    tables.facts(console, f"{args.network} trained on {args.data}", rows)
    return {
        "network": args.network,
        "accuracy": {"float": right, "images": len(held_out)},
        "output": str(args.output),
        "reused": reused,
        "seconds": progress.seconds["train"],
    }


def exported(module: torch.nn.Module, data: Dataset) -> bytes:
    """The contents of a .pt2 file."""
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # torch warns about its own deprecated calls
        program = torch.export.export(module, (torch.from_numpy(data.images[:1]),))
        torch.export.save(program, buffer)
    return buffer.getvalue()


def run_convert(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    data, images = _calibration(args)
    graph = read_graph(args)
    if data is not None:
        data = in_scale(data, image_of(graph, 8, args.mean, args.std, args.input_range))
        images = data.images
    images = None if images is None else images[: args.calibration_images]
    count = "without" if images is None else f"with {len(images)}"
    with progress.stage("convert", f"Converting {args.model} {count} calibration images"):
        conversion = convert(args, graph, images)
    if data is not None and args.finetune:
        from ..model.training.finetune import finetune

        with progress.stage("finetune", f"Fine-tuning (epochs: {args.finetune})", spinner=False):
            conversion = finetune(
                conversion, data, epochs=args.finetune, rate=args.rate, batch=args.batch, shift=args.shift,
                flip=args.flip, distil=args.distil, temperature=args.temperature, mix=args.mix, seed=args.seed,
                checkpoints=args.output.parent / ".onespike-cache",
            )  # fmt: skip
    conversion.net.save(args.output)
    result = figures.network(conversion.net) | {"output": str(args.output), "seconds": progress.seconds["convert"]}
    result |= {"finetune_seconds": progress.seconds["finetune"]} if "finetune" in progress.seconds else {}
    console.print(tables.network(result))
    console.print(f"Written to {args.output}.", soft_wrap=True)
    for note in conversion.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    return result


def _calibration(args: argparse.Namespace) -> tuple[Dataset | None, np.ndarray | None]:
    """The data set, where it is one, and the images of --calibration; those of a file are as the network takes them."""
    if not args.model.is_file():
        raise OneSpikeError(f"Cannot read {args.model}: no such file.")
    if args.calibration is None:
        if args.finetune:
            raise OneSpikeError("Fine-tuning needs training data; give --calibration.")
        return None, None
    if args.calibration.endswith((".npy", ".npz")):
        if args.finetune:
            raise OneSpikeError(f"Fine-tuning needs labels, which {args.calibration} has not; give a data folder.")
        return None, load_images(args.calibration)
    data = load(args.calibration, "train")
    return data, data.images


def read_graph(args: argparse.Namespace) -> Graph:
    """The float network of the file --model, which may hold the weights of an example network alone."""
    if args.model.suffix != ".npz":
        return graph_of(args.model)
    if args.network is None:
        raise OneSpikeError(f"{args.model} holds weights alone; name the network that they are for with --network.")
    from ..model.training.networks import IMAGES, load_npz

    module = load_npz(args.network, args.model)
    return graph_of(module, np.zeros((1, *IMAGES[args.network]), np.float32))


def convert(args: argparse.Namespace, network: Any, images: np.ndarray | None) -> Conversion:
    """`prepare` with the options of the command line; those that a command lacks keep their defaults."""
    names = ("groups", "budget", "weight_bits", "clip", "percentile", "rounding", "mean", "std", "input_range")
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    return prepare(network, calibration=images, **given)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
