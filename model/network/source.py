# SPDX-License-Identifier: Apache-2.0
"""A source: one input tensor of a layer, and the integer kernel on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import fields, grouped
from .spread import MOST_UP

MAX_VALUES = 1 << 28  # of one image's tensor, padding included: 1080p with 128 channels; of a kernel written out


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One input tensor of a layer and the integer kernel on it (a linear layer is a kernel as large as the map).

    weights: int16 [out channels, in channels / groups, kernel height, kernel width].
    groups: of G groups, outputs [i * out / G, (i + 1) * out / G) read the inputs [i * in / G, (i + 1) * in / G) alone;
    as many groups as channels make a depthwise kernel.
    padding: top, bottom, left, right; padded places hold the tensor's pad code (0 but for the image).
    shift: every weight counts 2**shift times (for sources such as shortcuts, whose weights are larger than the rest).
    up: every place of the tensor counts as up[0] x up[1] places (`spread.py`), of a copy alone: a kernel of one place
    on a hidden tensor. held: all of them have its value; else the first, and the others are 0.
    """

    tensor: str
    weights: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    shift: int = 0
    groups: int = 1
    up: tuple[int, int] = (1, 1)
    held: bool = False

    def __post_init__(self) -> None:
        fields.name(self.tensor, "The tensor of a source")
        object.__setattr__(self, "weights", fields.integers(self.weights, np.int16, f"Weights on {self.tensor!r}", 4))
        for name, count in (("stride", 2), ("padding", 4), ("dilation", 2), ("up", 2)):
            object.__setattr__(self, name, fields.wholes(getattr(self, name), f"the {name} of a source", count))
        object.__setattr__(self, "shift", fields.whole(self.shift, "The shift of a source"))
        if min(*self.stride, *self.dilation, *self.weights.shape) < 1 or min(self.padding) < 0:
            raise OneSpikeError(
                f"Stride, dilation and every kernel side must be at least 1 and padding at least 0, "
                f"not stride {self.stride}, dilation {self.dilation}, kernel {self.weights.shape}, "
                f"padding {self.padding}."
            )
        moves = self.stride != (1, 1) or any(self.padding) or self.weights.shape[2:] != (1, 1)
        if self.up != (1, 1) and (moves or self.tensor == "input" or not all(1 <= n <= MOST_UP for n in self.up)):
            raise OneSpikeError(
                f"A source that makes a larger map, up = {self.up}, must be a kernel of one place on a hidden tensor, "
                f"with stride 1, without padding, and up in 1..{MOST_UP}."
            )
        if not 0 <= self.shift <= 15:
            raise OneSpikeError(f"The shift of a source must lie in 0..15, not {self.shift}.")
        object.__setattr__(self, "groups", fields.whole(self.groups, "The groups of a source"))
        if self.groups < 1:
            raise OneSpikeError(f"The groups of a source must be at least 1, not {self.groups}.")

    @property
    def in_channels(self) -> int:
        """Channels of the tensor that the source reads."""
        return self.weights.shape[1] * self.groups

    @property
    def fan_out(self) -> int:
        """Outputs that read each channel."""
        return self.weights.shape[0] // self.groups

    @functools.cached_property
    def dense(self) -> np.ndarray:
        """The kernel int16 [out, in, KH, KW] with the zeros between groups written out; OneSpikeError if it is huge."""
        if self.groups == 1:
            return self.weights
        if (size := self.weights.size * self.groups) > MAX_VALUES:
            raise OneSpikeError(
                f"The kernel on {self.tensor!r}, in {self.groups} groups, has {size:,} weights with the zeros between "
                f"them, more than {MAX_VALUES:,}; use fewer channels."
            )
        return grouped.spread(self.weights, self.groups)

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for a source map of `height` x `width`."""
        height, width = height * self.up[0], width * self.up[1]
        top, bottom, left, right = self.padding
        _, _, kernel_h, kernel_w = self.weights.shape
        return (
            (height + top + bottom - self.dilation[0] * (kernel_h - 1) - 1) // self.stride[0] + 1,
            (width + left + right - self.dilation[1] * (kernel_w - 1) - 1) // self.stride[1] + 1,
        )
