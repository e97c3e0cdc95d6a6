# SPDX-License-Identifier: Apache-2.0
"""Sequences whose kernels have gaps stand upright: along the rows of a map, where the engine's walk takes gaps as they
are. Along columns a tap row must be one run of words, and the gaps would be read as taps of weight zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..network.arrangement import Arrangement
from ..network.spec import Pool
from .graph import Graph, Node, Term


def upright(graph: Graph, taken: Sequence[int]) -> Graph:
    """The graph on a map of width 1, where all its maps have height 1 and a kernel has gaps; else as it is.

    taken: the shape of an image as the module takes it; the numbers of an image keep their order.
    """
    flat = graph.shape[1] == 1 and all(height == 1 for _, height, _ in graph.shapes().values())
    terms = [term for node in graph.nodes for term in node.terms]
    gaps = any(term.dilation[1] > 1 and term.weights.shape[3] > 1 for term in terms)
    # Lanes with values of their own compute two columns at a time.
    depthwise = any(term.weights.shape[3] > 1 and not _mixes(term) for term in terms)
    if not flat or not gaps or depthwise or graph.channels_last:
        return graph
    shape = (graph.shape[0], graph.shape[2], 1)
    arrangement = graph.arrangement
    if arrangement is None:
        arrangement = Arrangement(taken=tuple(taken), split=tuple(taken), axes=tuple(range(len(taken))))
    image = graph.image
    if image is not None:
        image = dataclasses.replace(image, shape=shape, arrangement=arrangement)
    nodes = tuple(_turned(node) for node in graph.nodes)
    return dataclasses.replace(graph, shape=shape, nodes=nodes, image=image, arrangement=arrangement)


def _mixes(term: Term) -> bool:
    """Whether an output adds several channels of the tensor."""
    return term.weights.shape[1] == 1 or bool(((term.weights != 0).any((2, 3)).sum(1) > 1).any())


def _turned(node: Node) -> Node:
    """The node with rows for columns."""
    terms = tuple(
        dataclasses.replace(
            term,
            weights=term.weights.swapaxes(2, 3),
            stride=term.stride[::-1],
            padding=term.padding[2:] + term.padding[:2],
            dilation=term.dilation[::-1],
            up=term.up[::-1],
        )
        for term in node.terms
    )
    pool = node.pool
    if pool is not None:
        pool = _turned_pool(pool)
    return dataclasses.replace(node, terms=terms, pool=pool)


def _turned_pool(pool: Pool) -> Pool:
    return dataclasses.replace(
        pool, kernel=pool.kernel[::-1], stride=pool.stride[::-1], padding=pool.padding[2:] + pool.padding[:2]
    )
