# SPDX-License-Identifier: Apache-2.0
"""Image: the input tensor of a SpikeNet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import fields
from .arrangement import Arrangement

MAX_BITS = 16  # of a pixel: sensors have 10 to 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """The input tensor: codes 0..2**bits - 1, with `x = code * scale + offset` per channel in the module's own scale.

    pad_code: the code that padding of the first layer must hold, by default the one nearest to x = 0 in each channel
    (a module that normalises its input itself pads with its mean).
    first: the least code that real numbers are rounded to: 1 where a narrow quantiser, -127..127, leaves code 0 unused.
    channels_last: the module takes [N, W, C], as nodes of a graph with their features; the height is 1.
    arrangement: how the host lays out images of another shape that the module takes; None where it takes this one.
    """

    shape: tuple[int, int, int]
    bits: int = 8
    scale: tuple[float, ...] = field(default=())
    offset: tuple[float, ...] = field(default=())
    pad_code: tuple[int, ...] = field(default=())
    first: int = 0
    channels_last: bool = False
    arrangement: Arrangement | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", fields.wholes(self.shape, "the image shape"))
        object.__setattr__(self, "bits", fields.whole(self.bits, "The bits of a pixel"))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise OneSpikeError(f"The image shape must be (channels, height, width), not {self.shape}.")
        if not isinstance(self.channels_last, bool) or (self.channels_last and self.shape[1] != 1):
            raise OneSpikeError(f"channels_last is for images of height 1, not {self.shape}.")
        if self.arrangement is not None:
            pixels = math.prod(self.arrangement.taken)
            if self.channels_last or pixels != math.prod(self.shape):
                raise OneSpikeError(f"Images of {self.arrangement.taken} cannot be arranged as {self.shape}.")
        if not 1 <= self.bits <= MAX_BITS:
            raise OneSpikeError(f"Input bits must lie in 1..{MAX_BITS}, not {self.bits}.")
        channels = self.shape[0]
        for name, default in (("scale", 1 / (2**self.bits - 1)), ("offset", 0.0)):
            values = fields.reals(getattr(self, name), f"the image {name}") or (default,) * channels
            if len(values) != channels or not all(math.isfinite(v) for v in values):
                raise OneSpikeError(f"The image {name} must be {channels} finite numbers, not {values}.")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "first", fields.whole(self.first, "The first code of the image"))
        if not 0 <= self.first < 2**self.bits - 1:
            raise OneSpikeError(f"The first code of the image must lie in 0..{2**self.bits - 2}, not {self.first}.")
        if min(self.scale) <= 0:
            raise OneSpikeError(f"The image scale must be positive, not {self.scale}.")
        top = 2**self.bits - 1
        nearest = (round(min(top, max(0, -o / s))) for s, o in zip(self.scale, self.offset, strict=True))
        object.__setattr__(self, "pad_code", fields.wholes(self.pad_code, "the pad code") or tuple(nearest))
        if len(self.pad_code) != channels or not 0 <= min(self.pad_code) <= max(self.pad_code) <= top:
            raise OneSpikeError(f"The pad code must be {channels} codes in 0..{top}, not {self.pad_code}.")

    @property
    def code_type(self) -> type[np.integer]:
        """The dtype of the codes."""
        return np.uint8 if self.bits <= 8 else np.uint16

    def quantise(self, images: Any) -> np.ndarray:
        """Codes [N, C, H, W] of images, of `code_type`, by the rule of `pixels.py`: integers are codes, floats are
        rounded.
        """
        from .pixels import image_codes

        return image_codes(self, images)
