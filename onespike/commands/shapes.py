# SPDX-License-Identifier: Apache-2.0
"""`onespike shapes`: a network by name, without weights."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import tables
from ..model.errors import OneSpikeError
from ..parsers.options import engine_config
from ..progress import Progress


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..model.cost import shapes

    config = dataclasses.replace(engine_config(args), max_groups=args.groups)
    if config.streams_weights:
        raise OneSpikeError("A network without weights cannot wait for them: leave --external-weights out.")
    network = shapes.named(args.network)
    layers = network.layers
    rate = shapes.RATE if args.rate is None else args.rate
    image_rate = shapes.IMAGE_RATE if args.image_rate is None else args.image_rate
    found = shapes.estimate(layers, config, rate=rate, image_rate=image_rate)
    cycles, macs = sum(layer.cycles for layer in found), sum(layer.macs for layer in layers)
    result: dict[str, Any] = {
        "network": args.network,
        "parameters": network.parameters,
        "folded_parameters": sum(layer.weights + layer.biases for layer in layers),
        "dense_macs": macs,
        "hardware": {"banks": config.banks, "lanes": config.lanes, "groups": args.groups},
        "rate": rate,
        "image_rate": image_rate,
        "estimated_cycles": cycles,
        "dense_ratio": cycles * config.banks * config.lanes / macs,
        "layers": [
            {
                "name": layer.name,
                "shape": [layer.outputs, *layer.size],
                "kernel": list(layer.kernel),
                "weights": layer.weights,
                "dense_macs": layer.macs,
                "estimated_cycles": estimate.cycles,
                "bound": estimate.bound,
                "slices": estimate.slices,
            }
            for layer, estimate in zip(layers, found, strict=True)
        ],
    }
    console.print(tables.shapes(result))
    tables.facts(
        console,
        f"{args.network}, by shape",
        [
            ("parameters", f"{result['parameters']:,} ({result['folded_parameters']:,} with batch norm folded)"),
            ("dense MACs", f"{macs:,}"),
            ("cycles", f"about {cycles:,.0f} on {config.banks} banks x {config.lanes} lanes, an estimate: {rate:g} "
                       f"events per dense MAC, {image_rate:g} in the first layer, spread evenly"),
            ("against dense", f"{result['dense_ratio']:.2f} of an ideal dense array with as many lanes"),
        ],
    )  # fmt: skip
    return result
