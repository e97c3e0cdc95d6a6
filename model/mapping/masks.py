# SPDX-License-Identifier: Apache-2.0
"""Masks: which weight rows of a layer are not all zero, and which words of a pixel its output blocks need.

A weight row is the L weights of one source, tap and input channel for one block of L output channels. For each spike
word that a job reads, a mask has a bit for every chunk of four bits whose channels have a row that is not all zero; the
others make no event, and are not stored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...hw.config import EngineConfig

if TYPE_CHECKING:
    from .mapping import MappedLayer, MappedSource


class Reading(NamedTuple):
    """The words of a pixel that a block reads: `span`, from word block // run * step on; run is the same for all of a
    layer's sources."""

    span: int
    step: int


class Rows(NamedTuple):
    """Of one layer in one bank, in order: the mask of every word, how many rows it has, and the rows [n, L]."""

    masks: np.ndarray
    counts: np.ndarray
    rows: np.ndarray


def readings(needed: Sequence[np.ndarray]) -> tuple[int, list[Reading]]:
    """run, and how each source is read, so that the blocks read as few words as such a rule allows.

    needed: of each source bool [blocks, words], the words that a block needs.
    """
    blocks = len(needed[0])
    best: tuple[int, int, list[Reading]] | None = None
    for run in (r for r in range(blocks, 0, -1) if blocks % r == 0):
        found = [_reading(need, run) for need in needed]
        words = sum(reading.span for reading in found)
        if best is None or words < best[0]:
            best = words, run, found
    assert best is not None
    return best[1], best[2]


def _reading(needed: np.ndarray, run: int) -> Reading:
    blocks, words = needed.shape
    used = needed.any(1)
    if not used.any():
        return Reading(1, 0)
    first = np.where(used, needed.argmax(1), words)
    end = np.where(used, words - needed[:, ::-1].argmax(1), 0)
    place = np.arange(blocks) // run
    found = []
    for step in range(words if run < blocks else 1):
        offset = place * step
        span = max(1, int((end - offset).max()))
        if (offset <= first).all() and offset[-1] + span <= words:
            found.append(Reading(span, step))
    return min(found)


def channel_rows(config: EngineConfig, layer: MappedLayer, source: MappedSource, slice_: int) -> np.ndarray:
    """Weights int [blocks, KH, KW, words, values of a word, L] of a pixel's whole words; 0 where there is no channel.

    Where lanes take values of their own, a word has one row, and only the block's own word is given: words, values = 1.
    """
    blocks, (tall, wide) = layer.blocks, source.weights.shape[2:]
    if source.own:
        return source.weights.reshape(blocks, config.lanes, tall, wide).transpose(0, 2, 3, 1)[:, :, :, None, None]
    channels = source.tensor.slices[slice_]
    per_word = config.word_bits // source.tensor.field
    order = np.array(layer.order).reshape(blocks, config.lanes)
    out = np.zeros((blocks, tall, wide, source.tensor.words * per_word, config.lanes), np.int64)
    # [blocks, lanes, in, KH, KW] -> [blocks, KH, KW, in, lanes]
    chosen = source.weights[order][:, :, list(channels)] * (order >= 0)[:, :, None, None, None]
    out[:, :, :, : len(channels)] = chosen.transpose(0, 3, 4, 2, 1)
    return out.reshape(blocks, tall, wide, source.tensor.words, per_word, config.lanes)


@functools.lru_cache(maxsize=1024)
def chunk_masks(config: EngineConfig, layer: MappedLayer, source: MappedSource, slice_: int) -> np.ndarray:
    """Masks bool [blocks, KH, KW, span, chunks] of the words that each block reads."""
    used = np.any(channel_rows(config, layer, source, slice_), -1)
    return of_chunks(_read(used, layer, source), config.word_chunks)


def layer_rows(config: EngineConfig, layer: MappedLayer, bank: int) -> Rows:
    """One layer in one bank: per source, own block, tap row, tap and word read."""
    group, slice_ = divmod(bank, layer.slices)
    own = slice(group % layer.period, None, layer.period)
    masks, counts, rows = [], [], []
    for source in layer.sources:
        read = _read(channel_rows(config, layer, source, slice_), layer, source)[own]
        chunks = of_chunks(np.any(read, -1), config.word_chunks).reshape(-1, config.word_chunks)
        stored = of_values(chunks, read.shape[4])
        masks.append(chunks @ (1 << np.arange(config.word_chunks)))
        counts.append(stored.sum(1))
        rows.append(read.reshape(*stored.shape, config.lanes)[stored])
    return Rows(np.concatenate(masks), np.concatenate(counts), np.concatenate(rows))


def block_rows(config: EngineConfig, layer: MappedLayer) -> np.ndarray:
    """Weight rows that each block stores in each slice, [slices, blocks]."""
    found = np.zeros((layer.slices, layer.blocks), np.int64)
    for source in layer.sources:
        for s in range(layer.slices):
            read = np.any(_read(channel_rows(config, layer, source, s), layer, source), -1)
            stored = of_values(of_chunks(read, config.word_chunks), read.shape[-1])
            found[s] += stored.reshape(layer.blocks, -1).sum(1)
    return found


def copy_rows(rows: np.ndarray, period: int) -> tuple[int, ...]:
    """Weight rows of bank 0, 1 .. of those that hold different ones, of what each block stores [slices, blocks]."""
    return tuple(int(rows[s, group::period].sum()) for group in range(period) for s in range(len(rows)))


def _read(words: np.ndarray, layer: MappedLayer, source: MappedSource) -> np.ndarray:
    """Of [blocks, KH, KW, words, ..] those words that each block reads."""
    if source.own:
        return words
    begins = source.word_base + np.arange(len(words)) // layer.block_run * source.block_words
    return np.stack([block[:, :, at : at + source.span] for block, at in zip(words, begins, strict=True)])


def of_chunks(used: np.ndarray, chunks: int) -> np.ndarray:
    """Which chunks of a word have a row, of [.., values]; several values share a chunk, or several chunks a value."""
    values = used.shape[-1]
    if values > chunks:
        return np.any(used.reshape(*used.shape[:-1], chunks, -1), -1)
    return used.repeat(chunks // values, -1)


def of_values(chunks: np.ndarray, values: int) -> np.ndarray:
    """Which values of a word have their rows stored: all of a chunk that has one."""
    number = chunks.shape[-1]
    if values > number:
        return chunks.repeat(values // number, -1)
    return chunks[..., :: number // values]


def needed_words(
    order: np.ndarray, weights: np.ndarray, slices: Sequence[Sequence[int]], per_word: int, words: int
) -> np.ndarray:
    """The words bool [blocks, words] of any slice that a block's channels need.

    order: channel of each place [blocks, L], -1 for none; weights: [out, in, KH, KW]; slices: channels of each.
    """
    blocks = len(order)
    connected = np.any(weights, (2, 3))  # [out, in]
    used = (connected[order] & (order >= 0)[:, :, None]).any(1)  # [blocks, in]
    needed = np.zeros((blocks, words), bool)
    for channels in slices:
        places = np.zeros((blocks, words * per_word), bool)
        places[:, : len(channels)] = used[:, list(channels)]
        needed |= places.reshape(blocks, words, per_word).any(2)
    return needed
