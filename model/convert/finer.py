# SPDX-License-Identifier: Apache-2.0
"""Weights of a network that is quantised already, where those of the integers are coarser than its own.

Such a file rounds sum * scale in / scale out with a multiplier of its own for every channel; a count has a shift. So
the ratio goes into the weights, which are rounded once more. Two ways of making up for that need no images:

* a weight that stands alone in its output (an addition, an average, a requantiser) becomes two, on two sources of one
  tensor, the second for what the first leaves: twice the bits for twice the events of a light layer;
* of a kernel, so many weights are rounded the other way, those nearest to the middle first, that the errors of every
  input channel, and of every output, add up to less than half a unit: counts are not negative, and what errors have in
  common would move every sum (the flips of SQuant, Guo et al., arXiv 2202.07471).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..frontend.builder_nodes import MAX_TERMS
from ..frontend.graph import Graph, Node
from ..network.spec import INPUT, Image
from .exact import MAX_LIFT, NOISE, places, reach_of
from .quantise import Arithmetic, Scale, grid, image_scale, lossless, output_scale, per_count, quantise_node


def finer(
    graph: Graph,
    image: Image,
    steps: Mapping[str, np.ndarray],
    groups: Mapping[str, int],
    arithmetic: Arithmetic,
) -> Graph:
    """The graph with the weights of its layers on the grid of the integers, where these do not hold them exactly.

    steps, groups: of every firing node that is no copy.
    """
    scales, nodes = {INPUT: image_scale(image)}, []
    for node in graph.nodes:
        step, count = steps.get(node.name, np.ones(node.channels)), groups.get(node.name, 0)
        if node.fires and not node.exact:
            node = in_two(node, scales, step, arithmetic)
            if not lossless(node, quantise_node(node, scales, step, count, arithmetic), scales, step):
                node = balanced(node, scales, step, count, arithmetic)
        nodes.append(node)
        scales[node.name] = output_scale(node, step, count, scales)
    return dataclasses.replace(graph, nodes=tuple(nodes))


def other_weights(original: Graph, graph: Graph) -> list[str]:
    """The layers whose weights in `graph` are not those of `original`, of which it is a copy with more terms."""
    return [
        node.name
        for before, node in zip(original.nodes, graph.nodes, strict=True)
        if before.terms is not node.terms and not all(map(_same, _by_place(before), _by_place(node)))
    ]


def _by_place(node: Node) -> list[np.ndarray]:
    """The kernels of a node, one for each tensor and place that it reads."""
    found: dict[tuple[object, ...], np.ndarray] = {}
    for term in node.terms:
        key = (term.tensor, term.weights.shape, term.stride, term.padding, term.dilation)
        found[key] = found[key] + term.weights if key in found else term.weights
    return list(found.values())


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=NOISE * np.abs(one).max(initial=0)))


def in_two(node: Node, scales: Mapping[str, Scale], step: np.ndarray, arithmetic: Arithmetic) -> Node:
    """The node with two terms for each, where all its terms have one weight per output and its steps are given."""
    if node.staircase is None or not all(term.light for term in node.terms) or 2 * len(node.terms) > MAX_TERMS:
        return node
    real, bias, spans = per_count(node, scales, step)
    if max(places(weights).max() for weights in real) <= MAX_LIFT:
        return node
    bits, terms = arithmetic.weight_bits - 1, []
    peak = max(float(np.abs(weights).max()) for weights in real)
    most = float(reach_of(real, np.abs(bias / step) + 0.5, spans).max())
    coarse = bits - int(np.ceil(np.log2(peak)))  # binary places of the first weight
    room = min(MAX_LIFT - (4 * -(-span.most.bit_length() // 4) - 1) for span in spans)
    fine = min(coarse + max(1, min(room, bits - 1)), arithmetic.accumulator_bits - 1 - int(np.ceil(np.log2(most))))
    if fine <= coarse:
        return node
    for term, weights in zip(node.terms, real, strict=True):
        first = np.rint(np.ldexp(weights, coarse)) / 2.0**coarse
        if room < 1:  # no source can be shifted: each has half
            first = np.floor(np.rint(np.ldexp(weights, fine)) / 2) / 2.0**fine
        rest = np.rint(np.ldexp(weights - first, fine)) / 2.0**fine
        for part in (first, rest):
            if part.any():
                worth = part * step[:, None, None, None] / scales[term.tensor].step[:, None, None]
                terms.append(dataclasses.replace(term, weights=worth))
    return dataclasses.replace(node, terms=tuple(terms))


def balanced(node: Node, scales: Mapping[str, Scale], step: np.ndarray, groups: int, arithmetic: Arithmetic) -> Node:
    """The node with weights of its dense terms rounded so that their errors cancel."""
    unit, terms = grid(node, scales, step, groups, arithmetic), []
    for term in node.terms:
        if not term.light:
            worth = unit[:, None, None, None] * scales[term.tensor].step[:, None, None] / step[:, None, None, None]
            term = dataclasses.replace(term, weights=_flipped(term.weights * worth, arithmetic.limit) / worth)
        terms.append(term)
    return dataclasses.replace(node, terms=tuple(terms))


def _flipped(weights: np.ndarray, limit: int) -> np.ndarray:
    """Weights [out, in, kh, kw] as whole numbers up to `limit`, errors balanced by input channel, then by output."""
    found = np.rint(weights)
    for shape in ((weights.shape[0] * weights.shape[1], -1), (weights.shape[0], -1)):
        errors = (found - weights).reshape(shape)
        excess = np.rint(errors.sum(1))
        sign = np.sign(excess)[:, None]
        order = np.where(errors != 0, -sign * errors, np.inf)  # those rounded furthest in the direction of the excess
        rank = order.argsort(1, kind="stable").argsort(1, kind="stable")
        found = found - (sign * (rank < np.abs(excess)[:, None])).reshape(weights.shape)
    return np.clip(found, -limit - 1, limit)
