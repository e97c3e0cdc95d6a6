# SPDX-License-Identifier: Apache-2.0
"""Useful additions: events into output channels that their value is connected with, by a weight row that is not zero.

A channel is connected with those of its group; a depthwise layer does kernel height x kernel width additions of each
value, not as many for each of its channels. Zeros inside a row that is not all zero are additions like others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from ...hw.config import EngineConfig
from ..mapping.layout import TensorLayout
from ..mapping.mapping import MappedLayer, MappedSource
from ..mapping.masks import channel_rows
from ..network.codes import CHUNK, takes_digits


def value_events(words: np.ndarray, chunks: np.ndarray, tensor: TensorLayout, config: EngineConfig) -> np.ndarray:
    """Events of every value int64 [.., values], of spike words [.., words] and the events of chunks [.., chunks]."""
    field = tensor.field
    if takes_digits(tensor.code, field):
        found = chunks.reshape(*words.shape, config.word_bits // field, field // CHUNK).sum(-1, dtype=np.int64)
    else:
        places = np.arange(0, config.word_bits, field).astype(np.uint64)
        found = np.bitwise_count(words[..., None] >> places & np.uint64((1 << field) - 1)).astype(np.int64)
    return found.reshape(*words.shape[:-1], -1)


def useful_additions(config: EngineConfig, layer: MappedLayer, values: dict[str, np.ndarray]) -> int:
    """Useful additions of a layer, of the events of its tensors' values [slices, H, W, values of a pixel]."""
    total = 0
    for source in layer.sources:
        events = values[source.tensor.name]
        if source.own:
            plain = _own_channels(config, layer, source)
            # A row of a channel alone would have a weight of that one.
            connected = (plain.weights[:, 0] != 0).transpose(1, 2, 0)[None]
            first = source.word_base * config.word_chunks
            events = events[..., first : first + connected.shape[-1]]
            total += int((tap_reads(layer, plain, events, range(layer.shape[2])) * connected).sum())
        else:
            total += int((tap_reads(layer, source, events) * _connected(config, layer, source)).sum())
    return total


def _own_channels(config: EngineConfig, layer: MappedLayer, source: MappedSource) -> MappedSource:
    """A source whose lanes take values of their own, with the kernels of its channels, for one column at a time."""
    *_, tall, wide = source.weights.shape
    kernels = source.weights.reshape(layer.blocks, config.own_places, config.word_chunks, tall, wide)[:, 0]
    alone = wide - (config.own_places - 1) * source.stride[1]
    return dataclasses.replace(source, own=False, weights=kernels[..., :alone].reshape(-1, 1, tall, alone))


def tap_reads(
    layer: MappedLayer, source: MappedSource, events: np.ndarray, columns: Iterable[int] | None = None
) -> np.ndarray:
    """Events that each tap reads in all jobs of a block, [slices, KH, KW, values]; columns: of the output, if not all
    that the layer walks."""
    slices, height, width, _ = events.shape
    turns = source.tensor.unroll.turns if source.tensor.unroll else 1
    down = np.zeros((source.weights.shape[2], height), np.int64)
    across = np.zeros((slices, source.weights.shape[3], width), np.int64)
    for y in layer.rows:
        tap, at, count = source.taps(0, y)
        down[np.arange(tap, tap + count), at + source.dilation * np.arange(count)] += 1
    for x in layer.columns if columns is None else columns:
        tap, at, count = source.taps(1, x)
        which = slice(None) if turns == 1 else x % turns
        across[which, np.arange(tap, tap + count), np.arange(at, at + count)] += 1
    found = np.einsum("kh,slw,shwv->sklv", down, across, events, optimize=True)
    return found if turns == 1 else found.sum(0, keepdims=True)


@functools.lru_cache(maxsize=1024)
def _connected(config: EngineConfig, layer: MappedLayer, source: MappedSource) -> np.ndarray:
    """Lanes of all blocks that a value's row is useful to, [slices, KH, KW, values]."""
    (of,) = (s for s, mapped in zip(layer.layer.sources, layer.sources, strict=True) if mapped is source)
    order = np.array(layer.order).reshape(layer.blocks, config.lanes)
    group = np.where(order >= 0, order * of.groups // layer.layer.channels, -1)
    inputs = source.weights.shape[1]
    slices = []
    for s, channels in enumerate(source.tensor.slices[: layer.slices]):
        used = channel_rows(config, layer, source, s).any(-1)
        used = used.reshape(*used.shape[:3], -1)  # [blocks, KH, KW, values]
        lanes = np.zeros((layer.blocks, used.shape[3]), np.int64)
        own = np.array(channels, int) * of.groups // inputs if of.groups > 1 else np.zeros(len(channels), int)
        lanes[:, : len(channels)] = (group[:, :, None] == own).sum(1)
        slices.append((used * lanes[:, None, None]).sum(0))
    return np.stack(slices)
