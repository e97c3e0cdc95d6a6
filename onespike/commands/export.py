# SPDX-License-Identifier: Apache-2.0
"""`onespike export`: an integer network in the file formats of other tools."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from .. import figures, tables
from ..model.errors import OneSpikeError
from ..model.network.spec import SpikeNet
from ..progress import Progress

FORMATS = {".onnx": "qonnx", ".nir": "nir"}


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    kind = args.format or FORMATS.get(args.output.suffix)
    if kind is None:
        raise OneSpikeError(
            f"The name {args.output.name!r} tells no format; end it with .onnx or .nir, or give --format."
        )
    net = SpikeNet.load(args.net)
    with progress.stage("export", f"Writing {args.output}"):
        if kind == "qonnx":
            from ..model.export.onnx_export import export_qonnx

            export_qonnx(net, args.output)
        else:
            from ..model.export.nir_export import export_nir

            export_nir(net, args.output)
    size = args.output.stat().st_size if args.output.is_file() else 0  # of a pipe or a device: not to be known
    image = net.image
    channels = [f"x = code * {s:.6g} {o:+.6g}" for s, o in zip(image.scale, image.offset, strict=True)]
    rows = [
        ("file", f"{args.output}, {size:,} bytes" if size else str(args.output)),
        ("input", f"codes 0..{2**image.bits - 1} of {' x '.join(map(str, image.shape))} pixels, {channels[0]}"),
        ("output", f"{net.classes} whole logits, as the golden model gives them"),
    ]
    tables.facts(console, f"Network {net.hash[:12]} as {kind.upper()}", rows)
    return {
        "network": {"hash": net.hash, "groups": figures.groups(net)},
        "format": kind,
        "output": str(args.output),
        "bytes": size,
        "seconds": progress.seconds["export"],
    }
