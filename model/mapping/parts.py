# SPDX-License-Identifier: Apache-2.0
"""Parts: layers cut into pieces whose weights fit into the chip, and where each piece's weights lie meanwhile.

A part computes a range of a layer's output blocks for all pixels, as a layer of its own. Parts are fetched in order.
Their places are fixed; `hold` says how many of the parts before one may be unfinished when its weights are written, so
that none in use are overwritten.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...hw.config import EngineConfig
from ...hw.engine.prefetch import BLOCK
from .masks import block_rows, copy_rows

if TYPE_CHECKING:
    from .mapping import MappedLayer

SHARE = 4  # parts that the weight memory should hold, where blocks are small enough
MOST_HOLD = (1 << BLOCK["hold"].width) - 1  # parts ahead of the one that computes, however many have room
BEAM = 16  # placements that are pursued at a time


def split(layer: MappedLayer, config: EngineConfig, limit: int) -> list[MappedLayer]:
    """The layer's parts with at most `limit` weight rows in a bank, or, where no part is so small, the smallest."""
    ends = [b for b in range(1, layer.blocks) if _may_begin(layer, config, b)] + [layer.blocks]
    stored = block_rows(config, layer) if config.row_masks else None
    parts: list[MappedLayer] = []
    begin = 0
    while begin < layer.blocks:
        later = [end for end in ends if end > begin]
        rows = {end: part_rows(layer, begin, end, stored) for end in later}
        fitting = [end for end in later if rows[end] <= limit]
        end = max(fitting) if fitting else min(later, key=lambda end: (rows[end], -end))
        parts.append(_part(layer, config, begin, end, stored))
        begin = end
    return [dataclasses.replace(part, part=i, parts=len(parts)) for i, part in enumerate(parts)]


def part_rows(layer: MappedLayer, begin: int, end: int, stored: np.ndarray | None = None) -> int:
    """The most weight rows in a bank of a part of these blocks; stored: what each block stores, see `block_rows`."""
    blocks = end - begin
    period = math.gcd(layer.groups, blocks)
    if stored is not None:
        return max(copy_rows(stored[:, begin:end], period))
    return sum(source.block_stride for source in layer.sources) * blocks // period


def _may_begin(layer: MappedLayer, config: EngineConfig, block: int) -> bool:
    """Whether a part may begin with a block: with a spike word, and with the first block that reads its words."""
    place, output = _place(layer, config, block), layer.output
    own_words = any(source.block_words for source in layer.sources)
    return (output is None or place % output.channels_per_slice % (config.word_bits // output.field) == 0) and (
        not own_words or block % layer.block_run == 0
    )


def _place(layer: MappedLayer, config: EngineConfig, block: int) -> int:
    """The first output place of a block."""
    return block * config.lanes // layer.columns_at_once


def _part(layer: MappedLayer, config: EngineConfig, begin: int, end: int, stored: np.ndarray | None) -> MappedLayer:
    lanes, period = config.lanes, math.gcd(layer.groups, end - begin)
    sources = [
        dataclasses.replace(
            source,
            word_base=begin // layer.block_run * source.block_words,
            weights=source.weights[begin * lanes : end * lanes] if source.own else source.weights,
        )
        for source in layer.sources
    ]
    return dataclasses.replace(
        layer,
        sources=tuple(sources),
        first=_place(layer, config, begin),
        blocks=end - begin,
        period=period,
        order=layer.order[begin * lanes : end * lanes],
        channel_base=layer.channel_base + begin * config.drain_steps,
        stored_rows=() if stored is None else copy_rows(stored[:, begin:end], period),
    )


def place(parts: Sequence[MappedLayer], depth: int) -> list[MappedLayer]:
    """The parts with their places in weight memories of `depth` rows, those that stay there, and `hold`.

    If all fit, all stay. Masks, where there are some, lie one after the other, and stay.
    """
    rows = [part.weight_rows for part in parts]
    stay = sum(rows) <= depth
    bases = [sum(rows[:index]) for index in range(len(rows))] if stay else _bases(rows, depth)
    placed, walked = [], 0
    for index, (part, base) in enumerate(zip(parts, bases, strict=True)):
        most = min(len(parts) - 1, MOST_HOLD)
        hold = most if stay else _hold(base, bases, rows, index, most)
        sources, at = [], walked if part.stored_rows else base
        for source in part.sources:
            sources.append(dataclasses.replace(source, weight_base=at))
            at += source.block_stride * (part.blocks // part.period)
        walked += part.walked_rows
        placed.append(dataclasses.replace(part, sources=tuple(sources), resident=stay, hold=hold, row_base=base))
    return placed


def _bases(rows: Sequence[int], depth: int) -> list[int]:
    """Places that let many parts be ahead of the one that computes, above all at least one.

    A beam search: each part lies at an end of the memory or beside one of those before it.
    """
    beam: list[tuple[float, list[int]]] = [(0.0, [])]  # of equal worth, the first place that differs is the lower one
    for index, size in enumerate(rows):
        found: list[tuple[float, int, int]] = []
        near = range(max(0, index - 2 * SHARE), index)
        order = sorted(range(len(beam)), key=lambda number: beam[number][1])
        for rank, (worth, bases) in enumerate(beam[number] for number in order):
            places = {0, depth - size, *(bases[i] + rows[i] for i in near), *(bases[i] - size for i in near)}
            for place in places:
                if 0 <= place <= max(0, depth - size):
                    found.append((-worth - _worth(_hold(place, bases, rows, index, index)), rank, place))
        best = heapq.nsmallest(BEAM, found)
        beam = [(-worth, [*beam[order[rank]][1], place]) for worth, rank, place in best]
    ahead = len(rows) - 1
    return max(
        (bases for _, bases in beam),
        key=lambda bases: sum(_worth(_hold(base, bases, rows, index, ahead)) for index, base in enumerate(bases)),
    )


def _worth(hold: int) -> float:
    """The first part that may be ahead matters most."""
    return hold / (hold + 1)


def _hold(base: int, bases: Sequence[int], rows: Sequence[int], index: int, count: int) -> int:
    """How many of the `count` parts before one that lies at `base`, from the nearest on, share no row with it."""
    size = rows[index]
    for distance in range(1, count + 1):
        start, length = bases[index - distance], rows[index - distance]
        if base < start + length and start < base + size:
            return distance - 1
    return count
