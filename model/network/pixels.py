# SPDX-License-Identifier: Apache-2.0
"""Images into codes: the one rule for all that takes images: `golden`, `Board.classify`, `simulate`, `count`, ...

* Integers are codes, 0..2**bits - 1: for a network of 8-bit images the bytes of a picture, as they are.
* Floating-point numbers are what the module itself takes, x = code * scale + offset; they are rounded to codes.
* Anything else is refused.

The shape is (N, C, H, W), or, as `convert` takes it, (N, C, L) for maps of height 1 and (N, F) for maps of one place;
or that which the module takes, where it rearranges images itself before its first layer (`arrangement.py`).

A mix-up of the two scales must show. Codes outside of the range are refused; so are floats whose clipping would change
them by more than a quarter of what they differ among themselves (MOST_LOST), such as bytes as floats for a network of
0..1: a few outliers are clipped. Images that differ and yet have at most two neighbouring codes get a warning, such as
0..1 for a network of 0..255, or 0 and 1 as integers.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OneSpikeError

if TYPE_CHECKING:
    from .spec import Image

MOST_LOST = 0.25  # share of the images' differences that clipping may take
JUDGED = 1 << 20  # values that are looked at, spread evenly
COARSE = 7  # top code from which two codes are too few to be meant


def image_codes(image: Image, images: Any) -> np.ndarray:
    """Codes [N, C, H, W] of images, of `image.code_type`; OneSpikeError, in one sentence, where they cannot be."""
    array = _array(image, images)
    top = 2**image.bits - 1
    if np.issubdtype(array.dtype, np.integer):
        if array.size and (array.min() < 0 or array.max() > top):
            raise OneSpikeError(
                f"Integer images are codes 0..{top}, but these range from {array.min()} to {array.max()}; give "
                f"floating-point numbers in the scale that the network's module takes ({_range(image)})."
            )
        codes = array.astype(image.code_type)
        differ = True
    else:
        if not np.isfinite(array).all():
            raise OneSpikeError("The images hold NaN or infinite values; clean the data first.")
        _check_range(image, array)
        codes = nearest_codes(image, array)
        differ = bool(array.size) and array.min() != array.max()
    if differ and codes.size and top >= COARSE and _few(codes, array):
        warnings.warn(
            f"All values of the images become the codes {codes.min()} and {codes.max()} of 0..{top}, as {array.dtype} "
            f"{array.min():.4g} to {array.max():.4g}: integers are codes, floating-point numbers lie in "
            f"{_range(image)}.",
            stacklevel=3,
        )
    return codes


def nearest_codes(image: Image, values: np.ndarray) -> np.ndarray:
    """Codes of floats [N, C, H, W] in the module's own scale, rounded to nearest and clipped, unchecked."""
    scale, offset = (np.array(numbers).reshape(1, -1, 1, 1) for numbers in (image.scale, image.offset))
    return np.clip(np.rint((values - offset) / scale), image.first, 2**image.bits - 1).astype(image.code_type)


def real_values(image: Image, images: Any) -> np.ndarray:
    """Images [N, C, H, W] as the module itself takes them: codes * scale + offset of integers, floats as they are."""
    array = _array(image, images)
    if np.issubdtype(array.dtype, np.floating):
        return array
    scale, offset = (np.array(numbers).reshape(1, -1, 1, 1) for numbers in (image.scale, image.offset))
    return (image_codes(image, array) * scale + offset).astype(np.float32)


def from_white(image: Image, shares: np.ndarray) -> np.ndarray:
    """Floats in the module's own scale of shares of white, 0..1 [N, C, H, W]: the codes span black to white."""
    scale, offset = (np.array(numbers).reshape(1, -1, 1, 1) for numbers in (image.scale, image.offset))
    return (shares * (scale * (2**image.bits - 1)) + offset).astype(np.float32)


