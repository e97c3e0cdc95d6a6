# SPDX-License-Identifier: Apache-2.0
"""The labelled images that commands judge a network on."""

from __future__ import annotations

import argparse
import dataclasses
import math

import numpy as np

from .. import tables
from ..model.errors import OneSpikeError
from ..model.network.judge import judge, judge_of
from ..model.network.spec import Image, SpikeNet
from ..model.training.data import Dataset, in_scale, load


def load_data(args: argparse.Namespace, net: SpikeNet) -> Dataset:
    """The first --images of the data, whose shape the network must take, in its scale."""
    return load_for(args, net.image)


def load_for(args: argparse.Namespace, image: Image) -> Dataset:
    """`load_data` of a network that takes this image tensor."""
    data = _arranged(args, image) or load(args.data, args.split, image.shape, args.images)
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


def _arranged(args: argparse.Namespace, image: Image) -> Dataset | None:
    """The data where they have the shape that the trained module takes, laid out as its network does; else None."""
    arrangement = image.arrangement
    if arrangement is None:
        return None
    taken = arrangement.taken
    data = load(args.data, args.split, taken if len(taken) == 3 else None, args.images)
    sides = [tuple(side for side in shape if side > 1) for shape in (data.images.shape[1:], taken)]
    if sides[0] != sides[1]:
        return None
    images = data.images.reshape(len(data), *taken)
    return dataclasses.replace(data, images=arrangement.apply(images, image.shape))


def trainable(data: Dataset, outputs: tuple[int, int, int], limit: int | None = None) -> Dataset:
    """data with labels as training takes them, where `outputs` (C, H, W) can learn them; one-hot ones become classes.

    Raises OneSpikeError where they cannot, and where the first `limit` images, which these are, show one class only.
    """
    labels = judge(outputs, data.labels, repr(data.name)).labels
    if labels.ndim == 2:
        raise OneSpikeError(f"{data.name!r} has several labels of an image; training takes one class for each.")
    if limit and len(labels) > 1 and (labels == labels[0]).all():
        raise OneSpikeError(
            f"The first {len(data)} images of {data.name!r} are all of one class: shuffle the data, or raise --limit."
        )
    return dataclasses.replace(data, labels=labels)


def why_not(data: Dataset, image: Image) -> str:
    """What may be the matter with images of another shape, as the end of a sentence."""
    one_more = data.images[0].size == 1 + math.prod(image.shape) and data.images.shape[2:] == (1, 1)
    return ", with a header in which the column of the labels is called 'label'" if one_more else ""


def accuracy(net: SpikeNet, data: Dataset) -> float:
    """Share of right answers of the golden model; OneSpikeError where the labels are about other outputs."""
    return judge_of(net, data.labels, repr(data.name)).share(net.golden(data.images))


def accuracy_or_why(net: SpikeNet, data: Dataset, logits: np.ndarray) -> tuple[float | None, str]:
    """Share of right answers of logits, where it is not the point of a command; or None and why there is none."""
    try:
        share = judge_of(net, data.labels, repr(data.name)).share(logits)
    except OneSpikeError as error:
        return None, str(error)
    return share, f"{tables.percent(share)} classified rightly"
