# SPDX-License-Identifier: Apache-2.0
"""Where the spikes of a tensor lie: slices, words, fields and addresses in the banks' spike memories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..network import codes


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """A tensor in spike memory: pixel after pixel, each `words` spike words in every slice.

    slices: channel numbers per slice (all slices hold `channels_per_slice` places; the rest is empty).
    field: bits of one value's field. pad: border (top, bottom, left, right) that is stored, with the pad code.
    offset: what is taken from a code before it is stored (of images around zero). base: first address, the same in all
    banks. flat: the tensor's C * H * W values are the channels of one pixel. levels: of the levels code; table: the
    number of the engine's table of them.
    """

    name: str
    code: str
    top: int
    field: int
    slices: tuple[tuple[int, ...], ...]
    channels_per_slice: int
    words: int
    height: int  # with the stored border
    width: int
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    base: int = 0
    flat: bool = False
    offset: int = 0
    levels: tuple[int, ...] = ()
    table: int = 0

    @property
    def size(self) -> int:
        """Spike words of one slice."""
        return self.height * self.width * self.words

    @property
    def order(self) -> list[int]:
        """Channel number at every physical place, -1 where there is none."""
        return [c for s in self.slices for c in [*s, *[-1] * (self.channels_per_slice - len(s))]]

    def pack(self, fields: np.ndarray, word_bits: int) -> np.ndarray:
        """Spike words uint64 [slices, H * W, words] of fields uint [C, H, W] (the border included)."""
        per_word = word_bits // self.field
        fields = fields.reshape(-1, 1, 1) if self.flat else fields
        pixels = fields.reshape(len(fields), -1).T.astype(np.uint64)
        out = np.zeros((len(self.slices), len(pixels), self.words, per_word), np.uint64)
        for s, channels in enumerate(self.slices):
            places = out[s].reshape(len(pixels), -1)
            places[:, : len(channels)] = pixels[:, list(channels)]
        shifts = (np.arange(per_word) * self.field).astype(np.uint64)
        return np.bitwise_or.reduce(out << shifts, axis=3)


def deal(channels: int, slices: int, rates: Sequence[float] | np.ndarray | None = None) -> tuple[tuple[int, ...], ...]:
    """Channels dealt to slices of equal size so that the slices' total rates are as equal as greedy dealing makes them.

    Without rates the channels are cut into equal runs.
    """
    room = -(-channels // slices)
    if rates is None:
        return tuple(tuple(range(s * room, min(channels, (s + 1) * room))) for s in range(slices))
    dealt: list[list[int]] = [[] for _ in range(slices)]
    loads = np.zeros(slices)
    for channel in np.argsort(-np.asarray(rates), kind="stable"):
        order = np.argsort(loads, kind="stable")
        target = next(int(s) for s in order if len(dealt[s]) < room)
        dealt[target].append(int(channel))
        loads[target] += rates[channel]
    return tuple(tuple(sorted(s)) for s in dealt)


def tensor_layout(
    *,
    name: str,
    shape: tuple[int, int, int],
    code: str,
    top: int,
    slices: int,
    granule: int,
    word_bits: int,
    rates: Sequence[float] | np.ndarray | None = None,
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    flat: bool = False,
    offset: int = 0,
    levels: tuple[int, ...] = (),
) -> TensorLayout:
    """Lay out a tensor [C, H, W] over `slices`; places per slice are a multiple of `granule` (F fire lanes).

    top: the largest value that is stored, after the offset.
    """
    channels, height, width = (math.prod(shape), 1, 1) if flat else shape
    field = codes.field_width(code, top)
    if field > word_bits:
        raise OneSpikeError(
            f"Values of {name!r} up to {top} need {field} bits each in the {code} code, more than a spike word of "
            f"{word_bits} bits; use the radix code or word_bits=32."
        )
    dealt = deal(channels, slices, rates)
    places = -(-max(len(s) for s in dealt) // granule) * granule
    return TensorLayout(
        name=name,
        code=code,
        top=top,
        field=field,
        slices=dealt,
        channels_per_slice=places,
        words=-(-places * field // word_bits),
        height=height + pad[0] + pad[1],
        width=width + pad[2] + pad[3],
        pad=pad,
        flat=flat,
        offset=offset,
        levels=levels,
    )


def allocate(sizes: dict[str, int], lives: dict[str, tuple[int, int]], fixed: Iterable[str] = ()) -> dict[str, int]:
    """First-fit addresses: tensors whose lives (first, last layer, inclusive) overlap do not share words.

    `fixed` tensors live always and come first.
    """
    bases: dict[str, int] = {}
    end = 0
    for name in fixed:
        bases[name], end = end, end + sizes[name]
    floor = end
    for name in sorted((n for n in sizes if n not in bases), key=lambda n: lives[n]):
        first, last = lives[name]
        taken = sorted(
            (bases[other], bases[other] + sizes[other])
            for other in bases
            if other not in fixed and lives[other][0] <= last and first <= lives[other][1]
        )
        at = floor
        for low, high in taken:
            if at + sizes[name] <= low:
                break
            at = max(at, high)
        bases[name] = at
    return bases
