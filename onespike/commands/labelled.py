# SPDX-License-Identifier: Apache-2.0
"""The labelled images that commands judge a network on."""

from __future__ import annotations

import argparse
import math

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
    data = load(args.data, args.split, image.shape, args.images)
    if data.images.shape[1:] != image.shape:
        raise OneSpikeError(
            f"The images of {data.name!r} have the shape {data.images.shape[1:]}, but the network takes "
            f"{image.shape}; give it the data that it was trained on{why_not(data, image)}."
        )
    if args.images is not None and args.images > len(data):
        raise OneSpikeError(
            f"{data.name!r} has {len(data)} images{f' in its {args.split} split' * data.parted}, fewer than "
            f"{args.images}."
        )
    return in_scale(data[: args.images], image)


def trainable(data: Dataset, limit: int | None) -> Dataset:
    """data, the first `limit` images of which there were more; OneSpikeError where they show one class only."""
    if limit and len(data) > 1 and data.labelled and (data.labels == data.labels[0]).all():
        raise OneSpikeError(
            f"The first {len(data)} images of {data.name!r} are all of one class: shuffle the data, or raise --limit."
        )
    return data


def why_not(data: Dataset, image: Image) -> str:
    """What may be the matter with images of another shape, as the end of a sentence."""
    one_more = data.images[0].size == 1 + math.prod(image.shape) and data.images.shape[2:] == (1, 1)
    return ", with a header in which the column of the labels is called 'label'" if one_more else ""


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
