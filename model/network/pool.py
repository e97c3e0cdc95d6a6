# SPDX-License-Identifier: Apache-2.0
"""Pool: the windows of a layer's map of which the maximum or the sum is kept."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OneSpikeError
from . import fields


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pool over spike counts: `max`, or `sum` (average pooling; the division sits in the next weights).

    Windows that reach past the map (`ceil_mode`, padding) are clipped to it.
    """

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, bottom, left, right

    def __post_init__(self) -> None:
        for name, count in (("kernel", 2), ("stride", 2), ("padding", 4)):
            object.__setattr__(self, name, fields.wholes(getattr(self, name), f"the pool's {name}", count))
        if self.kind not in ("max", "sum"):
            raise OneSpikeError(f"Pool kind must be 'max' or 'sum', not {self.kind!r}.")
        if min(*self.kernel, *self.stride) < 1:
            raise OneSpikeError(f"Pool kernel and stride must be at least 1, not {self.kernel} and {self.stride}.")
        top, bottom, left, right = self.padding
        if max(top, bottom) >= self.kernel[0] or max(left, right) >= self.kernel[1] or min(self.padding) < 0:
            raise OneSpikeError(f"Pool padding {self.padding} must be smaller than the kernel {self.kernel}.")

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """How many windows lie one below and one beside another on a map of `height` x `width`."""
        top, bottom, left, right = self.padding
        return (
            max(0, (height + top + bottom - self.kernel[0]) // self.stride[0] + 1),
            max(0, (width + left + right - self.kernel[1]) // self.stride[1] + 1),
        )

    def windows(self, height: int, width: int) -> tuple[list[range], list[range]]:
        """The rows and the columns of each window, clipped to a map of `height` x `width`."""
        rows, columns = self.output_shape(height, width)

        def axis(count: int, size: int, before: int, kernel: int, stride: int) -> list[range]:
            starts = [i * stride - before for i in range(count)]
            return [range(max(0, s), min(size, s + kernel)) for s in starts]

        return (
            axis(rows, height, self.padding[0], self.kernel[0], self.stride[0]),
            axis(columns, width, self.padding[2], self.kernel[1], self.stride[1]),
        )
