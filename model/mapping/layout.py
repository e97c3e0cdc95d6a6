# SPDX-License-Identifier: Apache-2.0
"""Where the spikes of a tensor lie: slices, words, fields and addresses in the banks' spike memories."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..network import codes
from .unroll import Unroll

QUARTERS = 4  # that a flat image is read from in turn


@dataclass(frozen=True, kw_only=True)
class TensorLayout:
    """A tensor in spike memory: pixel after pixel, each `words` spike words in every slice.

    slices: channel numbers per slice (all slices hold `channels_per_slice` places; the rest is empty).
    field: bits of one value's field. pad: border (top, bottom, left, right) that is stored, with the pad code.
    offset: what is taken from a code before it is stored (of images around zero). base: first address, the same in all
    banks. flat: the tensor's C * H * W values are the channels of one pixel. levels: of the levels code; table: the
    number of the engine's table of them. unroll: of an image whose kernel columns lie side by side: the
    channels are those of all taps, and pad's left and right are 0.
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
    unroll: Unroll | None = None

    @property
    def size(self) -> int:
        """Spike words of one slice."""
        return self.height * self.width * self.words

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the fields that it packs: of an unrolled image, the columns of all slices."""
        turns = 1 if self.unroll is None else self.unroll.turns
        return sum(map(len, self.slices)) // turns, self.height, self.width * turns

    @property
    def order(self) -> list[int]:
        """Channel number at every physical place, -1 where there is none."""
        return [c for s in self.slices for c in [*s, *[-1] * (self.channels_per_slice - len(s))]]

    def with_channels(self, order: Sequence[int]) -> TensorLayout:
        """The same places with all channels in this order."""
        ends = np.cumsum([len(channels) for channels in self.slices])
        dealt = tuple(tuple(order[end - len(own) : end]) for own, end in zip(self.slices, ends.tolist(), strict=True))
        return dataclasses.replace(self, slices=dealt)

    def tail(self, word_bits: int) -> int:
        """Chunks of four bits of a pixel's last word that hold values in some slice; at least one."""
        used = max(map(len, self.slices)) * self.field - (self.words - 1) * word_bits
        return max(1, -(-used // codes.CHUNK))

    def pack(self, fields: np.ndarray, word_bits: int) -> np.ndarray:
        """Spike words uint64 [slices, H * W, words] of fields uint [C, H, W] (the border included).

        Where columns are dealt in turn, W of the fields is that of all slices together.
        """
        per_word = word_bits // self.field
        out = self.spread(fields, word_bits).astype(np.uint64)
        out = out.reshape(len(self.slices), -1, self.words, per_word)
        shifts = (np.arange(per_word) * self.field).astype(np.uint64)
        return np.bitwise_or.reduce(out << shifts, axis=3)

    def spread(self, fields: np.ndarray, word_bits: int) -> np.ndarray:
        """The same fields one by one [slices, H, W, fields of a pixel's words], 0 where there is no channel."""
        fields = fields.reshape(-1, 1, 1) if self.flat else fields
        turns = 1 if self.unroll is None else self.unroll.turns
        room = self.words * (word_bits // self.field)
        out = np.zeros((len(self.slices), self.height, self.width, room), fields.dtype)
        for s, channels in enumerate(self.slices):
            own = fields[list(channels), :, s % turns :: turns].transpose(1, 2, 0)
            out[s, :, : own.shape[1], : len(channels)] = own
        return out


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


def deal_words(values: int, slices: int, per_word: int) -> tuple[tuple[int, ...], ...]:
    """The values of a flat image dealt to slices, word by word; a slice's words come from its quarters in turn.

    Neighbours are alike, and many a picture is empty at its edges: so no slice has more of it than another, and a bank
    never passes many empty words in a row.
    """
    whole, rest = divmod(values, per_word)
    words: list[list[int]] = [[] for _ in range(slices)]
    for word in range(whole):
        words[(word + word // slices) % slices].append(word)
    dealt = []
    for own in words:
        quarter = max(1, -(-len(own) // QUARTERS))
        turns = [own[at] for i in range(quarter) for at in range(i, len(own), quarter)]
        dealt.append([word * per_word + place for word in turns for place in range(per_word)])
    min(dealt, key=len).extend(range(values - rest, values))  # a word that is not full comes last
    return tuple(map(tuple, dealt))


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
    unroll: Unroll | None = None,
) -> TensorLayout:
    """Lay out a tensor [C, H, W] over `slices`; places per slice are a multiple of `granule` (F fire lanes).

    top: the largest value that is stored, after the offset.
    """
    channels, height, width = (math.prod(shape), 1, 1) if flat else shape
    if unroll is not None:
        channels, width, pad = channels * unroll.taps, -(-unroll.columns(width) // unroll.turns), (*pad[:2], 0, 0)
    field = codes.field_width(code, top, levels)
    if field > word_bits:
        raise OneSpikeError(
            f"Values of {name!r} up to {top} need {field} bits each in the {code} code, more than a spike word of "
            f"{word_bits} bits; use the radix code or word_bits=32."
        )
    if unroll is not None and unroll.turns > 1:
        dealt = (tuple(range(channels)),) * unroll.turns
    else:
        dealt = deal_words(channels, slices, word_bits // field) if flat else deal(channels, slices, rates)
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
        unroll=unroll,
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
