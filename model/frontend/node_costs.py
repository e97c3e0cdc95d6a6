# SPDX-License-Identifier: Apache-2.0
"""What a graph's matrix costs the engine, in the unit of `builder_signed.py`: events, each in one of 16 lanes.

A row of weights that are all zero is no event, so what counts is how many of the rows of `LANES` outputs an input
reaches; and every spike word that a block of outputs may need is read, which takes as long as an event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LANES = 16  # outputs of a row, on the engines that are usual
WIDE, NARROW = 4, 8  # values of a spike word: images and sums with a sign; counts


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """A matrix [M, N] on values of `features` numbers each, that come from `inputs` numbers of one tensor.

    is_map: the nodes are places, so that a block whose outputs are one feature's reads one word of each.
    """

    matrix: np.ndarray
    features: int
    inputs: int
    is_map: bool

    def composed(self, rate: float, wide: bool) -> float:
        """Of computing the values within the matrix: a row holds features of one node; where they are few, as classes
        at the end are, which come one after the other, one feature of many nodes.
        """
        nodes, columns = self.matrix.shape
        together = 1 if self.features >= LANES else LANES
        reached = self._reached(together) * self.features * self.inputs
        words = columns * self.inputs / (WIDE if wide else NARROW)
        return max(reached * rate, nodes * self.features * words)

    def apart(self, rate: float, signed_rate: float, signed: bool) -> float:
        """Of computing the values, then reading them: a row holds the outputs of many nodes for one feature."""
        nodes, columns = self.matrix.shape
        made = columns * self.features * self.inputs * rate
        words = columns if self.is_map else columns * self.features / (WIDE if signed else NARROW)
        return made + max(self._reached(LANES) * self.features * signed_rate, nodes * self.features * words)

    def _reached(self, together: int) -> int:
        """Weights of the matrix in rows of so many nodes that are not all zero."""
        nodes = len(self.matrix)
        blocks = np.arange(nodes) // together
        return sum(
            int((self.matrix[blocks == block] != 0).any(0).sum()) * int((blocks == block).sum())
            for block in range(blocks[-1] + 1)
        )
