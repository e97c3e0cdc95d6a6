# SPDX-License-Identifier: Apache-2.0
"""One walk over the operations of a `torch.export` program: each becomes `Value`s, the last one the graph."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import OneSpikeError
from .affine import Value
from .aten import (
    ALIKE,
    CLASSIFIERS,
    ELEMENTWISE,
    LINEAR,
    MOVES,
    NEAREST,
    REARRANGES,
    REDUCES,
    RISING,
    SUMS,
    TRANSPARENT,
    Operations,
)  # fmt: skip
from .aten_activations import Comparison
from .aten_base import spatial
from .builder_larger import Larger
from .builder_signed import Reader, consumers
from .exported_nodes import mixes_nodes, walk_nodes
from .graph import Graph
from .heads import Head, finished, given_by
from .layout import OTHER_ORDER, Layout, Moved, laid_out, of_image
from .program import (
    before_end,
    ends,
    kind_of,
    layer_name,
    left_out,
    operands,
    refusal,
    replay,
    result_names,
    results,
    settled,
    user_line,
)

# Logits [N, classes] to what the program itself returns: tensors by their place among all results.
Ending = Callable[[torch.Tensor], dict[int, torch.Tensor]]


def as_maps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of torch's (N, C, H, W), (N, C, L) or (N, F)."""
    rest = tuple(int(size) for size in shape[1:])
    found = {1: (*rest, 1, 1), 2: (*rest[:1], 1, *rest[1:]), 3: rest}.get(len(rest))
    if found is None:
        raise OneSpikeError(
            f"The network's input has {len(shape)} axes; it must be (batch, channels, height, width), "
            f"(batch, channels, length) or (batch, features)."
        )
    return found  # type: ignore[return-value]


def input_shape(exported: torch.export.ExportedProgram) -> tuple[int, ...]:
    """The shape of the only input, the batch included; an axis that is left open has the size of the export."""
    return tuple(int(size) for size in _input_sizes(exported))


def _input_sizes(exported: torch.export.ExportedProgram) -> torch.Size:
    nodes = {node.name: node for node in exported.graph.nodes}
    inputs = exported.graph_signature.user_inputs
    found = [nodes[name].meta["val"] for name in map(str, inputs) if name in nodes and "val" in nodes[name].meta]
    if len(inputs) != 1 or len(found) != 1 or not isinstance(found[0], torch.Tensor):
        raise OneSpikeError(f"The network must have one input, a tensor, not {len(inputs)} inputs.")
    return found[0].shape


def walk(exported: torch.export.ExportedProgram, signed: bool | str = "auto") -> tuple[Graph, Ending]:
    """The graph of a program, and the activations and softmax-like operations at its end, which the graph leaves out.

    signed: as `convert` says.
    """
    shape, sizes = input_shape(exported), _input_sizes(exported)
    exported = exported.run_decompositions({})
    constants = _constants(exported)
    if mixes_nodes(exported):
        return walk_nodes(exported, constants, shape, signed)
    return laid_out(shape[1:], as_maps(shape), lambda layout: _walk(exported, constants, layout, sizes, signed))


def _walk(
    exported: torch.export.ExportedProgram,
    constants: dict[str, torch.Tensor],
    layout: Layout,
    sizes: torch.Size,
    signed: bool | str,
) -> tuple[Graph, Ending]:
    """The same of a decomposed program, with the image laid out so."""
    inputs = [n for n in exported.graph.nodes if n.name in exported.graph_signature.user_inputs]
    builder = Larger(shape=layout.shape, sign=signed)
    if any(isinstance(size, torch.SymInt) for size in sizes[1:]):
        builder.notes.append(f"Images of several sizes fit; this network is for {list(layout.taken)}, as exported.")
    operations = Operations(builder, movable=True)
    values: dict[torch.fx.Node, Any] = {inputs[0]: layout.start(builder.read("input"))}
    finals: list[torch.fx.Node] = []
    readers = consumers(list(exported.graph.nodes), lambda node: node.users, _reader)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            values.setdefault(node, constants.get(node.name))
        elif node.op == "output":
            places = results(node, values, Value)
            names = result_names(exported, len(torch.utils._pytree.tree_leaves(node.args)))
            heads = [_head(names[place], result, values, finals) for result, place in places.items()]
            try:
                graph = layout.finish(finished(builder, heads))
            except OneSpikeError as error:
                raise refusal(before_end(list(places)[-1], finals), str(error)) from None
            return graph, _ending(graph, heads, places, finals, values)
        elif node.op == "call_function" and node.users:
            values[node] = made = _apply(node, values, operations, finals)
            if isinstance(made, Value) and node not in finals and kind_of(node) not in MOVES and not _folds(node):
                values[node] = builder.offer(made, readers[node].values(), user_line(node))
    raise OneSpikeError("The network returns nothing.")


