# SPDX-License-Identifier: Apache-2.0
"""Order of channels: outputs with the same sources side by side, so that more weight rows are all zero.

A weight row is the L weights of one source, tap and input channel for one block of L output channels; rows of zeros are
neither stored nor read (`masks.py`). Which channels share a block is free for every hidden tensor: the layers that read
it take their weights in its order. So the matrix of a graph, whose outputs come node after node, mixes all features in
each block; feature after feature, no row mixes two.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from collections.abc import Mapping as Map

import numpy as np

from ...hw.config import EngineConfig
from ..network.spec import INPUT, Layer, SpikeNet
from .depthwise import is_depthwise
from .layout import TensorLayout
from .sparse import WORTH

LARGEST = 1 << 22  # weights of a layer, zeros between groups included; of larger ones the channels stay


def orderable(net: SpikeNet, config: EngineConfig) -> frozenset[str]:
    """Hidden tensors for which another order saves rows, if each lies in one slice. Channels of depthwise layers, whose
    lanes are those of the words that they read, stay; so do all where the engine has no masks.
    """
    if not config.row_masks:
        return frozenset()
    own = [layer for layer in net.layers if config.depthwise and is_depthwise(net, layer)]
    fixed = {layer.name for layer in own} | {layer.sources[0].tensor for layer in own}

    def gains(layer: Layer) -> bool:
        sizes = _block_sizes(range(layer.channels), config.lanes)
        return channel_order(layer, sizes, (None,) * len(layer.sources)) is not None

    return frozenset(layer.name for layer in net.layers[:-1] if layer.name not in fixed and gains(layer))


def reordered(
    net: SpikeNet, tensors: Map[str, TensorLayout], names: Iterable[str], config: EngineConfig
) -> dict[str, TensorLayout]:
    """All layouts, those of orderable tensors among `names` with their channels in `channel_order`."""
    found, wanted = dict(tensors), set(names)
    if wanted:
        wanted &= orderable(net, config)
    for layer in net.layers:
        if layer.name in wanted:
            words = tuple(_words(found[s.tensor], config) if s.tensor != INPUT else None for s in layer.sources)
            order = channel_order(layer, _block_sizes(found[layer.name].order, config.lanes), words)
            if order is not None:
                found[layer.name] = found[layer.name].with_channels(order)
    return found


@functools.lru_cache(maxsize=256)
def channel_order(
    layer: Layer, sizes: tuple[int, ...], words: tuple[tuple[int, ...] | None, ...]
) -> tuple[int, ...] | None:
    """The layer's channels, block after block, or None where it does not make `WORTH` of the rows zero.

    sizes: channels of each block. words: of every source, the number of the spike word that holds each channel.

    Greedy: a block begins with the channel that reads most, and takes those that ask for the fewest further rows and
    words (one for each tap), of equal ones that which shares most, then the first. Equal blocks go in the order of the
    channels that they read, so that neighbours read the same words.
    """
    if layer.channels * sum(source.dense[0].size for source in layer.sources) > LARGEST:
        return None
    rows = np.concatenate([source.dense.reshape(layer.channels, -1) != 0 for source in layer.sources], 1)
    before = _stored(rows, np.split(np.arange(layer.channels), np.cumsum(sizes)[:-1]))
    least = -(-rows.sum(0) // max(sizes))  # blocks that the outputs of each row need
    if least.sum() > (1 - WORTH) * before:
        return None
    words_read, taps = _word_reads(layer, words)
    read = np.concatenate([rows, words_read], 1)
    cost = np.concatenate([np.ones(rows.shape[1], np.int32), taps])
    columns = read.T * cost[:, None]
    weight = columns.sum(0)
    left = np.ones(layer.channels, bool)
    blocks: list[list[int]] = []
    for size in sizes:
        block: list[int] = []
        union, shared = np.zeros(len(cost), bool), np.zeros(layer.channels, np.int64)
        for _ in range(size):
            new = weight - shared if block else -weight
            best = np.lexsort((-shared[left], new[left]))[0]
            channel = int(np.flatnonzero(left)[best])
            left[channel] = False
            block.append(channel)
            fresh = read[channel] & ~union
            union |= fresh
            shared += columns[fresh].sum(0)
        blocks.append(block)
    if len({size for size in sizes if size}) == 1:
        used = [rows[block].any(0) for block in blocks]
        place = _channel_of_row(layer)
        middle = [float(place[u].mean()) if u.any() else 0.0 for u in used]
        blocks = [blocks[i] for i in sorted(range(len(blocks)), key=lambda i: middle[i])]
    if _stored(rows, blocks) > (1 - WORTH) * before:
        return None
    return tuple(channel for block in blocks for channel in block)


def _block_sizes(order: Iterable[int], lanes: int) -> tuple[int, ...]:
    """Channels of each block of `lanes` places."""
    known = np.array([channel >= 0 for channel in order])
    return tuple(int(n) for n in np.add.reduceat(known, range(0, len(known), lanes)))


def _channel_of_row(layer: Layer) -> np.ndarray:
    """The input channel of every row, counted through all sources."""
    found, first = [], 0
    for source in layer.sources:
        found.append(first + np.arange(source.in_channels).repeat(source.weights[0, 0].size))
        first += source.in_channels
    return np.concatenate(found)


def _word_reads(layer: Layer, words: tuple[tuple[int, ...] | None, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which outputs need which word of the sources whose words are known, bool [outputs, words], and the taps at which
    a block that needs it reads it.
    """
    found, taps = [np.zeros((layer.channels, 0), bool)], [np.zeros(0, np.int32)]
    for source, of_channel in zip(layer.sources, words, strict=True):
        if of_channel is not None:
            used = source.dense.any((2, 3))
            needed = np.zeros((max(of_channel) + 1, layer.channels), bool)
            np.logical_or.at(needed, list(of_channel), used.T)
            found.append(needed.T)
            taps.append(np.full(len(needed), source.weights[0, 0].size, np.int32))
    return np.concatenate(found, 1), np.concatenate(taps)


def _words(layout: TensorLayout, config: EngineConfig) -> tuple[int, ...]:
    """The word of each channel, counted through all slices."""
    per_word = config.word_bits // layout.field
    found = np.empty(sum(map(len, layout.slices)), int)
    for number, channels in enumerate(layout.slices):
        found[list(channels)] = number * layout.words + np.arange(len(channels)) // per_word
    return tuple(found.tolist())


def _stored(rows: np.ndarray, blocks: Iterable[Iterable[int]]) -> int:
    """Rows that are not all zero, of all blocks."""
    return sum(int(rows[list(block)].any(0).sum()) for block in blocks)
