# SPDX-License-Identifier: Apache-2.0
"""The labelled images that commands judge a network on."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from .. import tables
from ..model.errors import OneSpikeError
from ..model.network.judge import judge
from ..model.network.spec import Image, SpikeNet
from ..model.training.data import Dataset, in_scale, load


def load_data(args: argparse.Namespace, net: SpikeNet) -> Dataset:
    """The first --images of the data, whose shape the network must take, in its scale."""
    return load_for(args, net.image)


def load_for(args: argparse.Namespace, image: Image) -> Dataset:
    """`load_data` of a network that takes this image tensor."""
    data = load(args.data, args.split)
    arrangement = image.arrangement
    if arrangement is not None and data.images.shape[1:] == arrangement.taken:
        data = dataclasses.replace(data, images=arrangement.apply(data.images, image.shape))
    if data.images.shape[1:] != image.shape:
        raise OneSpikeError(
            f"The images of {data.name!r} have the shape {data.images.shape[1:]}, but the network takes "
            f"{image.shape}; give it the data that it was trained on."
        )
    if args.images is not None and args.images > len(data):
        raise OneSpikeError(
            f"{data.name!r} has {len(data)} images in its {args.split} split, fewer than {args.images}."
        )
    return in_scale(data[: args.images], image)


def accuracy(net: SpikeNet, data: Dataset) -> float:
    """Share of right answers of the golden model; OneSpikeError where the labels are about other outputs."""
    return judge(net.output, data.labels, repr(data.name)).share(net.golden(data.images))


def accuracy_or_why(net: SpikeNet, data: Dataset, logits: np.ndarray) -> tuple[float | None, str]:
    """Share of right answers of logits, where it is not the point of a command; or None and why there is none."""
    try:
        share = judge(net.output, data.labels, repr(data.name)).share(logits)
    except OneSpikeError as error:
        return None, str(error)
    return share, f"{tables.percent(share)} classified rightly"
