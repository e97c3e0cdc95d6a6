# SPDX-License-Identifier: Apache-2.0
"""Outputs of very different scale, and what rounding loses as a whole.

All logits count in one unit, so that they can be compared, and the largest weight sets it: the weights of an output a
thousand times smaller would all be 0. Such outputs get a source of their own on the same tensor, and the sources of the
larger ones are shifted: their weights stay what they are, the unit is smaller, and every output keeps its bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..frontend.graph import Graph, Node
from ..network.spec import INPUT, Image, SpikeNet
from .exact import MAX_LIFT, NOISE, common_factor
from .quantise import Arithmetic, Scale, image_scale, output_scale, per_count

APART = 4  # binary places between the sources of the last layer; outputs less far apart share one
MOST = 3  # sources of smaller outputs, at most


def split_outputs(node: Node, scales: Mapping[str, Scale], arithmetic: Arithmetic) -> Node:
    """The last node with outputs whose weights would have less than a 16th of the levels in terms of their own."""
    real, bias, spans = per_count(node, scales, np.ones(node.channels))
    factor = common_factor(real, bias, spans, [0] * len(real), arithmetic)
    if all((np.abs(w * factor - np.rint(w * factor)) < NOISE).all() for w in real):
        return node
    peaks = np.max([np.abs(w).max((1, 2, 3)) for w in real], axis=0) * factor
    reach = sum(np.abs(w).sum((1, 2, 3)) * span.most for w, span in zip(real, spans, strict=True)) + np.abs(bias)
    taps = sum(int(np.prod(w.shape[1:])) * span.most for w, span in zip(real, spans, strict=True))
    # Rounding of the larger weights counts in larger units, too.
    room = (2.0 ** (arithmetic.accumulator_bits - 1) - 2) / (float(reach.max()) * factor + taps)
    places = np.floor(np.log2(np.divide(arithmetic.limit, peaks, where=peaks > 0, out=np.ones_like(peaks))))
    kinds = np.minimum(places // APART, MOST)
    levels = np.array([places[kinds == kind].min() if kind > 0 else 0 for kind in kinds])
    levels = np.clip(levels, 0, max(0, min(np.floor(np.log2(room)), MAX_LIFT))).astype(int)
    if not levels.any():
        return node
    terms = []
    for term in node.terms:
        for level in np.unique(levels):
            weights = np.where((levels == level)[:, None, None, None], term.weights, 0)
            if weights.any():
                terms.append(dataclasses.replace(term, weights=weights, lift=int(levels.max() - level)))
    return dataclasses.replace(node, terms=tuple(terms))


def split_last(
    graph: Graph, image: Image, steps: Mapping[str, np.ndarray], groups: Mapping[str, int], arithmetic: Arithmetic
) -> Graph:
    """`split_outputs` of the last node of a graph whose steps are known."""
    scales = {INPUT: image_scale(image)}
    for node in graph.nodes[:-1]:
        scales[node.name] = output_scale(
            node, steps.get(node.name, np.ones(node.channels)), groups.get(node.name, 0), scales
        )
    last = split_outputs(graph.nodes[-1], scales, arithmetic)
    return dataclasses.replace(graph, nodes=(*graph.nodes[:-1], last))


def lost(
    graph: Graph, net: SpikeNet, image: Image, steps: Mapping[str, np.ndarray], groups: Mapping[str, int]
) -> list[str]:
    """Sentences on outputs of the imported `graph`, and on tensors that a layer reads, whose integer weights in `net`
    are all 0 though the real ones matter: half a count of a firing layer.
    """
    scales, found = {INPUT: image_scale(image)}, []
    for node, layer in zip(graph.nodes, net.layers, strict=True):
        step = steps.get(node.name, np.ones(node.channels))
        if not node.exact:
            real, _, spans = per_count(node, scales, step)
            if not node.fires:
                gone = np.any([w.any((1, 2, 3)) for w in real], axis=0)
                gone &= ~np.any([source.weights.any((1, 2, 3)) for source in layer.sources], axis=0)
                found += [
                    f"Output {output} of layer {node.name!r} is constant: its weights are too small beside those of "
                    f"other outputs; allow more weight bits and accumulator bits, or scale it up."
                    for output in np.flatnonzero(gone)
                ]
            for weights, span, source in zip(real, spans, layer.sources, strict=False):
                if node.fires and np.abs(weights).sum((1, 2, 3)).max() * span.most >= 0.5 and not source.weights.any():
                    found.append(
                        f"Layer {node.name!r} ignores {source.tensor!r}: all weights on it are too small beside "
                        f"others; allow more weight bits."
                    )
        scales[node.name] = output_scale(node, step, groups.get(node.name, 0), scales)
    return found
