# SPDX-License-Identifier: Apache-2.0
"""Layers of single spikes, x > V or x >= V: the grid of their integers is free, as nothing but the comparison is left.

A count's step ties weights and threshold together: W * 2**k / step, and the threshold is 2**k. Of a single spike, which
is worth 1 wherever the threshold lies, the bias carries the threshold instead,

    sum of Wq * n + bias >= 2**k        bias = 2**k - floor(t) - 1 for x > V        t = (V - b) / unit
                                        bias = 2**k - ceil(t)      for x >= V

so that the unit of a weight may be anything: that of the weights themselves where they are whole multiples of one, and
then the spikes are those of the float network for every sum, ties included; else the largest weight's share of the
largest integer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..frontend.graph import DOWN, Graph, Node, Staircase
from ..network.spec import INPUT, Image
from .exact import whole_unit
from .quantise import Arithmetic


def free_units(graph: Graph, image: Image, arithmetic: Arithmetic) -> Graph:
    """The same network, in which the steps of single spikes are those that suit the integers of their weights best.

    Equal but for rounding of float64: what a node's step is multiplied by, its readers' weights are divided by.
    """
    moved: dict[str, np.ndarray] = {}  # new steps over old ones, of tensors of single spikes
    steps = {INPUT: np.array(image.scale)}
    nodes = []
    for node in graph.nodes:
        first = node.terms[0].tensor
        if node.exact:  # a copy has the step of its source
            moved |= {node.name: moved[first]} if first in moved else {}
            steps |= {node.name: steps[first]} if first in steps else {}
            nodes.append(node)
            continue
        terms = (
            replace(t, weights=t.weights / moved[t.tensor][:, None, None]) if t.tensor in moved else t
            for t in node.terms
        )
        node = replace(node, terms=tuple(terms))
        before = node.staircase
        if before is not None and single(node):
            node, steps[node.name] = _on_own_grid(node, before, steps, arithmetic)
            moved[node.name] = steps[node.name] / before.step
        elif before is not None:
            steps[node.name] = before.step
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def single(node: Node) -> bool:
    """Whether the node gives single spikes, by a comparison."""
    stairs = node.staircase
    return stairs is not None and (stairs.low, stairs.groups) == (0, 1) and stairs.rounding in DOWN


def _on_own_grid(
    node: Node, stairs: Staircase, steps: dict[str, np.ndarray], arithmetic: Arithmetic
) -> tuple[Node, np.ndarray]:
    """The node with a step of its own for every channel, and these; `steps`: of the tensors that have one already."""
    step = stairs.step.copy()
    worth = [steps.get(term.tensor, np.ones(1))[:, None, None] for term in node.terms]
    weights = [term.weights.copy() for term in node.terms]
    for channel in range(node.channels):
        rows = [kernel[channel] * each for kernel, each in zip(weights, worth, strict=True)]
        peak = max(float(np.abs(row).max()) for row in rows)
        if peak == 0:  # a constant
            continue
        if unit := whole_unit(rows, peak, arithmetic.limit):
            for kernel, row, each in zip(weights, rows, worth, strict=True):
                kernel[channel] = np.rint(row * unit) / unit / each
        step[channel] = 2.0 ** (arithmetic.weight_bits - 1) / (unit or arithmetic.limit / peak)
    terms = tuple(replace(term, weights=kernel) for term, kernel in zip(node.terms, weights, strict=True))
    moved = replace(node, terms=terms, bias=node.bias + step - stairs.step, staircase=replace(stairs, step=step))
    return moved, step
