# SPDX-License-Identifier: Apache-2.0
"""Networks that a command line names: the float graph, and its conversion."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from ..model.convert.converter import Conversion, graph_of, prepare
from ..model.convert.methods import METHODS
from ..model.errors import OneSpikeError
from ..model.frontend.graph import Graph

SIGNED: dict[str, bool | str] = {"auto": "auto", "always": True, "never": False}


def read_graph(args: argparse.Namespace) -> Graph:
    """The float network of the file --model, which may hold the weights of an example network alone."""
    if args.model.suffix != ".npz":
        steps, length = (getattr(args, name, None) for name in ("network_steps", "time_step"))
        signed = SIGNED[getattr(args, "signed", "auto")]
        return graph_of(args.model, signed=signed, network_steps=steps, time_step=length)
    if args.network is None:
        raise OneSpikeError(f"{args.model} holds weights alone; name the network that they are for with --network.")
    from ..model.training.networks import IMAGES, load_npz

    module = load_npz(args.network, args.model)
    example = np.zeros((1, *IMAGES[args.network]), np.float32)
    return graph_of(module, example, SIGNED[getattr(args, "signed", "auto")])


def convert(args: argparse.Namespace, network: Any, images: np.ndarray | None) -> Conversion:
    """`prepare` with the options of the command line; those that a command lacks keep their defaults."""
    names: tuple[str, ...] = (
        "method",
        "signed_groups",
        "weight_bits",
        "accumulator_bits",
        "clip",
        "percentile",
        "input_bits",
        "mean",
        "std",
        "input_range",
    )
    names += tuple({name: None for method in METHODS.values() for name in method.settings})
    given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    return prepare(network, calibration=images, **given)