def _reader(node: torch.fx.Node) -> Reader | None:
    """What a node reads its first source for, or None where it only rewrites the sum."""
    kind = kind_of(node)
    if kind in SUMS | MOVES | TRANSPARENT:
        return None
    turned = kind == "convolution" and len(node.args) > 6 and bool(node.args[6])
    if kind in LINEAR or (kind in ("conv1d", "conv2d", "convolution") and not turned):
        weights = node.args[2 if kind == "addmm" else 1]
        shape = tuple(map(int, weights.meta["val"].shape)) if isinstance(weights, torch.fx.Node) else ()
        if kind in LINEAR and len(shape) == 2:
            out, features = shape if kind == "linear" else shape[::-1]
            return Reader(outputs=out, features=features)
        rank, first = len(shape), 3
        if rank in (3, 4):
            stride, gaps = (_option(node, name, place) for name, place in (("stride", first), ("dilation", first + 2)))
            taps = shape[2:] if rank == 4 else (1, shape[2])
            return Reader(
                outputs=shape[0],
                inputs=shape[1],
                share=1 / math.prod(spatial(stride, rank, 1)),
                taps=(taps[0], taps[1]),
                dilation=spatial(gaps, rank, 1),
            )
    found = next((source.meta.get("val") for source in node.all_input_nodes), None)
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else ()
    return Reader(outputs=int(shape[1]) if len(shape) > 2 else 0)


def _option(node: torch.fx.Node, name: str, place: int) -> Any:
    """An integer option of a convolution, by name or place; 1 where it is left out."""
    return node.kwargs.get(name, node.args[place] if len(node.args) > place else 1)


def _folds(node: torch.fx.Node) -> bool:
    """Whether only one operation reads a node, and that takes its sum into its own."""
    users = list(node.users)
    return len(users) == 1 and kind_of(users[0]) in SUMS | TRANSPARENT - {"cat"}


def _head(name: str, result: torch.fx.Node, values: dict[torch.fx.Node, Any], finals: list[torch.fx.Node]) -> Head:
    """One result, in the shape in which it comes to what is left out behind it."""
    passed = left_out(result, finals)
    seen = passed[0].all_input_nodes[0] if passed else result
    shape = tuple(int(size) for size in seen.meta["val"].shape[1:])
    return Head(name=name, value=values[result], shape=shape, where=user_line(before_end(result, finals)))


def _ending(
    graph: Graph,
    heads: list[Head],
    places: dict[torch.fx.Node, int],
    finals: list[torch.fx.Node],
    values: dict[torch.fx.Node, Any],
) -> Ending:
    """What the program returns, by place among its results, of the last node's numbers: behind each head comes what is
    left out."""

    def ending(logits: torch.Tensor) -> dict[int, torch.Tensor]:
        found = {}
        for (result, place), numbers in zip(places.items(), given_by(graph, heads, logits.numpy()), strict=True):
            passed, given = left_out(result, finals), torch.from_numpy(np.ascontiguousarray(numbers))
            found[place] = replay(passed, values, passed[0].all_input_nodes[0], given) if passed else given
        return found

    return ending


