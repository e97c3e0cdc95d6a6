# SPDX-License-Identifier: Apache-2.0
"""Parts: layers cut into pieces whose weights fit into the chip, and where each piece's weights lie meanwhile.

A part computes a range of a layer's output blocks for all pixels, as a layer of its own. Parts are fetched in order.
Their places are fixed; `hold` says how many of the parts before one may be unfinished when its weights are written, so
that none in use are overwritten.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...hw.config import EngineConfig

if TYPE_CHECKING:
    from .mapping import MappedLayer

SHARE = 4  # parts that the weight memory should hold, where blocks are small enough
BEAM = 16  # placements that are pursued at a time


def split(layer: MappedLayer, config: EngineConfig, limit: int) -> list[MappedLayer]:
    """The layer's parts with at most `limit` weight rows in a bank, or, where no part is so small, the smallest."""
    ends = [b for b in range(1, layer.blocks) if _begins_word(layer, config, b * config.lanes)] + [layer.blocks]
    parts: list[MappedLayer] = []
    begin = 0
    while begin < layer.blocks:
        later = [end for end in ends if end > begin]
        rows = {end: part_rows(layer, end - begin) for end in later}
        fitting = [end for end in later if rows[end] <= limit]
        end = max(fitting) if fitting else min(later, key=lambda end: (rows[end], -end))
        parts.append(_part(layer, config, begin, end))
        begin = end
    return [dataclasses.replace(part, part=i, parts=len(parts)) for i, part in enumerate(parts)]


def part_rows(layer: MappedLayer, blocks: int) -> int:
    """Weight rows in each bank of a part of so many blocks."""
    return sum(source.block_stride for source in layer.sources) * blocks // math.gcd(layer.groups, blocks)


def _begins_word(layer: MappedLayer, config: EngineConfig, place: int) -> bool:
    """Whether the channel at a physical place is the first of a spike word."""
    output = layer.output
    return output is None or place % output.channels_per_slice % (config.word_bits // output.field) == 0


def _part(layer: MappedLayer, config: EngineConfig, begin: int, end: int) -> MappedLayer:
    lanes = config.lanes
    return dataclasses.replace(
        layer,
        first=begin * lanes,
        blocks=end - begin,
        period=math.gcd(layer.groups, end - begin),
        order=layer.order[begin * lanes : end * lanes],
        channel_base=layer.channel_base + begin * config.drain_steps,
    )


def place(parts: Sequence[MappedLayer], depth: int) -> list[MappedLayer]:
    """The parts with their places in weight memories of `depth` rows, those that stay there, and `hold`.

    If all fit, all stay.
    """
    rows = [part.weight_rows for part in parts]
    stay = sum(rows) <= depth
    bases = [sum(rows[:index]) for index in range(len(rows))] if stay else _bases(rows, depth)
    placed = []
    for index, (part, base) in enumerate(zip(parts, bases, strict=True)):
        hold = len(parts) - 1 if stay else _hold(bases, rows, index, len(parts) - 1)
        sources = []
        for source in part.sources:
            sources.append(dataclasses.replace(source, weight_base=base))
            base += source.block_stride * (part.blocks // part.period)
        placed.append(dataclasses.replace(part, sources=tuple(sources), resident=stay, hold=hold))
    return placed


def _bases(rows: Sequence[int], depth: int) -> list[int]:
    """Places that let many parts be ahead of the one that computes, above all at least one.

    A beam search: each part lies at an end of the memory or beside one of those before it.
    """
    beam: list[tuple[float, list[int]]] = [(0.0, [])]
    for index, size in enumerate(rows):
        found = {}
        for worth, bases in beam:
            near = range(max(0, index - 2 * SHARE), index)
            places = {0, depth - size, *(bases[i] + rows[i] for i in near), *(bases[i] - size for i in near)}
            for place in sorted(places):
                if 0 <= place <= max(0, depth - size):
                    longer = [*bases, place]
                    found[tuple(longer)] = (worth + _worth(_hold(longer, rows, index, index)), longer)
        beam = sorted(found.values(), key=lambda entry: (-entry[0], entry[1]))[:BEAM]
    ahead = len(rows) - 1
    return max(
        (bases for _, bases in beam),
        key=lambda bases: sum(_worth(_hold(bases, rows, index, ahead)) for index in range(len(rows))),
    )


def _worth(hold: int) -> float:
    """The first part that may be ahead matters most."""
    return hold / (hold + 1)


def _hold(bases: Sequence[int], rows: Sequence[int], index: int, count: int) -> int:
    """How many of the `count` parts before one, from the nearest on, share no row with it."""
    base, size = bases[index], rows[index]
    for distance in range(1, count + 1):
        start, length = bases[index - distance], rows[index - distance]
        if base < start + length and start < base + size:
            return distance - 1
    return count
