# SPDX-License-Identifier: Apache-2.0
"""Unroll: an image of few channels, stored with the columns of the kernel side by side.

One pixel of one channel fills a quarter of a spike word, and a kernel of three columns reads three of them. Stored
unrolled, the word of an output column holds all pixels that a tap row needs: one word is read in place of three. Where
bank b only ever computes output columns of its own, x = b modulo n, it keeps only the words of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...hw.config import EngineConfig
from ..network.spec import INPUT, Layer, Source, SpikeNet


@dataclass(frozen=True, kw_only=True)
class Unroll:
    """Which pixels stand side by side: column x holds those of columns x * step + tap * gap - left, tap after tap.

    left, right: padding of the image that the words contain. turns: the slices that columns are dealt to in turn.
    """

    taps: int
    step: int
    gap: int
    left: int
    right: int
    turns: int = 1

    def columns(self, width: int) -> int:
        """Stored columns of a map of `width` pixels, of all slices together."""
        return (width + self.left + self.right - self.gap * (self.taps - 1) - 1) // self.step + 1

    def values(self, padded: np.ndarray) -> np.ndarray:
        """[N, taps * C, H, columns] of padded maps [N, C, H, W]: tap by tap, all channels of each."""
        count = self.columns(padded.shape[3] - self.left - self.right)
        runs = [padded[..., t * self.gap :: self.step][..., :count] for t in range(self.taps)]
        return np.concatenate(runs, axis=1)

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """[out, taps * C, KH, 1] of kernels [out, C, KH, KW]."""
        out, channels, tall, wide = weights.shape
        return weights.transpose(0, 3, 1, 2).reshape(out, wide * channels, tall, 1)


def walked(layer: Layer, height: int, width: int) -> tuple[list[int], list[int], tuple[int, int]]:
    """Rows and columns of a layer's map before its pool, in the order of the walk, and the window.

    A clipped window of a maximum repeats its last row or column: the maximum stays the same.
    """
    if layer.pool is None:
        return list(range(height)), list(range(width)), (1, 1)
    window = layer.pool.kernel
    rows, columns = (
        [r[min(i, len(r) - 1)] for r in found for i in range(size)]
        for found, size in zip(layer.pool.windows(height, width), window, strict=True)
    )
    return rows, columns, window


def unrolled(
    net: SpikeNet, config: EngineConfig, slices: int, field: int, blocks: dict[str, int], border: bool
) -> Unroll | None:
    """How the image is best stored unrolled; None where that takes more reads or more words, or as many of both.

    field: bits of a pixel; blocks: output blocks of the layers that read the image; border: it is stored, too.
    """
    readers = [(layer, s) for layer in net.layers for s in layer.sources if s.tensor == INPUT]
    found = {_geometry(source) for _, source in readers}
    if len(found) != 1:
        return None
    (unroll,) = found
    channels, _, width = net.image.shape
    span = unroll.gap * (unroll.taps - 1) + 1  # columns that a tap row covers

    def words(values: int) -> int:
        return math.ceil(math.ceil(values / slices) * field / config.word_bits)

    turns = 1
    if slices == 1:
        while turns < config.banks and all(_in_turn(net, layer, blocks[layer.name], 2 * turns) for layer, _ in readers):
            turns *= 2
    unroll = Unroll(**{**vars(unroll), "turns": turns})
    side_by_side, plain = words(channels * unroll.taps), words(channels)
    bordered = width + (unroll.left + unroll.right if border else 0)
    stored, before = -(-unroll.columns(width) // turns) * side_by_side, bordered * plain
    reads, read_before = side_by_side, span * plain
    return unroll if (reads < read_before and stored <= before) or (reads == read_before and stored < before) else None


def _geometry(source: Source) -> Unroll:
    return Unroll(
        taps=source.weights.shape[3], step=source.stride[1], gap=source.dilation[1], left=source.padding[2],
        right=source.padding[3],
    )  # fmt: skip


def _in_turn(net: SpikeNet, layer: Layer, blocks: int, turns: int) -> bool:
    """Whether job j of the layer, which goes to bank j, belongs to a column that is j modulo `turns`."""
    if blocks != 1:
        return False
    _, height, width = net.conv_shapes[layer.name]
    rows, columns, (tall, wide) = walked(layer, height, width)
    jobs = (len(rows) // tall, len(columns) // wide, tall, wide)
    of_job = np.broadcast_to(np.reshape(columns, (1, -1, 1, wide)), jobs)
    return bool(((of_job.reshape(-1) - np.arange(of_job.size)) % turns == 0).all())