def _constants(exported: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Placeholder name -> parameter, buffer or constant in float64; NaN and infinity are refused."""
    signature, found = exported.graph_signature, {}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    for placeholder, name in names.items():
        tensor = exported.state_dict[name] if name in exported.state_dict else exported.constants[name]
        tensor = tensor.detach().cpu().to_dense()
        if tensor.is_floating_point():
            tensor = tensor.double()
            square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1]
            if square and placeholder in signature.inputs_to_buffers and not torch.isfinite(tensor).all():
                raise OneSpikeError(
                    f"The matrix {name!r} holds NaN or infinite values; where it is a graph's, give each node an edge "
                    f"to itself before degrees divide."
                )
            if not torch.isfinite(tensor).all():
                raise OneSpikeError(f"The parameter {name!r} holds NaN or infinite values; train the network again.")
        found[placeholder] = tensor
    return found


def _apply(node: torch.fx.Node, values: dict[torch.fx.Node, Any], operations: Operations, finals: list[Any]) -> Any:
    kind = kind_of(node)
    args, options, sources = operands(node, values, _values)
    if known := settled(node, args, options, sources):
        return known[0]
    found = node.meta.get("val")
    if node.target is operator.getitem:
        if args[1] >= len(args[0]):
            raise refusal(sources[0], "only its first result is supported")
        return args[0][args[1]]
    if sources[0] in finals:  # behind what is left out
        finals.append(node)
        return args[0]
    if kind in TRANSPARENT:
        return args[0]
    if kind in ALIKE:
        return torch.tensor(ALIKE[kind])
    open_ends = any(value.rounding is not None or value.pool is not None for value in _values(args))
    if kind in CLASSIFIERS | RISING and ends(node) and not open_ends:
        finals.append(node)
        operations.builder.notes.append(_left_out(node, args, options))
        return args[0]
    operations.where, operations.name = user_line(node), layer_name(node)
    shapes = [tuple(map(int, n.meta["val"].shape)) for n in sources if isinstance(n.meta["val"], torch.Tensor)]
    operations.ranks = tuple(map(len, shapes))
    operations.source_shape = shapes[0] if shapes else ()
    result = found[0] if isinstance(found, (tuple, list)) else found
    operations.result_shape = tuple(int(size) for size in result.shape)  # type: ignore[union-attr]
    try:
        value = _operate(node, kind.rstrip("_"), args, options, operations)
    except Moved as moved:
        raise Moved(moved.view, refusal(node, str(moved.refusal))) from None
    except OneSpikeError as error:
        raise refusal(node, str(error)) from None
    except (TypeError, ValueError, IndexError, RuntimeError):
        raise refusal(node, "this form of the operation is not supported") from None
    if any(not made.finite for made in _values(value)):
        raise refusal(node, "its numbers make NaN or infinite values; train the network again")
    return value


def _left_out(node: torch.fx.Node, args: Any, options: Any) -> str:
    """The note for a softmax-like operation at the end; refused where it compares one image with others."""
    kind, rank = kind_of(node).strip("_"), len(node.all_input_nodes[0].meta["val"].shape)
    if kind in RISING:
        return f"The last {kind} is left out: the numbers before it are given, argmax stays the same."
    axis = options.get("dim", args[1] if len(args) > 1 else None)
    if axis is None or axis % rank == 0:
        raise refusal(node, "it compares the images of a batch with each other; give it the axis of classes, dim=1")
    over = f" over axis {axis % rank}" if rank > 2 else ""
    return f"The last {kind} is left out: logits are given, argmax{over} stays the same."


def _operate(node: torch.fx.Node, kind: str, args: Any, options: Any, operations: Operations) -> Any:
    masks = kind in ("where", "masked_fill") or (kind == "mul" and any(isinstance(arg, Value) for arg in args))
    if not masks:  # as a number, a comparison is a spike
        args, options = torch.utils._pytree.tree_map_only(Comparison, operations.spikes, (args, options))
    if kind not in ELEMENTWISE:
        args, options = torch.utils._pytree.tree_map_only(
            Value, lambda value: operations.builder.clamped(value, operations.where), (args, options)
        )
    if kind in REARRANGES:

        def move(numbers: np.ndarray) -> Any:
            moved = node.target(torch.from_numpy(numbers), *args[1:], **options)  # type: ignore[operator]
            return moved.numpy() if isinstance(moved, torch.Tensor) else [part.numpy() for part in moved]

        return operations.rearrange(args[0], move)
    handler = operations.find(kind)
    if handler is None:
        near = f"; the nearest supported choice is {NEAREST[kind]}" if kind in NEAREST else ""
        raise OneSpikeError(f"this operation is not supported{near}")
    if kind not in ELEMENTWISE | LINEAR:
        args, options = torch.utils._pytree.tree_map_only(
            Value, lambda value: operations.builder.unfolded(value, operations.where), (args, options)
        )
    moved = next((v for v in _values(args) if v.view is not None), None)
    if kind not in ELEMENTWISE | LINEAR | REDUCES and moved is not None:
        if of_image(moved) and moved.view is not None:
            raise Moved(moved.view, OneSpikeError(OTHER_ORDER))
        raise OneSpikeError(
            "a reshape, permute or upsampling before it leaves a map that is not (channels, height, width) in place; "
            "only a linear layer over the whole map can read that"
        )
    return handler(*args, **options)


def _values(args: Any) -> list[Value]:
    found = [leaf.value if isinstance(leaf, Comparison) else leaf for leaf in torch.utils._pytree.tree_leaves(args)]
    return [leaf for leaf in found if isinstance(leaf, Value)]
