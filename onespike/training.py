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

from . import figures, tables
from .model.converter import Conversion, prepare
from .model.data import Dataset, load, load_images
from .model.errors import OneSpikeError
from .model.files import write_atomically
from .options import writable
from .progress import Progress

if TYPE_CHECKING:
    import torch

    from .model.train import Training


def training_settings(args: argparse.Namespace) -> Training:
    """The defaults, but for what the options say."""
    from .model.train import Training

    chosen = {"seed": args.seed} | ({} if args.epochs is None else {"epochs": args.epochs})
    return Training(**chosen)


def run_train(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from .model.networks import NETWORKS
    from .model.train import accuracy, train_or_load

    if args.network not in NETWORKS:
        raise OneSpikeError(f"There is no network {args.network!r}; choose one of {', '.join(NETWORKS)}.")
    writable(args.output, "the network")
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
    writable(args.output, "the network")
    if not args.model.is_file():
        raise OneSpikeError(f"Cannot read {args.model}: no such file.")
    if args.finetune and args.calibration is None:
        raise OneSpikeError("Fine-tuning needs training data; give --calibration.")
    data = load(args.calibration, "train") if args.finetune else None
    images = None if args.calibration is None else load_images(args.calibration) if data is None else data.images
    images = None if images is None else images[: args.calibration_images]
    count = "without" if images is None else f"with {len(images)}"
    with progress.stage("convert", f"Converting {args.model} {count} calibration images"):
        conversion = convert(args, args.model, images)
    if data is not None:
        from .model.finetune import finetune

        with progress.stage("finetune", f"Fine-tuning (epochs: {args.finetune})", spinner=False):
            conversion = finetune(conversion, data, epochs=args.finetune, seed=args.seed)
    conversion.net.save(args.output)
    result = figures.network(conversion.net) | {"output": str(args.output), "seconds": progress.seconds["convert"]}
    console.print(tables.network(result))
    console.print(f"Written to {args.output}.", soft_wrap=True)
    for note in conversion.notes:
        console.print(f"Note: {note}", soft_wrap=True, markup=False)
    return result


def convert(args: argparse.Namespace, network: Any, images: np.ndarray | None) -> Conversion:
    """`prepare` with the options of the command line; those that a command lacks keep their defaults."""
    names = ("groups", "weight_bits", "clip", "percentile", "rounding", "mean", "std", "input_range")
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    return prepare(network, calibration=images, **given)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
