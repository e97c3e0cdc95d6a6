# SPDX-License-Identifier: Apache-2.0
"""The meaning of torch's operations in a graph network, in terms of `nodes.NodeValue`.

Users see [nodes, features], or [images, nodes, features]: the last axis holds features, the one before it nodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import OneSpikeError
from .affine import Value
from .aten import ELEMENTWISE, RESHAPES, Operations
from .nodes import NodeAlgebra, NodeValue

NODES, FEATURES = -2, -1
PICKS = {"slice", "select", "index_select", "narrow", "index", "flip", "split", "split_with_sizes", "chunk"}
ARITHMETIC = {"add", "sub", "rsub", "neg", "mul", "div"}
NEAREST = {
    "softmax": "softmax only as the last operation", "_softmax": "softmax only as the last operation",
    "bmm": "a matrix that is a constant of the module", "permute": "[nodes, features] as it is",
    "transpose": "[nodes, features] as it is", "t": "[nodes, features] as it is",
    "amax": "mean or sum over the neighbours", "scatter_reduce": "scatter_add, the sum over the neighbours",
    "conv1d": "a linear layer and a matrix", "conv2d": "a linear layer and a matrix",
}  # fmt: skip


class NodeOperations:
    """Applies one operation of a program; `shape` is the result's, as torch has it.

    rank: axes of what the user sees, 2 or 3.
    """

    def __init__(self, operations: Operations, rank: int) -> None:
        self.operations, self.rank = operations, rank
        self.algebra = NodeAlgebra(builder=operations.builder, name="", where="")

    def apply(self, target: Any, kind: str, args: Sequence[Any], options: dict[str, Any], shape: Sequence[int]) -> Any:
        """The result of `target` (its name is `kind`), a `NodeValue` or a tuple of these."""
        self.algebra = NodeAlgebra(
            builder=self.operations.builder, name=self.operations.name, where=self.operations.where
        )
        if kind in PICKS:
            return self._pick(target, args, options)
        handler: Callable[..., Any] | None = getattr(self, f"op_{kind}", None)
        if handler is not None:
            return handler(*args, **options)
        if kind in RESHAPES | {"expand"}:
            return self._reshape(args[0], shape)
        ordinary = self.operations.find(kind)
        if kind in ELEMENTWISE - ARITHMETIC and ordinary is not None:
            return self._each(ordinary, args, options)
        near = f"; the nearest supported choice is {NEAREST[kind]}" if kind in NEAREST else ""
        raise OneSpikeError(f"this operation is not supported in a graph network{near}")

    # -- products -----------------------------------------------------------------------------------------------

    def op_matmul(self, x: Any, y: Any) -> NodeValue:
        if isinstance(x, NodeValue) and isinstance(y, NodeValue):
            raise OneSpikeError(
                "two values that depend on the input are multiplied; the graph's matrix must be a buffer of the module"
            )
        if isinstance(x, NodeValue):
            return self.algebra.linear(x, _matrix(y).T)
        return self.algebra.mix(y, _matrix(x))

    op_mm = op_matmul
    op__sparse_mm = op_matmul

    def op_linear(self, x: NodeValue, weight: Any, bias: Any = None) -> NodeValue:
        made = self.algebra.linear(x, np.asarray(weight, np.float64))
        return made if bias is None else self.algebra.moved(made, bias)

    def op_addmm(self, addend: Any, x: Any, y: Any, beta: float = 1, alpha: float = 1) -> NodeValue:
        product = self.algebra.scaled(self.op_matmul(x, y), np.asarray(float(alpha)))
        return self.op_add(product, addend, alpha=beta)

    def op_einsum(self, equation: str, operands: Sequence[Any], path: Any = None) -> NodeValue:
        plain = equation.replace(" ", "")
        sides, _, result = plain.partition("->")
        names = sides.split(",")
        places = [index for index, operand in enumerate(operands) if isinstance(operand, NodeValue)]
        if len(names) == 2 and len(places) == 1:
            seen, matrix = names[places[0]], names[1 - places[0]]
            constant = np.asarray(operands[1 - places[0]], np.float64)
            summed = set(seen) & set(matrix)
            if len(matrix) == 2 and len(summed) == 1 and "." not in seen:
                letter = summed.pop()
                other = matrix.replace(letter, "")
                constant = constant if matrix[1] == letter else constant.T
                wanted = seen.replace(letter, other)
                if result == wanted and letter == seen[NODES]:
                    return self.algebra.mix(operands[places[0]], constant)
                if result == wanted and letter == seen[FEATURES]:
                    return self.algebra.linear(operands[places[0]], constant)
        raise OneSpikeError(
            f"einsum({equation!r}) is not supported in a graph network; the nearest supported choice is matmul"
        )

    # -- sums ---------------------------------------------------------------------------------------------------

    def op_add(self, x: Any, y: Any, alpha: float = 1) -> NodeValue:
        if isinstance(x, NodeValue) and isinstance(y, NodeValue):
            return self.algebra.added(x, self.algebra.scaled(y, np.asarray(float(alpha))))
        if isinstance(x, NodeValue):
            return self.algebra.moved(x, np.asarray(y, np.float64) * alpha)
        return self.algebra.moved(self.algebra.scaled(y, np.asarray(float(alpha))), x)

    def op_sub(self, x: Any, y: Any, alpha: float = 1) -> NodeValue:
        return self.op_add(x, y, alpha=-alpha)

    def op_rsub(self, x: Any, y: Any, alpha: float = 1) -> NodeValue:
        return self.op_add(y, x, alpha=-alpha)

    def op_neg(self, x: NodeValue) -> NodeValue:
        return self.algebra.scaled(x, np.asarray(-1.0))

    def op_mul(self, x: Any, y: Any) -> NodeValue:
        if isinstance(x, NodeValue) and isinstance(y, NodeValue):
            raise OneSpikeError("two activations are multiplied; only constants may be factors")
        value, constant = (x, y) if isinstance(x, NodeValue) else (y, x)
        return self.algebra.scaled(value, constant)

    def op_div(self, x: Any, y: Any) -> NodeValue:
        if isinstance(y, NodeValue):
            raise OneSpikeError("a division by an activation is not supported; only constants may be divisors")
        return self.algebra.scaled(x, 1 / np.asarray(y, np.float64))

    def op__native_batch_norm_legit_no_training(
        self, x: NodeValue, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
    ) -> tuple[NodeValue]:
        # Channels are the second axis: features of [nodes, features], nodes of [images, nodes, features].
        column = (lambda numbers: np.asarray(numbers)) if self.rank == 2 else (lambda n: np.asarray(n)[:, None])
        factor = (1.0 if weight is None else column(weight)) / np.sqrt(column(var) + eps)
        shift = (0.0 if bias is None else column(bias)) - column(mean) * factor
        return (self.algebra.moved(self.algebra.scaled(x, factor), shift),)

    def op_mean(self, x: NodeValue, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> NodeValue:
        return self._gathered(x, dim, 1.0)

    def op_sum(self, x: NodeValue, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> NodeValue:
        return self._gathered(x, dim, 0.0)

    def _gathered(self, x: NodeValue, dim: Any, share: float) -> NodeValue:
        axes = {self.axis(axis) for axis in (dim if isinstance(dim, (list, tuple)) else [dim])}
        if axes == {NODES}:
            return self.algebra.mix(x, np.full((1, x.nodes), 1 / x.nodes**share))
        if axes == {FEATURES}:
            return self.algebra.linear(x, np.full((1, x.features), 1 / x.features**share))
        raise OneSpikeError("only a mean or sum over all nodes, or over all features, is supported in a graph network")

    def op_cat(self, values: Sequence[Any], dim: int = 0) -> NodeValue:
        axis = self.axis(dim)
        if axis is None or not all(isinstance(value, NodeValue) for value in values):
            raise OneSpikeError("only values that depend on the input can be concatenated, along nodes or features")
        sizes = [value.nodes if axis == NODES else value.features for value in values]
        result, start = None, 0
        for value, size in zip(values, sizes, strict=True):
            matrix = np.zeros((sum(sizes), size))
            matrix[start : start + size] = np.eye(size)
            part = self.algebra.mix(value, matrix) if axis == NODES else self.algebra.linear(value, matrix)
            result, start = part if result is None else self.algebra.added(result, part), start + size
        assert result is not None
        return result

    # -- edges --------------------------------------------------------------------------------------------------

    def op_index_add(self, x: Any, dim: int, index: Any, source: Any, alpha: float = 1) -> NodeValue:
        """Messages of edges, added up at the nodes that they go to."""
        if self.axis(dim) != NODES or not isinstance(source, NodeValue):
            raise OneSpikeError("only messages can be added up, along the nodes")
        nodes = x.nodes if isinstance(x, NodeValue) else int(np.asarray(x).shape[NODES])
        to = np.asarray(index).reshape(-1)
        matrix = np.zeros((nodes, len(to)))
        np.add.at(matrix, (to, np.arange(len(to))), float(alpha))
        return self.op_add(self.algebra.mix(source, matrix), x)

    def op_scatter_add(self, x: Any, dim: int, index: Any, source: Any) -> NodeValue:
        index = np.asarray(index)
        columns = index.reshape(-1, *index.shape[-2:])
        if (columns != columns[:1, :, :1]).any():
            raise OneSpikeError("only messages whose features all go to the same node can be added up")
        return self.op_index_add(x, dim, columns[0, :, 0], source)

    # -- geometry -----------------------------------------------------------------------------------------------

    def _pick(self, target: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Selected or repeated nodes or features: run on their numbers."""
        value = args[0]
        lead = (1,) * (self.rank - 2)

        def moved(numbers: np.ndarray) -> list[torch.Tensor]:
            table = torch.from_numpy(np.broadcast_to(numbers, (*lead, value.nodes, value.features)).copy())
            found = target(table, *args[1:], **options)
            return [found] if isinstance(found, torch.Tensor) else list(found)

        results = []
        pairs = zip(moved(np.arange(value.nodes)[:, None]), moved(np.arange(value.features)), strict=True)
        for row, column in pairs:
            if row.ndim < self.rank and row.shape[-1:] == (value.features,):  # one node: [features]
                row, column = row.unsqueeze(-2), column.unsqueeze(-2)
            elif row.ndim < self.rank:
                row, column = row.unsqueeze(-1), column.unsqueeze(-1)
            nodes, features = row.reshape(-1, *row.shape[-2:])[0].numpy(), column[(0,) * len(lead)].numpy()
            if row.shape[: len(lead)] != lead or (nodes != nodes[:, :1]).any() or (features != features[:1]).any():
                raise OneSpikeError("only whole nodes or whole features can be selected in a graph network")
            part = value
            if not np.array_equal(nodes[:, 0], np.arange(value.nodes)):
                part = self.algebra.mix(part, np.eye(value.nodes)[nodes[:, 0]])
            if not np.array_equal(features[0], np.arange(value.features)):
                part = self.algebra.linear(part, np.eye(value.features)[features[0]])
            results.append(part)
        return results[0] if len(results) == 1 else tuple(results)

    def _reshape(self, value: NodeValue, shape: Sequence[int]) -> NodeValue:
        """Axes of one place come and go; all numbers in one axis become the features of one node."""
        sizes = [size for size in (shape if self.rank == 2 else shape[1:]) if size != 1]
        if sizes == [size for size in (value.nodes, value.features) if size != 1]:
            return value
        if sizes == [value.nodes * value.features]:
            value = self.algebra.at_one_place(value)
            return NodeValue(base=value.base, columns=1, features=sizes[0])
        raise OneSpikeError(
            f"a reshape to {list(shape)} is not supported in a graph network, which keeps nodes and features apart"
        )

    def _each(self, ordinary: Callable[..., Value], args: Sequence[Any], options: dict[str, Any]) -> NodeValue:
        """An activation: it works on every number by itself."""
        values = [value for value in args if isinstance(value, NodeValue)]
        if len(values) != 1:
            raise OneSpikeError("only one value that depends on the input is supported here")
        value = self.algebra.settled(values[0])
        self.operations.ranks, self.operations.source_shape = (4,), (1, *value.base.shape)
        plain = [value.base if isinstance(arg, NodeValue) else arg for arg in args]
        return dataclasses.replace(value, base=ordinary(*plain, **options))

    def axis(self, axis: Any) -> int | None:
        """NODES, FEATURES, or None for the axis of images and for all axes at once."""
        if axis is None:
            return None
        from_end = axis - self.rank if axis >= 0 else axis
        return from_end if from_end in (NODES, FEATURES) else None


def _matrix(constant: Any) -> np.ndarray:
    """A constant matrix, without axes of one place before it."""
    array = np.asarray(constant, np.float64)
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise OneSpikeError(f"a constant of shape {list(array.shape)} is multiplied; only a matrix is supported")
    return array
