# SPDX-License-Identifier: Apache-2.0
"""Depthwise layers, in which every lane takes a value of its own: which ones can be run so, and their weight rows.

An output block is the channels of one spike word, at `places` output columns side by side: lane l belongs to value
l modulo the values of a word, and to column l divided by them. A tap of such a job is a column of the input for all its
columns, so the kernel is wider, and a job reads each word once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Map

import numpy as np

from ...hw.config import EngineConfig
from ..network.codes import CHUNK
from ..network.spec import INPUT, Layer, SpikeNet
from .layout import TensorLayout


def is_depthwise(net: SpikeNet, layer: Layer) -> bool:
    """Whether each output is made of the input of the same channel alone, in one source without a pool."""
    if len(layer.sources) != 1 or layer.pool is not None or not layer.fires:
        return False
    (source,) = layer.sources
    if source.tensor == INPUT or source.shift or source.up != (1, 1):
        return False
    return source.groups == source.in_channels == layer.channels > 1


def takes_own(net: SpikeNet, layer: Layer, config: EngineConfig, tensors: Map[str, TensorLayout]) -> bool:
    """Whether the engine's lanes can take the values of the layer's own channels, as its tensors lie in memory."""
    if not config.depthwise or not is_depthwise(net, layer):
        return False
    source, output = tensors[layer.sources[0].tensor], tensors.get(layer.name)
    return (
        output is not None
        and source.code == "radix"
        and source.field == output.field == CHUNK
        and len(source.slices) == 1
        and own_order(source, config) == own_order(output, config)
        and net.conv_shapes[layer.name][2] >= config.own_places
    )


def own_order(tensor: TensorLayout, config: EngineConfig) -> list[int]:
    """Channel at every value of the tensor's words, slice after slice; -1 where there is none."""
    room = tensor.words * config.word_bits // tensor.field
    return [c for s in tensor.slices for c in [*s, *[-1] * (room - len(s))]]


def own_lanes(order: list[int], config: EngineConfig) -> list[int]:
    """Channel of every lane, block after block."""
    values = np.array(order).reshape(-1, config.word_chunks)
    return [int(c) for c in np.tile(values, (1, config.own_places)).reshape(-1)]


def own_columns(width: int, places: int) -> list[int]:
    """First columns of the jobs of one row; the first two overlap where the width is no multiple of `places`."""
    jobs = math.ceil(width / places)
    overlap = jobs * places - width
    return [0, *range(places - overlap, width, places)] if jobs > 1 else [0]


def own_kernel(weights: np.ndarray, lanes: list[int], stride: int, config: EngineConfig) -> np.ndarray:
    """Kernels [blocks * L, 1, KH, KW + (places - 1) * stride] of every lane, of those [channels, 1, KH, KW]."""
    _, _, tall, wide = weights.shape
    out = np.zeros((len(lanes), 1, tall, wide + (config.own_places - 1) * stride), np.int64)
    for lane, channel in enumerate(lanes):
        if channel >= 0:
            at = lane % config.lanes // config.word_chunks * stride
            out[lane, :, :, at : at + wide] = weights[channel]
    return out
