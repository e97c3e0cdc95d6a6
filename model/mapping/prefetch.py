# SPDX-License-Identifier: Apache-2.0
"""Prefetch: the image of the weights in external memory, and the rows that it becomes in the banks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...hw.config import EngineConfig
from ...hw.engine.prefetch import BLOCK, beat_rows, head_beats, row_beats

if TYPE_CHECKING:
    from .mapping import MappedLayer


class Block(NamedTuple):
    """Weight rows that go to the same banks, see `onespike.hw.engine.prefetch.BLOCK` (`copies`: their number)."""

    rows: int
    address: int
    copy: int
    copies: int
    hold: int
    last: bool

    @property
    def head(self) -> int:
        """The block's head as an integer."""
        return int(BLOCK.const(self._asdict() | {"copies": self.copies - 1, "unused": 0}).as_value().value)


class Write(NamedTuple):
    """One weight row, and the banks that keep it, as a mask."""

    banks: int
    address: int
    data: int


class ExternalImage(NamedTuple):
    """Beats of external memory, and how they are read: `first_beats`, then again and again `beats` from `restart`."""

    data: list[int]
    first_beats: int
    beats: int
    restart: int


def blocks(layer: MappedLayer, *, again: bool = False) -> list[Block]:
    """The blocks of one part; `again`: as every image reads them, without those that stay on the chip."""
    last = layer.copies - 1
    if again and layer.resident:
        return [Block(0, 0, 0, 1, layer.hold, True)]
    rows = layer.stored_rows or (layer.weight_rows,) * layer.copies
    return [
        Block(rows[copy], layer.row_base, copy, layer.copies, layer.hold, copy == last and not layer.resident)
        for copy in range(layer.copies)
    ]


def block_beats(config: EngineConfig, rows: int) -> int:
    """Beats that a block of `rows` rows fills."""
    return head_beats(config) + -(-rows // beat_rows(config)) * row_beats(config)


def to_beats(config: EngineConfig, block: Block, rows: Sequence[int]) -> list[int]:
    """A block as beats: the head, then every row in whole beats, or as many rows as fit to a beat."""
    assert len(rows) == block.rows, f"the block has {block.rows} rows, not {len(rows)}"
    width, row_bits = config.external_weights, config.lanes * config.weight_bits
    mask, shared, parts = (1 << width) - 1, beat_rows(config), row_beats(config)
    beats = [block.head >> (width * i) & mask for i in range(head_beats(config))]
    for at in range(0, len(rows), shared):
        value = sum(row << (row_bits * i) for i, row in enumerate(rows[at : at + shared]))
        beats += [value >> (width * i) & mask for i in range(parts)]
    return beats


def external_image(
    config: EngineConfig, layers: Sequence[MappedLayer], rows: Callable[[MappedLayer, int], Sequence[int]]
) -> ExternalImage:
    """The image of all parts; rows(layer, bank): the weight rows of a bank."""

    def section(parts: Iterable[MappedLayer], again: bool) -> list[int]:
        found: list[int] = []
        for layer in parts:
            for block in blocks(layer, again=again):
                found += to_beats(config, block, rows(layer, block.copy) if block.rows else [])
        return found

    first, streamed = section((layer for layer in layers if layer.resident), False), section(layers, True)
    restart = -(-len(first) // config.burst) * config.burst
    data = first + [0] * (restart - len(first)) + streamed
    return ExternalImage(data, len(first) or len(streamed), len(streamed), restart)


def prefetch(config: EngineConfig, words: Sequence[int]) -> tuple[list[Write], list[int]]:
    """The rows that beats become, in order, and after how many of them each layer's weights are complete.

    Golden function of :class:`onespike.hw.engine.prefetch.Prefetch`.
    """
    width, row_bits = config.external_weights, config.lanes * config.weight_bits
    shared, parts, heads = beat_rows(config), row_beats(config), head_beats(config)
    writes: list[Write] = []
    complete: list[int] = []
    at = 0

    def take(count: int) -> int:
        nonlocal at
        assert at + count <= len(words), "the image ends inside a block"
        value = sum(word << (width * i) for i, word in enumerate(words[at : at + count]))
        at += count
        return value

    while at < len(words):
        head = BLOCK.from_bits(take(heads) & ((1 << BLOCK.size) - 1))
        banks = sum(1 << b for b in range(config.banks) if b & head.copies == head.copy)
        for start in range(0, head.rows, shared):
            value = take(parts)
            for turn in range(min(shared, head.rows - start)):
                row = value >> (row_bits * turn) & ((1 << row_bits) - 1)
                writes.append(Write(banks, (head.address + start + turn) % config.weight_depth, row))
        if head.last:
            complete.append(len(writes))
    return writes, complete
