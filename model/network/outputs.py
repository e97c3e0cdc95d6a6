# SPDX-License-Identifier: Apache-2.0
"""Output: a named part of the last layer's channels, as the module itself gives it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import fields
from .arrangement import Arrangement


@dataclass(frozen=True, kw_only=True)
class Output:
    """A map of so many `channels`, and the `shape` (without the batch) in which the module gives it.

    fold: rows and columns of the map whose values lie side by side as channels of the last layer, (c, row, column): a
    map of 4 x 4 on a layer of 2 x 2 places has fold (2, 2) and takes four channels for each of its own.
    arrangement: how the map is reordered for the module's shape; None where (C, H, W) is its order.
    """

    name: str
    channels: int
    shape: tuple[int, ...]
    fold: tuple[int, int] = (1, 1)
    arrangement: Arrangement | None = None

    def __post_init__(self) -> None:
        fields.name(self.name, "The name of an output")
        object.__setattr__(self, "channels", fields.whole(self.channels, f"The channels of the output {self.name!r}"))
        object.__setattr__(self, "shape", fields.wholes(self.shape, f"the shape of the output {self.name!r}"))
        object.__setattr__(self, "fold", fields.wholes(self.fold, f"the fold of the output {self.name!r}", 2))
        if self.channels < 1 or min(self.shape, default=1) < 1 or min(self.fold) < 1:
            raise OneSpikeError(f"The output {self.name!r} of {self.channels} channels and {self.shape} has no values.")

    @property
    def taken(self) -> int:
        """Channels of the last layer."""
        return self.channels * math.prod(self.fold)

    def unfolded(self, maps: np.ndarray) -> np.ndarray:
        """The map [N, channels, H, W] of its channels of the last layer [N, taken, H / rows, W / columns]."""
        count, _, height, width = maps.shape
        rows, columns = self.fold
        split = maps.reshape(count, self.channels, rows, columns, height, width).transpose(0, 1, 4, 2, 5, 3)
        return split.reshape(count, self.channels, height * rows, width * columns)

    def of(self, maps: np.ndarray) -> np.ndarray:
        """Values [N, *shape] of the output's maps [N, channels, H, W]."""
        if self.arrangement is not None:
            return self.arrangement.apply(maps, self.shape)
        return maps.reshape(len(maps), *self.shape)


def check_outputs(outputs: Sequence[Output], shape: tuple[int, int, int]) -> None:
    """OneSpikeError unless the outputs share out the channels of a map of `shape` (C, H, W) among them."""
    if not outputs:
        return
    if len({output.name for output in outputs}) < len(outputs):
        raise OneSpikeError(f"Two outputs have one name: {', '.join(output.name for output in outputs)}.")
    channels, *size = shape
    if sum(output.taken for output in outputs) != channels:
        raise OneSpikeError(
            f"The outputs have {' + '.join(str(output.taken) for output in outputs)} channels, but the last layer has "
            f"{channels}."
        )
    for output in outputs:
        values = output.taken * math.prod(size)
        arranged = output.arrangement
        if math.prod(output.shape) != values or (arranged is not None and math.prod(arranged.taken) != values):
            raise OneSpikeError(f"The output {output.name!r} of {values} values cannot have the shape {output.shape}.")


def parts(outputs: Sequence[Output], maps: np.ndarray) -> dict[str, np.ndarray]:
    """The map [N, channels, H, W] of every output by name, of those of the last layer [N, C, H, W]."""
    ends = np.cumsum([output.taken for output in outputs])
    found = np.split(maps, ends[:-1], axis=1)
    return {output.name: output.unfolded(part) for output, part in zip(outputs, found, strict=True)}
