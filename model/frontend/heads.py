# SPDX-License-Identifier: Apache-2.0
"""The end of a network: its outputs, one or several, become the channels of one last node."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..network.arrangement import arrangement_of
from ..network.outputs import Output, parts
from . import affine
from .affine import Value
from .builder_larger import Larger
from .graph import Graph

MOST_FOLDED = 1 << 20  # weights of a map that is folded


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """One output. shape: in which the network gives it, without the batch; where: the user's source line."""

    name: str
    value: Value
    shape: tuple[int, ...]
    where: str = ""


def finished(builder: Larger, heads: Sequence[Head]) -> Graph:
    """The graph whose last node gives all heads, those of the first one first.

    It has `outputs` where there are several, or one whose places the network puts into another order.
    """
    heads = [dataclasses.replace(head, value=builder.unfolded(head.value, head.where)) for head in heads]
    if len({head.name for head in heads}) < len(heads):
        raise OneSpikeError(f"two outputs have one name: {', '.join(head.name for head in heads)}")
    outputs = [_output(head) for head in heads]
    if len(heads) == 1:
        graph = builder.finish(dataclasses.replace(heads[0].value, view=None, flat=False), heads[0].where)
        return graph if outputs[0].arrangement is None else dataclasses.replace(graph, outputs=tuple(outputs))
    outputs = [
        dataclasses.replace(output, fold=fold) for output, fold in zip(outputs, _folds(heads), strict=True)
    ]
    bare = [dataclasses.replace(head.value, view=None, flat=False) for head in heads]
    ended = [builder.ended(value, head.where) for value, head in zip(bare, heads, strict=True)]
    ended = [_folded(builder, value, o.fold, h.where) for value, o, h in zip(ended, outputs, heads, strict=True)]
    names = ", ".join(output.name for output in outputs)
    builder.notes.append(f"The outputs {names} are channels of one last layer, in this order; net.named has each.")
    last = dataclasses.replace(affine.concatenate(ended), origin="outputs")
    return dataclasses.replace(builder.finish(last, heads[-1].where), outputs=tuple(outputs))


def _folds(heads: Sequence[Head]) -> list[tuple[int, int]]:
    """For each head, rows and columns of its map that share a place of the smallest one."""
    sizes = [head.value.shape[1:] for head in heads]
    height, width = min(rows for rows, _ in sizes), min(columns for _, columns in sizes)
    folds = [(rows // height, columns // width) for rows, columns in sizes]
    few = all(_weights(head.value, fold) <= MOST_FOLDED for head, fold in zip(heads, folds, strict=True))
    if not few or any((rows % height, columns % width) != (0, 0) for rows, columns in sizes):
        listed = ", ".join(f"{head.name} {rows}x{columns}" for head, (rows, columns) in zip(heads, sizes, strict=True))
        raise OneSpikeError(
            f"the outputs have maps of sizes that do not go together ({listed}): they become channels of one last "
            f"layer, in which a place of the smallest map holds a few whole places of each; return those of each size "
            f"from a network of their own"
        )
    return folds


def _weights(value: Value, fold: tuple[int, int]) -> int:
    """Weights that a folded map takes, or the kernel that copies it, if that has more; 0 where nothing is folded."""
    if fold == (1, 1):
        return 0
    taken = value.shape[0] * math.prod(fold)
    kernels = [value.shape[0] * math.prod(fold)]
    for term in value.terms:
        tall, wide = (term.weights.shape[2 + i] + (fold[i] - 1) * term.stride[i] for i in (0, 1))
        kernels.append(term.weights.shape[1] * tall * wide)
    return taken * max(kernels)


def _folded(builder: Larger, value: Value, fold: tuple[int, int], where: str) -> Value:
    """The map with `fold` rows and columns side by side as channels (c, row, column): a kernel that copies them."""
    if fold == (1, 1):
        return value
    channels, taken = value.shape[0], value.shape[0] * math.prod(fold)
    copies = np.eye(taken).reshape(taken, channels, *fold)
    return builder.convolve(value, copies, np.zeros(taken), stride=fold, where=where)


def given_by(graph: Graph, heads: Sequence[Head], logits: np.ndarray) -> list[np.ndarray]:
    """What the network gives for each head, [N, *shape], of the last node's numbers [N, C * H * W]."""
    maps = logits.reshape(len(logits), *graph.output)
    outputs = graph.outputs or [Output(name="output", channels=graph.output[0], shape=heads[0].shape)]
    return [output.of(part) for output, part in zip(outputs, parts(outputs, maps).values(), strict=True)]


def _output(head: Head) -> Output:
    """What is recorded of a head; OneSpikeError where its places are no reordering of a map's."""
    size, view = math.prod(head.value.shape), head.value.view
    places = np.arange(size) if view is None else view.reshape(-1)
    arrangement = None
    if not np.array_equal(places, np.arange(size)):
        whole = len(places) == size and np.array_equal(np.sort(places), np.arange(size))
        arrangement = arrangement_of(head.value.shape, places) if whole else None
        if arrangement is None:
            raise OneSpikeError(
                "the network ends with a reshape or permute that changes the order of its outputs in a way that no "
                "reshapes and transposes of a whole map give; leave it to whoever reads them"
            )
    return Output(name=head.name, channels=head.value.shape[0], shape=head.shape, arrangement=arrangement)
