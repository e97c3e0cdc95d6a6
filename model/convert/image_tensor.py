# SPDX-License-Identifier: Apache-2.0
"""The image tensor: which real number every code of a pixel stands for, and images that calibrate."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..network.image import MAX_BITS
from ..network.pixels import as_maps
from ..network.spec import Image

SLACK = 1 / 255  # of the range of pixels: how far calibration images may lie outside it


def image_of(
    graph: Graph, bits: int, mean: Any = None, std: Any = None, input_range: tuple[float, float] = (0.0, 1.0)
) -> Image:
    """The image tensor: x = (low + code * (high - low) / (2**bits - 1) - mean) / std, or as the network itself says."""
    channels = graph.shape[0]
    if graph.image is not None:
        if mean is not None or std is not None or not np.array_equal(_numbers(input_range), (0.0, 1.0)):
            raise OneSpikeError("The network quantises its input itself; leave out mean, std and input_range.")
        pad_code = _pad_code(graph, graph.image.scale, graph.image.offset, graph.image.bits)
        return dataclasses.replace(graph.image, pad_code=pad_code, channels_last=graph.channels_last)
    if not 1 <= bits <= MAX_BITS:
        raise OneSpikeError(f"input_bits must lie in 1..{MAX_BITS}, not {bits}.")
    span = _numbers(input_range)
    if span.size != 2 or not np.isfinite(span).all() or span[0] >= span[1]:
        raise OneSpikeError(f"input_range must be (lowest, highest) of the raw pixels, not {input_range}.")
    low, high = map(float, span)
    values = []
    for name, given, default in (("mean", mean, 0.0), ("std", std, 1.0)):
        array = _numbers(default if given is None else given)
        if array.size not in (1, channels) or not np.isfinite(array).all() or (name == "std" and (array <= 0).any()):
            sign = " positive" if name == "std" else ""
            raise OneSpikeError(
                f"{name} must be one{sign} number, or one for each of {channels} channels, not {given}."
            )
        values.append(np.broadcast_to(array, channels))
    scale = (high - low) / (2**bits - 1) / values[1]
    offset = (low - values[0]) / values[1]
    return Image(
        shape=graph.shape,
        bits=bits,
        scale=tuple(map(float, scale)),
        offset=tuple(map(float, offset)),
        pad_code=_pad_code(graph, scale, offset, bits),
        channels_last=graph.channels_last,
        arrangement=graph.arrangement,
    )


def check_images(images: np.ndarray, image: Image, own_scale: bool = False) -> np.ndarray:
    """Calibration images as float32 [N, C, H, W]; refused where shape, range or values cannot be right.

    What lies beyond the range of the pixels by no more than SLACK of it, as rounding and resizing leave it, is taken as
    the end of the range. own_scale: the network quantises its input itself, and so clips what lies beyond, too.
    """
    images = as_maps(image, images, "Calibration images").astype(np.float32)
    if not np.isfinite(images).all():
        raise OneSpikeError("The calibration data holds NaN or infinite values.")
    scale, offset = np.array(image.scale), np.array(image.offset)
    low, high = offset, offset + scale * (2**image.bits - 1)
    least, most = images.min((0, 2, 3)), images.max((0, 2, 3))
    slack = (high - low) * (1.0 if own_scale else SLACK)
    wanted = "images in the scale of its training" if own_scale else "input_range, mean and std as in training"
    if (least < low - slack).any() or (most > high + slack).any():
        raise OneSpikeError(
            f"The calibration data ranges from {least.min():.4g} to {most.max():.4g}, but the network's pixels range "
            f"from {low.min():.4g} to {high.max():.4g}; give {wanted}."
        )
    if ((most - least) / scale).max() < min(2.0, (2**image.bits - 1) / 2):  # steps; a picture has two, or its only one
        raise OneSpikeError(
            f"The calibration data spans only {least.min():.4g} to {most.max():.4g} of pixels from {low.min():.4g} to "
            f"{high.max():.4g}; give {wanted}."
        )
    return np.clip(images, *(np.float32(end).reshape(1, -1, 1, 1) for end in (low, high)))


def _numbers(values: Any) -> np.ndarray:
    """`values` as a row of float64; empty where they are no numbers."""
    try:
        return np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return np.empty(0)


def _pad_code(graph: Graph, scale: ArrayLike, offset: ArrayLike, bits: int) -> tuple[int, ...]:
    """The codes nearest to what padding of the image stands for."""
    codes = np.rint((np.array(graph.pad) - offset) / np.asarray(scale))
    return tuple(int(code) for code in np.clip(codes, 0, 2**bits - 1))
