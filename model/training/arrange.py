# SPDX-License-Identifier: Apache-2.0
"""Images as files hold them in the order that a network takes: rearranged, never scaled, cut or resized."""

from __future__ import annotations

import math

import numpy as np


def arranged(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """images [N, a, b, c] as [N, C, H, W] of `shape`, or as they are where that is not a matter of order.

    By the first of these that fits: the same order; axes of length 1 elsewhere (rows of one channel, one row of
    channels); channels last, as NumPy, Keras and Pillow have them; one row of features for an image of as many values,
    in the order C, H, W, or the other way round.
    """
    found = images.shape[1:]
    if found == shape:
        return images
    if [side for side in found if side > 1] == [side for side in shape if side > 1]:
        return images.reshape(-1, *shape)
    if (found[2], *found[:2]) == shape:
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if math.prod(found) == math.prod(shape) and (found[1:] == (1, 1) or shape[1:] == (1, 1)):
        return images.reshape(-1, *shape)
    return images
