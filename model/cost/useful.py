# SPDX-License-Identifier: Apache-2.0
"""Useful additions: events into output channels that their value is connected with, by a weight row that is not all zero.

A channel is connected with those of its group; a depthwise layer does kernel height x kernel width additions of each
value, not as many for each of its channels. Zeros inside a row that is not all zero are additions like others.
"""

from __future__ import annotations

import numpy as np

from ...hw.config import EngineConfig
from ..mapping.depthwise import own_kernel
from ..mapping.layout import TensorLayout
from ..mapping.mapping import MappedLayer, MappedSource
from ..mapping.masks import channel_rows
from ..network.codes import CHUNK, takes_digits


def value_events(words: np.ndarray, chunks: np.ndarray, tensor: TensorLayout, config: EngineConfig) -> np.ndarray:
    """Events of every value int64 [.., values], of spike words [.., words] and the events of their chunks [.., chunks]."""
    field = tensor.field
    if takes_digits(tensor.code, field):
        found = chunks.reshape(*words.shape, config.word_bits // field, field // CHUNK).sum(-1, dtype=np.int64)
    else:
        places = np.arange(0, config.word_bits, field).astype(np.uint64)
        found = np.bitwise_count(words[..., None] >> places & np.uint64((1 << field) - 1)).astype(np.int64)
    return found.reshape(*words.shape[:-1], -1)


def useful_additions(config: EngineConfig, layer: MappedLayer, values: dict[str, np.ndarray]) -> int:
    """Useful additions of a layer, of the events of its tensors' values [slices, H, W, values of a pixel]."""
    return sum(
        int((tap_reads(layer, source, values[source.tensor.name]) * _connected(config, layer, source)).sum())
        for source in layer.sources
    )


def tap_reads(layer: MappedLayer, source: MappedSource, events: np.ndarray) -> np.ndarray:
    """Events that each tap reads in all jobs of a block, [slices, KH, KW, values]."""
    slices, height, width, _ = events.shape
    turns = source.tensor.unroll.turns if source.tensor.unroll else 1
    down = np.zeros((source.weights.shape[2], height), np.int64)
    across = np.zeros((slices, source.weights.shape[3], width), np.int64)
    for y in layer.rows:
        tap, at, count = source.taps(0, y)
        down[np.arange(tap, tap + count), at + source.dilation * np.arange(count)] += 1
    for x in layer.columns:
        tap, at, count = source.taps(1, x)
        which = slice(None) if turns == 1 else x % turns
        across[which, np.arange(tap, tap + count), np.arange(at, at + count)] += 1
    found = np.einsum("kh,slw,shwv->sklv", down, across, events, optimize=True)
    return found if turns == 1 else found.sum(0, keepdims=True)


def _connected(config: EngineConfig, layer: MappedLayer, source: MappedSource) -> np.ndarray:
    """Lanes of all blocks that a value's row is useful to, [slices, KH, KW, values]."""
    (of,) = (s for s, mapped in zip(layer.layer.sources, layer.sources, strict=True) if mapped is source)
    if source.own:
        taps = _spread(of.weights.shape, of.dilation[1])
        real = own_kernel(taps, list(layer.order), source.stride[1], config)
        real = real.reshape(layer.blocks, config.own_places, config.word_chunks, *source.weights.shape[2:])
        used = channel_rows(config, layer, source, 0).any((3, 4, 5))  # [blocks, KH, KW]
        found = real.sum(1) * used[:, None]  # [blocks, values, KH, KW]
        return found.transpose(2, 3, 0, 1).reshape(1, *source.weights.shape[2:], -1)
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


def _spread(shape: tuple[int, ...], gap: int) -> np.ndarray:
    """Ones at the taps of a kernel whose columns are `gap` apart."""
    out = np.zeros((*shape[:3], gap * (shape[3] - 1) + 1), np.int64)
    out[..., ::gap] = 1
    return out
