# SPDX-License-Identifier: Apache-2.0
"""Values at the nodes of a graph: X W works on every node, A X mixes the nodes, and which comes first is free.

Nodes begin as columns of a map, features as its channels, (C, 1, N): there X W is a kernel of one place, C * O weights.
A kernel cannot mix columns in a different way for each of them, so A X reads the whole map: its result lies in one
place, whose channels are node after node, all features of each, M * C channels. A matrix therefore waits: A (X W) and
(A X) W are the same, and the weights of X W stay few. It is applied where something asks for single numbers: an
offset, an activation, an addition, the end; `Storing.offer` says whether X W becomes a tensor before that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import affine
from .affine import Value
from .builder import Builder
from .builder_signed import Reader
from .compose import LARGEST
from .node_costs import Mixing
from .own_cost import Work


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeValue:
    """What the user sees as [nodes, features], or [images, nodes, features].

    base: a map (features, 1, columns), or one place (columns * features, 1, 1), the features of each column together.
    matrix: float64 [nodes, columns], still to be applied; None where there is nothing to do.
    """

    base: Value
    columns: int
    features: int
    matrix: np.ndarray | None = None

    @property
    def nodes(self) -> int:
        return self.columns if self.matrix is None else len(self.matrix)

    @property
    def is_map(self) -> bool:
        """Whether the features are channels and the columns places."""
        return self.base.shape == (self.features, 1, self.columns)


@dataclass(frozen=True, kw_only=True)
class NodeAlgebra:
    """Linear operations on `NodeValue`s; name, where: of the operation in hand."""

    builder: Builder
    name: str
    where: str

    def mix(self, value: NodeValue, matrix: np.ndarray) -> NodeValue:
        """matrix [M, nodes] applied to the nodes."""
        if matrix.ndim != 2 or matrix.shape[1] != value.nodes:
            raise OneSpikeError(
                f"a graph's matrix of shape {list(matrix.shape)} does not fit {value.nodes} nodes; it must have one "
                f"column for each of them"
            )
        value = self.clamped(value)
        return dataclasses.replace(value, matrix=matrix if value.matrix is None else matrix @ value.matrix)

    def linear(self, value: NodeValue, weights: np.ndarray) -> NodeValue:
        """weights [O, features] applied to the features of every node."""
        if weights.ndim != 2 or weights.shape[1] != value.features:
            raise OneSpikeError(f"weights of shape {list(weights.shape)} do not fit {value.features} features")
        value = self.clamped(value)
        kernel = weights if value.is_map else np.kron(np.eye(value.columns), weights)
        self._small(kernel.shape, value.columns, max(weights.shape))
        made = self._convolve(value.base, kernel[:, :, None, None], weights, value.columns)
        return dataclasses.replace(value, base=made, features=len(weights))

    def settled(self, value: NodeValue) -> NodeValue:
        """The same with no matrix that waits."""
        if (matrix := value.matrix) is None:
            return value
        value = self.clamped(value)
        nodes, columns, features = value.nodes, value.columns, value.features
        self._small((nodes * features, columns * features), columns, features)
        reader = Reader(outputs=nodes * features, features=columns * features)

        def mixing(sums: Value) -> Mixing:
            read = sums.terms[0].weights.any((2, 3)).sum(1).max()
            return Mixing(matrix=matrix, features=features, inputs=max(1, int(read)), is_map=value.is_map)

        base = self.builder.offer(value.base, [reader], self.where, mixing)
        kernel = np.zeros((nodes, features, features, columns))
        each = np.arange(features)
        kernel[:, each, each, :] = matrix[:, None, :]
        if value.is_map:
            kernel = kernel.reshape(nodes * features, features, 1, columns)
        else:
            kernel = kernel.transpose(0, 1, 3, 2).reshape(nodes * features, columns * features, 1, 1)
        return NodeValue(base=self._convolve(base, kernel, matrix, features), columns=nodes, features=features)

    def at_one_place(self, value: NodeValue) -> NodeValue:
        """The same as one place, whose channels are node after node."""
        if value.matrix is None and value.is_map:
            value = dataclasses.replace(value, matrix=np.eye(value.columns))
        return self.settled(value)

    def scaled(self, value: NodeValue, factor: np.ndarray) -> NodeValue:
        """Times a factor that broadcasts over [nodes, features]."""
        table = _table(factor, value)
        if (table == table[:1]).all():
            row = table[0] if value.is_map else np.tile(table[0], value.columns)
            return dataclasses.replace(value, base=affine.scale(value.base, row, 0.0))
        if (table == table[:, :1]).all():
            return self.mix(value, np.diag(table[:, 0]))
        value = self.at_one_place(value)
        return dataclasses.replace(value, base=affine.scale(value.base, table.reshape(-1), 0.0))

    def moved(self, value: NodeValue, offset: np.ndarray) -> NodeValue:
        """Plus an offset that broadcasts over [nodes, features]."""
        table = _table(offset, value)
        if not table.any():
            return value
        value = self.settled(value)
        if value.is_map and not (table == table[:1]).all():
            value = self.at_one_place(value)
        row = table[0] if value.is_map else table.reshape(-1)
        return dataclasses.replace(value, base=affine.scale(value.base, 1.0, row))

    def added(self, left: NodeValue, right: NodeValue) -> NodeValue:
        """left + right."""
        if (left.nodes, left.features) != (right.nodes, right.features):
            raise OneSpikeError(
                f"values of {left.nodes} nodes with {left.features} features and of {right.nodes} with "
                f"{right.features} are added; both must have as many"
            )
        left, right = self.clamped(left), self.clamped(right)
        alike = left.base.shape == right.base.shape and left.columns == right.columns
        same = left.matrix is right.matrix or (
            left.matrix is not None and right.matrix is not None and np.array_equal(left.matrix, right.matrix)
        )
        if not (alike and same):
            left, right = self.at_one_place(left), self.at_one_place(right)
        return dataclasses.replace(left, base=affine.add(left.base, right.base))

    def clamped(self, value: NodeValue) -> NodeValue:
        """The value without a rounding that waits for its clamp."""
        return dataclasses.replace(value, base=self.builder.clamped(value.base, self.where))

    def _convolve(self, base: Value, kernel: np.ndarray, matrix: np.ndarray, times: int) -> Value:
        """A convolution of what the user multiplies with `matrix`, at so many nodes or features."""
        known = int(np.count_nonzero(matrix))
        own = Work(macs=known * times, weights=known)
        bias = np.zeros(len(kernel))
        return self.builder.convolve(base, kernel, bias, origin=self.name, where=self.where, own=own)

    def _small(self, shape: tuple[int, ...], nodes: int, features: int) -> None:
        if shape[0] * shape[1] > LARGEST:
            raise OneSpikeError(
                f"{nodes:,} nodes with {features:,} features need a kernel of {shape[0] * shape[1]:,} weights, zeros "
                f"included, more than {LARGEST:,}; take a smaller graph (a neighbourhood, a cluster) or fewer features"
            )


def _table(constant: np.ndarray, value: NodeValue) -> np.ndarray:
    """A constant that torch would broadcast, as float64 [nodes, features]."""
    array = np.asarray(constant, np.float64)
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim > 2:
        raise OneSpikeError("a constant that differs from image to image is not supported")
    return np.broadcast_to(array, (value.nodes, value.features))
