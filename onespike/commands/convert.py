# SPDX-License-Identifier: Apache-2.0
"""`onespike convert`: a trained network becomes an integer spiking network."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..model.convert.converter import Conversion
from ..model.convert.image_tensor import image_of
from ..model.errors import OneSpikeError
from ..model.frontend.graph import Graph
from ..model.network import operations
from ..model.training.data import Dataset, check, in_scale, load
from ..model.training.row_costs import RowWork, row_work
from ..progress import Progress
from . import held_out
from .graphs import convert, read_graph
from .labelled import trainable, why_not

COUNTED = 64  # calibration images that events are counted on


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    trains = args.finetune or args.float_epochs
    if args.events and not args.finetune:
        raise OneSpikeError("--events prices the events of fine-tuning; give --finetune EPOCHS as well.")
    if args.prune_rows and not trains:
        raise OneSpikeError(
            "--prune-rows needs training to make up for the rows; give --finetune EPOCHS, --float-epochs N, or both."
        )
    if args.float_rate and not args.float_epochs:
        raise OneSpikeError("--float-rate is for the epochs in float; give --float-epochs N as well.")
    if args.prune_lanes and not args.prune_rows:
        raise OneSpikeError("--prune-lanes says what a row of --prune-rows is; give --prune-rows SHARE as well.")
    if args.limit and not trains:
        raise OneSpikeError(
            "--limit says how many images fine-tuning takes; give --finetune EPOCHS as well, or --calibration-images."
        )
    lanes = args.prune_lanes or 16
    held_out.asked(args)
    graph, data, images = read_source(args)
    count = "without" if images is None else f"with {len(images)}"
    with progress.stage("convert", f"Converting {args.model} {count} calibration images"):
        conversion = convert(args, graph, images)
    whole = conversion
    if data is not None and trains:
        conversion = _trained(args, whole, data, images, lanes, progress)
    conversion = named(conversion, data)
    conversion.net.save(args.output)
    result = figures.network(conversion.net) | {"output": str(args.output), "seconds": progress.seconds["convert"]}
    if data is not None and trains:
        spent = {f"{name}_seconds": progress.seconds.get(name) for name in ("float", "finetune")}
        result |= {name: seconds for name, seconds in spent.items() if seconds is not None}
        result["finetune_images"] = len(data)
    console.print(tables.network(result))
    if args.events and images is not None:
        counted = operations.count(conversion.net, images[:COUNTED])
        result["events_per_mac"] = counted.events_radix / counted.dense_macs
        console.print(
            f"{result['events_per_mac']:.3f} events per dense MAC, those of pixels included ({counted.images} images)."
        )
    if args.prune_rows and images is not None:
        result["rows"] = _rows(console, row_work(whole, images, lanes), row_work(conversion, images, lanes), lanes)
    for note in conversion.notes:
        console.print(f"Note: {note}", soft_wrap=True)
    return result | held_out.judge(args, conversion, data, console, progress)


def named(conversion: Conversion, data: Dataset | None) -> Conversion:
    """The conversion with the names of the classes, where the data has one for each output of the network."""
    if data is None or not data.class_names or len(data.class_names) != conversion.net.output[0]:
        return conversion
    return dataclasses.replace(conversion, facts={**conversion.facts, "class_names": list(data.class_names)})


def _trained(
    args: argparse.Namespace,
    conversion: Conversion,
    data: Dataset,
    images: np.ndarray | None,
    lanes: int,
    progress: Progress,
) -> Conversion:
    """The conversion after --float-epochs and --finetune; images: that it was calibrated on."""
    settings = {
        "batch": args.batch, "shift": args.shift, "flip": args.flip, "distil": args.distil,
        "temperature": args.temperature, "mix": args.mix, "prune_lanes": lanes, "seed": args.seed,
        "checkpoints": args.output.parent / ".onespike-cache",
    }  # fmt: skip
    rows = args.prune_rows
    if args.float_epochs:
        from ..model.training.float_epochs import RATE, train_float

        what = f"Training in float on {len(data)} images (epochs: {args.float_epochs})"
        with progress.stage("float", what, spinner=False):
            conversion = train_float(
                conversion, data, lambda graph: convert(args, graph, images), epochs=args.float_epochs,
                rate=args.float_rate or RATE, prune_rows=rows, **settings,
            )  # fmt: skip
        rows = 0.0  # those that are gone stay so
    if args.finetune:
        from ..model.training.finetune import finetune

        what = f"Fine-tuning on {len(data)} images (epochs: {args.finetune})"
        with progress.stage("finetune", what, spinner=False):
            conversion = finetune(
                conversion, data, epochs=args.finetune, rate=args.rate, events=args.events, prune_rows=rows, **settings
            )
    return conversion


def _rows(console: Console, before: RowWork, after: RowWork, lanes: int) -> dict[str, Any]:
    """How many rows of weights, and events of them, fine-tuning has left."""
    rows, events = after.rows / before.rows, after.events / before.events
    left = f"{after.rows} of {before.rows} rows of {lanes} weights are left ({100 * rows:.1f} %)"
    console.print(f"{left}, with {100 * events:.1f} % of the events.")
    return {"lanes": lanes, "all": before.rows, "left": after.rows, "share_left": rows, "events_left": events}


def read_source(args: argparse.Namespace) -> tuple[Graph, Dataset | None, np.ndarray | None]:
    """The float graph, and the data of --calibration, where it is given, with its images in the scale that the network
    takes: as many as --limit wants for fine-tuning, otherwise as many as calibrate.
    """
    tuned = getattr(args, "finetune", 0) or getattr(args, "float_epochs", 0)
    if not args.model.is_file():
        raise OneSpikeError(f"Cannot read {args.model}: no such file.")
    if args.calibration is None:
        if tuned:
            raise OneSpikeError("Fine-tuning needs training data; give --calibration.")
        return read_graph(args), None, None
    unlabelled = (
        f"Fine-tuning needs labels, which {args.calibration} has not; give a data folder or a .npz file with labels."
    )
    check(args.calibration)  # before the network is read, which may take minutes
    if tuned and args.calibration.lower().endswith(".npy"):
        raise OneSpikeError(unlabelled)
    graph = read_graph(args)
    image = image_of(graph, 8, args.mean, args.std, args.input_range)
    data = load(args.calibration, "train", image.shape, args.limit if tuned else args.calibration_images)
    if data.images.shape[1:] != image.shape:
        raise OneSpikeError(
            f"The images of {data.name!r} have the shape {data.images.shape[1:]}, but the network takes "
            f"{image.shape}; give images like those that it was trained on{why_not(data, image)}."
        )
    if tuned:
        if not data.labelled:
            raise OneSpikeError(unlabelled)
        data = trainable(data, graph.shapes()[graph.nodes[-1].name], args.limit)
    data = in_scale(data, image)
    return graph, data, data.images[: args.calibration_images]
