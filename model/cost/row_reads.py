# SPDX-License-Identifier: Apache-2.0
"""What an event machine reads and adds in the engine's own walk: the weight rows of its values, and lanes that add.

Without row masks every value's row is read for every output block. With them only rows that are not all zero are; where
lanes take values of their own, a word that is not empty reads one row for all of its values.
"""

from __future__ import annotations

import numpy as np

from ..mapping.mapping import MappedLayer, MappedSource, Mapping
from ..mapping.masks import channel_rows, of_chunks, of_values
from ..network.spec import INPUT
from .useful import tap_reads


class RowReads:
    """One source of a layer: how often its values' rows are read, and by how many lanes they are added.

    A lane adds if it has an output channel, also where its weight in the row is zero.
    """

    def __init__(self, mapping: Mapping, layer: MappedLayer, source: MappedSource) -> None:
        self.mapping, self.layer, self.source = mapping, layer, source
        lanes = (np.array(layer.order).reshape(layer.blocks, -1) >= 0).sum(1)
        # By slice, tap row, tap and value of a pixel, or once for all: blocks that have a row of it, and their lanes.
        self.rows: np.ndarray = np.array(layer.blocks)
        self.lanes: np.ndarray = np.array(lanes.sum())
        if not mapping.config.row_masks:
            return
        used = [channel_rows(mapping.config, layer, source, s) != 0 for s in range(layer.slices)]
        if source.own:  # [blocks, KH, KW], and block b reads word b
            self.rows = np.any(used[0], (3, 4, 5)).transpose(1, 2, 0)[None]
            self.lanes = self.rows * mapping.config.own_places
            return
        stored = np.stack([self._stored(np.any(of_slice, -1)) for of_slice in used])
        self.rows, self.lanes = stored.sum(1), np.einsum("b,sbklv->sklv", lanes, stored.astype(np.int64))

    def __call__(self, values: np.ndarray, border: np.ndarray | None = None) -> tuple[int, int]:
        """Sums of values [N, C, H, W] of the source's tensor over the rows that they read, and over the lanes that add.

        border: of the image [C], what its padding holds; none, or where it is not stored, nothing.
        """
        if self.source.own:
            return self._own(values)
        total = np.asarray(values).sum(0, dtype=np.int64)
        if self.source.tensor.name == INPUT:
            edge = np.zeros(len(total)) if border is None else np.asarray(border)
            total = self.mapping.bordered(total[None], edge.astype(np.int64) * len(values))[0]
        read = tap_reads(self.layer, self.source, self.source.tensor.spread(total, self.mapping.config.word_bits))
        return int((read * self.rows).sum()), int((read * self.lanes).sum())

    def _stored(self, used: np.ndarray) -> np.ndarray:
        """Whether each block has a row of each value, bool [blocks, KH, KW, values of a pixel], of [.., words, values]:
        a mask's bit is a chunk's.
        """
        stored = of_values(of_chunks(used, self.mapping.config.word_chunks), used.shape[-1])
        return stored.reshape(*used.shape[:3], -1)

    def _own(self, values: np.ndarray) -> tuple[int, int]:
        """The same where lanes take values of their own: a word's values share a row, and have several lanes each."""
        tensor, chunks = self.source.tensor, self.mapping.config.word_chunks
        number, _, height, width = values.shape
        placed = np.zeros((number, height, width, tensor.words * chunks), np.int64)
        placed[..., : len(tensor.slices[0])] = values[:, list(tensor.slices[0])].transpose(0, 2, 3, 1)
        words = placed.reshape(number, height, width, tensor.words, chunks)
        words = words[:, :, :, self.source.word_base : self.source.word_base + self.layer.blocks]
        filled, total = np.count_nonzero(words.any(-1), axis=0), words.sum((0, 4))
        rows, lanes = (tap_reads(self.layer, self.source, found[None]) for found in (filled, total))
        return int((rows * self.rows).sum()), int((lanes * self.lanes).sum())
