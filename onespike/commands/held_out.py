# SPDX-License-Identifier: Apache-2.0
"""What `onespike convert` ends with: accuracy on images that the network has not seen, and the next command."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console

from .. import tables
from ..model.convert.converter import Conversion
from ..model.errors import OneSpikeError
from ..model.network.judge import judge_of
from ..model.network.operations import dense_macs
from ..model.network.spec import SpikeNet
from ..model.training.data import Dataset, load
from ..progress import Progress
from .labelled import load_for

JUDGED = 1000  # images at most
FEWEST = 100  # fewer say too little
MOST_MACS = 5 * 10**10  # of all of them: some seconds


def images_to_judge(net: SpikeNet) -> int:
    """How many images are judged in some seconds; 0 where these are too few to mean anything."""
    steps = 1 if net.membranes is None else net.membranes.steps
    number = min(JUDGED, MOST_MACS // max(1, steps * sum(dense_macs(net, layer) for layer in net.layers)))
    return number if number >= FEWEST else 0


def asked(args: argparse.Namespace) -> None:
    """OneSpikeError where --test names data that is not there, before the conversion."""
    if args.test is not None:
        load(args.test, "test", most=1)


def judge(
    args: argparse.Namespace, conversion: Conversion, data: Dataset | None, console: Console, progress: Progress
) -> dict[str, Any]:
    """Accuracy on --test, or on the test split of the calibration data, and what to do next, said and as figures."""
    source = args.test or (args.calibration if data is not None and data.parted else None)
    found, sentence = _accuracy(args, conversion, source, progress)
    rows = [("accuracy", sentence), ("next", _next(args, conversion.net, source))]
    tables.facts(console, f"Written to {args.output}", rows)
    return {"accuracy": found} if found else {}


def _accuracy(
    args: argparse.Namespace, conversion: Conversion, source: str | None, progress: Progress
) -> tuple[dict[str, Any], str]:
    """The shares, or none, and a sentence."""
    net = conversion.net
    number = images_to_judge(net)
    if source is None:
        return {}, "not measured: give --test DATA, labelled images that it has not seen"
    if not number:
        return {}, f"not measured, as the network is large: onespike eval {args.output} --data {source}"
    try:
        every = load_for(argparse.Namespace(data=source, split="test", images=None), net.image)
        part = every[:number]
        judged = judge_of(net, part.labels, repr(every.name))
    except OneSpikeError as error:
        if args.test is not None:
            raise
        return {}, f"not measured: {str(error).rstrip('.')}"
    with progress.stage("judge", f"Accuracy on {len(part)} images"):
        right = judged.share(net.golden(part.images))
        real = judged.share(conversion.original.run(part.images, np.float32))
    what = f"of {len(part)} images ({every.name}{', test' * every.parted}); {tables.percent(real, 2)} in floating point"
    return {"golden": right, "float": real, "images": len(part)}, f"{tables.percent(right, 2)} {what}"


def _next(args: argparse.Namespace, net: SpikeNet, source: str | None) -> str:
    """The command that goes on."""
    data = source or args.calibration or "DATA"
    return f"onespike {'simulate' if net.membranes is None else 'eval'} {args.output} --data {data}"
