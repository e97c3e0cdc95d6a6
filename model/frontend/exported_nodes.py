# SPDX-License-Identifier: Apache-2.0
"""Graph networks among `torch.export` programs: those in which a constant matrix mixes the nodes of the input.

The input is [nodes, features], where the first axis is no batch, or [images, nodes, features]. Images of the float
graph are (features, 1, nodes); the last node gives (classes, 1, nodes).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import OneSpikeError
from . import affine
from .aten import CLASSIFIERS, RISING, TRANSPARENT, Operations
from .aten_nodes import FEATURES, NODES, NodeOperations
from .builder_larger import Larger
from .graph import Graph
from .nodes import NodeAlgebra, NodeValue
from .program import ends, kind_of, layer_name, operands, refusal, replay, returned, settled, user_line

PRODUCTS = {"matmul": 0, "mm": 0, "_sparse_mm": 0, "addmm": 1}  # where the left factor stands
SCATTERS = {"index_add", "index_add_", "scatter_add", "scatter_add_"}
SHAPES = {"new_zeros", "new_ones", "zeros_like", "ones_like"}  # of no value's numbers
Ending = Callable[[torch.Tensor], dict[int, torch.Tensor]]


def mixes_nodes(program: torch.export.ExportedProgram) -> bool:
    """Whether a constant matrix is multiplied from the left, or messages of edges are added up."""
    inputs = program.graph_signature.user_inputs
    live: set[torch.fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in inputs or any(source in live for source in node.all_input_nodes):
            live.add(node)
            kind, found = kind_of(node), node.meta.get("val")
            if not isinstance(found, torch.Tensor) or found.ndim not in (2, 3) or node.op != "call_function":
                continue
            if kind in SCATTERS:
                return True
            if kind in PRODUCTS and len(node.args) > PRODUCTS[kind]:
                left = node.args[PRODUCTS[kind]]
                if isinstance(left, torch.fx.Node) and left not in live:
                    return True
            if kind == "einsum" and _mixes(str(node.args[0]), [operand in live for operand in node.args[1]]):
                return True
    return False


def _mixes(equation: str, depends: list[bool]) -> bool:
    """Whether an einsum of a constant and a value sums over the value's last axis but one."""
    names = equation.replace(" ", "").partition("->")[0].split(",")
    if len(names) != 2 or sum(depends) != 1:
        return False
    seen, matrix = names[depends.index(True)], names[depends.index(False)]
    return len(seen) in (2, 3) and len(matrix) == 2 and seen[NODES] in matrix and seen[FEATURES] not in matrix


def walk_nodes(
    program: torch.export.ExportedProgram, constants: dict[str, torch.Tensor], shape: tuple[int, ...], sign: bool | str
) -> tuple[Graph, Ending]:
    """As `exported.walk`, of a decomposed program that `mixes_nodes`."""
    if len(shape) not in (2, 3):
        raise OneSpikeError(
            f"The network's input has {len(shape)} axes; that of a graph network must be (nodes, features) or "
            f"(images, nodes, features)."
        )
    columns, features = shape[-2:]
    builder = Larger(shape=(features, 1, columns), sign=sign)
    operations = Operations(builder)
    finals: list[torch.fx.Node] = []
    apply = NodeOperations(operations, len(shape))
    source = next(n for n in program.graph.nodes if n.name in program.graph_signature.user_inputs)
    start = NodeValue(base=builder.read("input"), columns=columns, features=features)
    values: dict[torch.fx.Node, Any] = {source: start}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values.setdefault(node, constants.get(node.name))
        elif node.op == "output":
            result, last, place = returned(node, values, NodeValue, finals)
            try:
                return _finish(builder, result, last, place, finals, values, len(shape) == 3)
            except OneSpikeError as error:
                raise refusal(last, str(error)) from None
        elif node.op == "call_function" and node.users:
            values[node] = _apply(node, values, apply, finals)
    raise OneSpikeError("The network returns nothing.")


def _apply(node: torch.fx.Node, values: dict[torch.fx.Node, Any], apply: NodeOperations, finals: list[Any]) -> Any:
    kind = kind_of(node)
    args, options, sources = operands(node, values, _nodes)
    if known := settled(node, args, options, sources):
        return known[0]
    found = node.meta.get("val")
    if kind == "getitem":
        return args[0][args[1]]
    if kind in SHAPES and isinstance(found, torch.Tensor):
        return torch.full([int(size) for size in found.shape], float("ones" in kind), dtype=torch.float64)
    if sources[0] in finals:
        finals.append(node)
        return args[0]
    if kind in TRANSPARENT:
        return args[0]
    if kind in CLASSIFIERS | RISING and ends(node):
        axis = options.get("dim", args[1] if len(args) > 1 else None)
        if kind in CLASSIFIERS and (axis is None or apply.axis(axis) != FEATURES):
            raise refusal(node, "it compares nodes or images with each other; give it the axis of classes, dim=-1")
        finals.append(node)
        apply.operations.builder.notes.append(
            f"The last {kind.strip('_')} is left out: the numbers before it are given, argmax stays the same."
        )
        return args[0]
    apply.operations.where, apply.operations.name = user_line(node), layer_name(node)
    shape = tuple(int(size) for size in found.shape) if isinstance(found, torch.Tensor) else ()
    try:
        made = apply.apply(node.target, kind.rstrip("_"), args, options, shape)
    except OneSpikeError as error:
        raise refusal(node, str(error)) from None
    except (TypeError, ValueError, IndexError, RuntimeError):
        raise refusal(node, "this form of the operation is not supported") from None
    if any(not value.base.finite for value in _nodes(made)):
        raise refusal(node, "its numbers make NaN or infinite values; train the network again")
    return made


def _finish(
    builder: Larger,
    value: NodeValue,
    last: torch.fx.Node,
    place: int,
    finals: list[torch.fx.Node],
    values: dict[torch.fx.Node, Any],
    batched: bool,
) -> tuple[Graph, Ending]:
    """The graph, whose outputs are class after class as those of every map, and what turns them back."""
    where = user_line(last)
    algebra = NodeAlgebra(builder=builder, name=layer_name(last), where=where)
    value = algebra.settled(value)
    nodes, classes, base = value.nodes, value.features, value.base
    places = 1
    if not value.is_map:
        places = nodes
        order = np.arange(nodes * classes).reshape(nodes, classes).T.reshape(-1)
        base = affine.rows(base, np.eye(nodes * classes)[order])
    graph = builder.finish(base, where)
    image = None if graph.image is None else dataclasses.replace(graph.image, channels_last=True)
    graph = dataclasses.replace(graph, image=image, channels_last=True, places=places)

    def ending(logits: torch.Tensor) -> dict[int, torch.Tensor]:
        first = finals[0].all_input_nodes[0] if finals else last
        shape = [int(size) for size in first.meta["val"].shape]
        seen = logits.reshape(-1, classes, nodes).transpose(1, 2)
        seen = seen.reshape([-1, *shape[1:]] if batched else shape)
        return {place: replay(finals, values, first, seen)}

    return graph, ending


def _nodes(args: Any) -> list[NodeValue]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(args) if isinstance(leaf, NodeValue)]
