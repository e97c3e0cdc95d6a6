# SPDX-License-Identifier: Apache-2.0
"""Pictures and arrays as the codes of a network: every value is scaled by its own range, none is clipped.

Pictures are read by `model/training/pictures.py`. Arrays of uint8, uint16 and bool span black to white, 0..255,
0..65,535 and 0..1; floating-point arrays are what the trained network takes, by the rule of `model/network/pixels.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .model.errors import OneSpikeError
from .model.network.spec import Image
from .model.training.data import load_images
from .model.training.pictures import TOPS, other_size, read_picture


def load_codes(path: Path, image: Image) -> np.ndarray:
    """Codes [N, C, H, W] of a picture or of a `.npy` file, for a network that takes `image`."""
    if path.suffix in (".npy", ".npz"):
        values = load_images(path)
        arrangement = image.arrangement
        if arrangement is not None and arrangement.taken in (values.shape, values.shape[1:]):
            values = arrangement.apply(values.reshape(-1, *arrangement.taken), image.shape)
        elif values.ndim == 2:
            values = values[None, None]
        elif values.ndim == 3:
            values = values[None] if values.shape == image.shape else values[:, None]
    else:
        values = _shown(path, image)
    if values.shape[1:] != image.shape or not len(values):
        raise other_size(path, values.shape[1:], image.shape)
    top = TOPS.get(values.dtype.newbyteorder("="))
    if top is not None:
        return np.rint(values * ((2**image.bits - 1) / top)).astype(image.code_type)
    if not np.issubdtype(values.dtype, np.floating):
        raise OneSpikeError(
            f"{path} must hold uint8 (0..255), uint16 (0..65,535) or floating-point numbers, not {values.dtype}."
        )
    try:
        return image.quantise(values)
    except OneSpikeError as error:
        raise OneSpikeError(f"{path}: {error}") from None


def _shown(path: Path, image: Image) -> np.ndarray:
    """Values [1, C, H, W] of a picture; where the network cuts pictures up itself, it is of that size before."""
    arrangement = image.arrangement
    if arrangement is not None and image.shape[0] not in (1, 3) and len(arrangement.taken) == 3:
        channels, height, width = arrangement.taken
        if channels in (1, 3):
            return arrangement.apply(read_picture(path, (channels, height, width)), image.shape)
    return read_picture(path, image.shape)
