# SPDX-License-Identifier: Apache-2.0
"""Which networks are worth an engine with masks, or one whose lanes take values of their own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container

import numpy as np

from ...hw.config import EngineConfig
from ..network.codes import CHUNK
from ..network.spec import Layer, SpikeNet
from ..network.storage import Storage, held
from .depthwise import is_depthwise

WORTH = 0.05  # share of the weight rows' reads that must be of rows of zeros: masks cost memory and a little logic


def for_sparse(config: EngineConfig, *nets: SpikeNet, fixed: Container[str] = ()) -> EngineConfig:
    """The engine with `row_masks` and `depthwise`, as far as these networks gain by them and nothing is in the way.

    fixed: parameters that stay as they are.
    """
    if "row_masks" in fixed:
        return config
    able = config.code == "radix" and config.fire_lanes % config.word_chunks == 0 and "depthwise" not in fixed
    own = config.depthwise or (able and any(_has_depthwise(net, config) for net in nets))
    masks = config.row_masks or own or any(zero_rows(net, config.lanes) >= WORTH for net in nets)
    return dataclasses.replace(config, row_masks=masks, depthwise=own)


def zero_rows(net: SpikeNet, lanes: int) -> float:
    """Share of the weight rows of `lanes` outputs that are all zero, each as often as an image's values read it."""
    zero = total = 0
    for layer in net.layers:
        _, height, width = net.conv_shapes[layer.name]
        of_layer, all_rows = _rows(layer, lanes)
        zero += height * width * of_layer
        total += height * width * all_rows
    return zero / total


def has_zero_rows(layer: Layer, lanes: int) -> bool:
    """Whether so many rows of `lanes` outputs, one after the other, are zero that their order should stay."""
    zero, total = _rows(layer, lanes)
    return zero >= WORTH * total


@functools.lru_cache(maxsize=4096)
def _rows(layer: Layer, lanes: int) -> tuple[int, int]:
    """Weight rows of `lanes` outputs that are all zero, and all weight rows."""
    zero = total = 0
    for source in layer.sources:
        blocks = -(-layer.channels // lanes)
        if source.groups == 1 and np.count_nonzero(source.weights) > (1 - WORTH / lanes) * source.weights.size:
            total += blocks * source.weights[0].size
            continue
        dense = source.dense
        missing = np.zeros((blocks * lanes - len(dense), *dense.shape[1:]), dense.dtype)
        used = np.any(np.concatenate([dense, missing]).reshape(blocks, lanes, -1), 1)
        zero += int((~used).sum())
        total += used.size
    return zero, total


def _has_depthwise(net: SpikeNet, config: EngineConfig) -> bool:
    """Whether a depthwise layer's values are chunks of four bits, before it and behind it, and its rows long enough."""
    return any(
        is_depthwise(net, layer)
        and _is_chunk(held(net, net.by_name[layer.sources[0].tensor], config.code, config.worths), "radix")
        and _is_chunk(held(net, layer, config.code, config.worths))
        and net.conv_shapes[layer.name][2] >= config.own_places
        for layer in net.layers
    )


def _is_chunk(kept: Storage, code: str = "") -> bool:
    return kept.field == CHUNK and code in ("", kept.code)