def as_maps(image: Image, array: np.ndarray, what: str = "Images") -> np.ndarray:
    """[N, C, H, W] of that, of (N, C, L) or of (N, F); of (N, L, C) or (L, C), one graph, where channels lie last.

    What has another shape than `image` is refused; what: the subject of that sentence.
    """
    channels, height, width = image.shape
    arrangement = image.arrangement
    if arrangement is not None and array.shape[1:] == arrangement.taken:
        return arrangement.apply(array, image.shape)
    if image.channels_last and array.ndim < 4:
        if array.ndim < 2 or array.shape[-2:] != (width, channels):
            raise OneSpikeError(
                f"{what} must have the shape (N, {width}, {channels}) or ({width}, {channels}), {width} nodes with "
                f"{channels} features, not {tuple(array.shape)}."
            )
        return array.reshape(-1, 1, width, channels).transpose(0, 3, 1, 2)
    found = {2: (*array.shape, 1, 1), 3: (*array.shape[:2], 1, *array.shape[2:])}.get(array.ndim, array.shape)
    if found[1:] != image.shape or len(found) != 4:
        flat = f"(N, {channels}) or " if (height, width) == (1, 1) and channels > 1 else ""
        flat = f"(N, {channels}, {width}) or " if height == 1 < width else flat
        if arrangement is not None:
            flat = f"(N, {', '.join(map(str, arrangement.taken))}) or "
        raise OneSpikeError(
            f"{what} must have the shape {flat}(N, {channels}, {height}, {width}), not {tuple(array.shape)}."
        )
    return array.reshape(found)


def _array(image: Image, images: Any) -> np.ndarray:
    """An array of numbers [N, C, H, W]."""
    try:
        if hasattr(images, "detach"):  # a tensor of torch
            images = images.detach().cpu().numpy()
        array = np.asarray(images)
    except (TypeError, ValueError, RuntimeError):
        raise OneSpikeError(f"Images must be one array of numbers, not {type(images).__name__}.") from None
    if not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
        raise OneSpikeError(
            f"Images must be integers (codes 0..{2**image.bits - 1}) or floating-point numbers ({_range(image)}), not "
            f"{array.dtype}."
        )
    return as_maps(image, array)


def _range(image: Image) -> str:
    """What floats may be."""
    top = 2**image.bits - 1
    low, high = min(image.offset), max(o + top * s for s, o in zip(image.scale, image.offset, strict=True))
    return f"{low:.4g} to {high:.4g}"


def _check_range(image: Image, array: np.ndarray) -> None:
    """Refuse floats that clipping would change beyond recognition."""
    if not array.size:
        return
    scale, low = np.array(image.scale), np.array(image.offset)
    high = low + scale * (2**image.bits - 1)
    if (array.min((0, 2, 3)) >= low - scale).all() and (array.max((0, 2, 3)) <= high + scale).all():
        return
    picked = array[:: max(1, len(array) * array[0].size // JUDGED)]
    units = (picked - low.reshape(1, -1, 1, 1)) / (high - low).reshape(1, -1, 1, 1)  # 0..1 is inside
    # One outlier counts as much as the range is wide, however far away it lies; 0, a blank, never counts.
    lost = (np.minimum(np.maximum(-units, units - 1).clip(0), 1) * (picked != 0)).mean()
    spread = np.minimum(np.abs(units - np.median(units)), 1).mean()
    if lost > MOST_LOST * spread:
        outside = float(((units < 0) | (units > 1)).mean())
        raise OneSpikeError(
            f"The images range from {array.min():.4g} to {array.max():.4g}, but the network takes {_range(image)}, so "
            f"that {max(1, round(100 * outside))} % of their values would be clipped; give them in the scale that the "
            f"module takes, or image codes as integers, or np.clip them first."
        )


def _few(codes: np.ndarray, array: np.ndarray) -> bool:
    """Whether all codes are two neighbours, or one although the images differ."""
    span = int(codes.max()) - int(codes.min())
    return span == 1 or (span == 0 and array.dtype.kind == "f")
