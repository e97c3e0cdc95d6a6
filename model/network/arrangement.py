# SPDX-License-Identifier: Apache-2.0
"""Arrangement: how the host lays out an image that the module itself rearranges before its first layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import fields


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """An image of the shape `taken`, as the module takes it, becomes a map (C, H, W): it is reshaped to `split`, its
    axes are put into the order `axes`, and the result is reshaped to the map.

    Channels behind height and width are (H, W, C), (H, W, C), (2, 0, 1); a pixel unshuffle by two is (1, H, W),
    (H / 2, 2, W / 2, 2), (1, 3, 0, 2).
    """

    taken: tuple[int, ...]
    split: tuple[int, ...]
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("taken", "split", "axes"):
            object.__setattr__(self, name, fields.wholes(getattr(self, name), f"the arrangement's {name}"))
        if not self.taken or min(self.taken) < 1 or not self.split or min(self.split) < 1:
            raise OneSpikeError(f"An arrangement of {self.taken} by way of {self.split} has no pixels.")
        if math.prod(self.taken) != math.prod(self.split) or sorted(self.axes) != list(range(len(self.split))):
            raise OneSpikeError(f"The axes {self.axes} of {self.split} do not rearrange an image of {self.taken}.")

    def apply(self, images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Maps [N, *shape] of images [N, *taken]."""
        order = (0, *(axis + 1 for axis in self.axes))
        return images.reshape(len(images), *self.split).transpose(order).reshape(len(images), *shape)

    def undo(self, maps: np.ndarray) -> np.ndarray:
        """Images [N, *taken] of maps [N, C, H, W]."""
        turned = maps.reshape(len(maps), *(self.split[axis] for axis in self.axes))
        back = (0, *(int(axis) + 1 for axis in np.argsort(self.axes)))
        return turned.transpose(back).reshape(len(maps), *self.taken)


def arrangement_of(taken: Sequence[int], places: np.ndarray) -> Arrangement | None:
    """The arrangement whose map holds at place i the pixel `places[i]`; None where no reshape and transpose does that.

    taken: shape of an image. places: each of 0 .. pixels - 1 once.
    """
    digits: list[tuple[int, int]] = []  # (how many, how far apart) from the map's last axis on
    rest = np.asarray(places).reshape(-1)
    while len(rest) > 1:
        step = int(rest[1] - rest[0])
        other = np.flatnonzero(rest != rest[0] + step * np.arange(len(rest)))
        count = int(other[0]) if len(other) else len(rest)
        if step < 1 or len(rest) % count:
            return None
        digits.append((count, step))
        rest = rest[::count]
    outer = digits[::-1]
    by_step = sorted(outer, key=lambda digit: -digit[1])
    split = tuple(count for count, _ in by_step) or (1,)
    if math.prod(split) != math.prod(taken):
        return None
    found = Arrangement(
        taken=tuple(taken), split=split, axes=tuple(by_step.index(digit) for digit in outer) or (0,)
    )
    numbers = np.arange(math.prod(taken))
    made = found.apply(numbers[None], numbers.shape)
    return found if np.array_equal(made[0], np.asarray(places).reshape(-1)) else None
