# SPDX-License-Identifier: Apache-2.0
"""Mapping: a network on an engine, as the mapper has laid it out."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from ..network import codes
from ..network.spec import INPUT, Layer, SpikeNet
from .layout import TensorLayout
from .tables import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSource:
    """A source ready for the walk: kernel, where its taps begin, and its place in the weight memories.

    weights: int [out, in, KH, KW]; tap (ky, kx) of output (y, x) reads stored row y * stride_y + ky * dilation +
    shift_y and column x * stride_x + kx + shift_x. span: words of a pixel that a block reads; those of block b begin at
    word word_base + b // block_run * block_words. own: lanes take values of their own, and weights are [lanes of all
    blocks, 1, KH, KW]. up, held: of a copy into a larger map (`network/spread.py`). Where the engine has masks, the
    weight rows that are counted here are rows of masks, one for each word.
    """

    tensor: TensorLayout
    weights: np.ndarray
    stride: tuple[int, int]
    dilation: int
    shift: tuple[int, int]
    spike_shift: int  # added to the shift of every spike
    weight_base: int
    tap_stride: int  # weight rows of one tap: the places of its spike words
    span: int
    block_words: int = 0
    word_base: int = 0
    own: bool = False
    up: tuple[int, int] = (1, 1)
    held: bool = False

    @property
    def row_stride(self) -> int:
        """Weight rows of one tap row."""
        return self.tap_stride * self.weights.shape[3]

    @property
    def block_stride(self) -> int:
        """Weight rows of one output block."""
        return self.row_stride * self.weights.shape[2]

    def taps(self, axis: int, position: int) -> tuple[int, int, int]:
        """(first tap inside the map, its stored coordinate, number of taps inside) of one output coordinate.

        Columns of an unrolled image: each output column has one of its own.
        """
        if axis and self.tensor.unroll is not None:
            return 0, position // self.tensor.unroll.turns, 1
        if (up := self.up[axis]) > 1:
            return (0 if self.held or position % up == 0 else 1), position // up, 1
        size = (self.tensor.height, self.tensor.width)[axis]
        gap = (self.dilation, 1)[axis]
        start = position * self.stride[axis] + self.shift[axis]
        inside = [k for k in range(self.weights.shape[2 + axis]) if 0 <= start + k * gap < size]
        return (inside[0], start + inside[0] * gap, len(inside)) if inside else (0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class MappedLayer:
    """One layer on the engine, or one part of a layer whose weights are streamed (see `onespike.model.mapping.parts`).

    order: channel at each physical output place, -1 for none; rows, columns: output coordinates in the order of the
    walk, window by window. first: the part's first output place; hold: parts before it that may be unfinished when its
    weights are written; resident: its weights are fetched once and stay. table: the table that it fires by, if any.
    block_run: blocks that read the same words of a pixel. columns_at_once: output columns of one job. Where the engine
    has masks, stored_rows: weight rows of bank 0, 1 .. `copies`; row_base: where they begin, if they are streamed.
    """

    layer: Layer
    index: int
    slices: int
    groups: int
    blocks: int
    period: int
    order: tuple[int, ...]
    sources: tuple[MappedSource, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    window: tuple[int, int]
    shape: tuple[int, int, int]
    channel_base: int
    output: TensorLayout | None
    first: int = 0
    part: int = 0
    parts: int = 1
    hold: int = 0
    resident: bool = False
    table: int | None = None
    block_run: int = 1
    columns_at_once: int = 1
    stored_rows: tuple[int, ...] = ()
    row_base: int = 0

    @property
    def name(self) -> str:
        """The layer's name, with the part's number if it has several."""
        return self.layer.name if self.parts == 1 else f"{self.layer.name}[{self.part + 1}/{self.parts}]"

    @property
    def bias(self) -> np.ndarray:
        """The layer's biases int64 [channels], with what its sums lack where values are stored less an offset.

        Places in the padding count too: they hold the pad code, less the offset.
        """
        return self.layer.bias + sum(
            source.tensor.offset * (source.weights.sum((1, 2, 3)) << source.spike_shift)
            for source in self.sources
            if source.tensor.offset
        )

    @property
    def walked_rows(self) -> int:
        """Weight rows, or rows of masks, that the walk counts in each bank."""
        return sum(source.block_stride for source in self.sources) * (self.blocks // self.period)

    @property
    def weight_rows(self) -> int:
        """Weight rows in each bank: of masks' rows, the most that a bank stores."""
        return max(self.stored_rows, default=self.walked_rows)

    @property
    def copies(self) -> int:
        """Banks with different weights: bank b holds those of bank b modulo `copies`."""
        return self.slices * self.period

    @property
    def pixels(self) -> int:
        """Pooled output pixels."""
        return self.shape[1] * self.shape[2]

    def group_words(self, config: EngineConfig) -> int:
        """Spike words that F codes fill: the cycles that draining them takes."""
        return 1 if self.output is None else max(1, self.output.field * config.fire_lanes // config.word_bits)

    def logit_rows(self, config: EngineConfig) -> int:
        """Rows of F in which the outputs of a place of the last layer are kept, by engines that may give maps."""
        return -(-self.layer.channels // config.fire_lanes)

    @property
    def walk_shape(self) -> tuple[int, int]:
        """Rows and columns of jobs, each a window's."""
        return len(self.rows) // self.window[0], len(self.columns) // self.window[1]

    @property
    def jobs(self) -> int:
        return len(self.rows) * len(self.columns) * self.blocks

    def places(self) -> list[tuple[int, int]]:
        """Output coordinates (y, x) before the pool, in the order of the walk; of jobs of several columns the first."""
        wh, ww = self.window
        tall, wide = self.walk_shape
        return [
            (self.rows[py * wh + dy], self.columns[px * ww + dx])
            for py in range(tall)
            for px in range(wide)
            for dy in range(wh)
            for dx in range(ww)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """A network on an engine: everything that the memory images, the cycle model and the tests need."""

    net: SpikeNet
    config: EngineConfig
    layers: tuple[MappedLayer, ...]  # parts of layers, where weights are streamed
    tensors: Map[str, TensorLayout]
    image_double: bool
    tables: tuple[Table, ...]
    needs: Map[str, int]  # depth or width of each engine parameter that this network uses
    ordered: tuple[str, ...] = ()  # tensors that were asked to have their channels in `channel_order`

    @property
    def options(self) -> dict[str, Any]:
        """What gives this mapping again, but for the rates: arguments of `map_network` and `fit_config`."""
        slices = {layer.layer.name: layer.slices for layer in self.layers}
        return {"slices": slices, "image_code": self.tensors[INPUT].code, "ordered": self.ordered}

    @property
    def channels(self) -> int:
        """Outputs of one place: what the class of a place is chosen from."""
        return self.layers[-1].layer.channels

    def to_stream(self, logits: np.ndarray) -> np.ndarray:
        """Logits [N, C * H * W] of the golden model in the engine's order: place after place, all channels of each."""
        shape = self.channels, self.layers[-1].pixels
        return logits.reshape(-1, *shape).swapaxes(1, 2).reshape(len(logits), math.prod(shape))

    def from_stream(self, logits: np.ndarray) -> np.ndarray:
        """The inverse of `to_stream`: logits [N, H * W * C] as the engine gives them, in the golden model's order."""
        shape = self.layers[-1].pixels, self.channels
        return logits.reshape(-1, *shape).swapaxes(1, 2).reshape(len(logits), math.prod(shape))

    def golden_fields(self, result_codes: Map[str, np.ndarray], trains: Map[str, np.ndarray] | None = None) -> Any:
        """Fields [N, C, H, W] that each tensor holds in memory, border included; `trains` for the psg code."""
        fields = {}
        for name, layout in self.tensors.items():
            if name == INPUT:
                fields[name] = self.image_fields(result_codes[name])
            elif layout.code == "psg":
                if trains is None:
                    raise ValueError("the psg code needs the golden spike trains")
                fields[name] = trains[name]
            else:
                fields[name] = codes.encode(result_codes[name], layout.code, layout.top, layout.levels)
        return fields

    def image_fields(self, values: np.ndarray) -> np.ndarray:
        """Fields [N, C, H, W] of image codes, which are checked, with the stored border of pad codes.

        Unrolled, C are the channels of all taps, and W the columns of all slices.
        """
        layout, image, values = self.tensors[INPUT], self.net.image, np.asarray(values)
        if values.ndim != 4 or values.shape[1:] != image.shape or not np.issubdtype(values.dtype, np.integer):
            raise OneSpikeError(f"Image codes must be integers (N, {image.shape}), not {values.dtype} {values.shape}.")
        if values.size and (values.min() < 0 or values.max() > self.net.top_code[INPUT]):
            raise OneSpikeError(
                f"Image codes of {image.bits} bits must lie in 0..{self.net.top_code[INPUT]}, not {values.min()}.."
                f"{values.max()}; make them from real images with `net.image.quantise`."
            )
        stored = self.bordered(values, np.array(image.pad_code))
        return codes.encode(stored - layout.offset, layout.code, layout.top)

    def bordered(self, values: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """An image's values [N, C, H, W] as it is stored, unrolled or not, with `edge` [C] in its border."""
        layout = self.tensors[INPUT]
        top, bottom, left, right = layout.pad
        if layout.unroll is not None:
            left, right = layout.unroll.left, layout.unroll.right
        number, channels, height, width = np.shape(values)
        padded = np.empty((number, channels, height + top + bottom, width + left + right), np.int64)
        padded[:] = edge.reshape(1, -1, 1, 1)
        padded[:, :, top : top + height, left : left + width] = values
        return padded if layout.unroll is None else layout.unroll.values(padded)


@functools.lru_cache(maxsize=4096)
def row_table(layer: MappedLayer, source: MappedSource) -> tuple[tuple[int, int, int], ...]:
    """(spike word offset, weight row offset, tap rows - 1) per output row of the walk."""
    result = []
    for y in layer.rows:
        tap, at, count = source.taps(0, y)
        result.append((at * source.tensor.width * source.tensor.words, tap * source.row_stride, count - 1))
    return tuple(result)


@functools.lru_cache(maxsize=4096)
def column_table(layer: MappedLayer, source: MappedSource) -> tuple[tuple[int, int, int], ...]:
    """(spike word offset, weight row offset, words of a tap row - 1) per output column of the walk."""
    result = []
    for x in layer.columns:
        tap, at, count = source.taps(1, x)
        result.append((at * source.tensor.words, tap * source.tap_stride, count * source.span - 1))
    return tuple(result)
