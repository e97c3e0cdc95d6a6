# SPDX-License-Identifier: Apache-2.0
"""Sources on the engine: the kernel as it meets the stored tensor, and which words of a pixel its blocks read."""

from __future__ import annotations

import numpy as np

from ...hw.config import EngineConfig
from ..network.spec import Layer, Source
from .layout import TensorLayout
from .mapping import MappedSource
from .masks import Reading, needed_words, readings


def layer_readings(
    config: EngineConfig,
    layer: Layer,
    kernels: list[np.ndarray],
    order: list[int],
    tensors: dict[str, TensorLayout],
    own: bool,
) -> tuple[int, list[Reading]]:
    """Blocks that read the same words of a pixel, and the words that each source's are."""
    layouts = [tensors[source.tensor] for source in layer.sources]
    lanes = np.array(order).reshape(-1, config.lanes)
    if not config.row_masks:
        return len(lanes), [Reading(tensor.words, 0) for tensor in layouts]
    if own:
        return 1, [Reading(1, 1)]
    return readings(
        [
            needed_words(lanes, kernel, tensor.slices, config.word_bits // tensor.field, tensor.words)
            for kernel, tensor in zip(kernels, layouts, strict=True)
        ]
    )


def stored_kernel(source: Source, tensor: TensorLayout, own: bool) -> np.ndarray:
    """Weights [out, in, KH, KW] on the tensor as it is stored; where lanes take their own values, [out, 1, KH, KW]."""
    weights = (source.weights if own else source.dense).astype(np.int64)
    if tensor.flat:
        weights = weights.reshape(len(weights), -1, 1, 1)
    if tensor.unroll is not None:
        weights = tensor.unroll.weights(weights)
    elif source.up != (1, 1) and not source.held:
        # Places of zeros read the same value by a tap of zeros: a job has at least one.
        around = [(0, 0), (0, 0), *((0, int(n > 1)) for n in source.up)]
        weights = np.pad(weights, around)
    elif source.dilation[1] > 1 and weights.shape[3] > 1:
        # A tap row must be one run of words: fill the gaps with zero taps.
        filled = np.zeros((*weights.shape[:3], source.dilation[1] * (weights.shape[3] - 1) + 1), np.int64)
        filled[..., :: source.dilation[1]] = weights
        weights = filled
    return weights


def mapped_source(
    source: Source,
    weights: np.ndarray,
    tensor: TensorLayout,
    config: EngineConfig,
    weight_base: int,
    reading: Reading,
    own: bool,
) -> MappedSource:
    return MappedSource(
        tensor=tensor,
        weights=weights,
        stride=source.stride,
        dilation=source.dilation[0],
        shift=(tensor.pad[0] - source.padding[0], 0 if tensor.unroll else tensor.pad[2] - source.padding[2]),
        spike_shift=source.shift,
        weight_base=weight_base,
        tap_stride=reading.span * (1 if config.row_masks else config.word_bits // tensor.field),
        span=reading.span,
        block_words=reading.step,
        own=own,
        up=source.up,
        held=source.held,
    )
