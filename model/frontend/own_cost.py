# SPDX-License-Identifier: Apache-2.0
"""What a graph multiplies beside the module that it comes from, and which layers make it more.

Weights that are not zero count, and their multiplications for an image, padding included. Copies count nowhere, as in
`network/operations.py`: a kernel that scales channels one by one, or adds up their places. The module's own are those
of its convolutions, linear layers and matrices of nodes, as often as they are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .graph import Graph, Term

MOST = 1.5  # times the module's own, beyond which the user is told
SHOWN = 4  # layers by name


@dataclass(frozen=True, kw_only=True)
class Work:
    """Multiplications of one image, and weights."""

    macs: int = 0
    weights: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(macs=self.macs + other.macs, weights=self.weights + other.weights)


def work(graph: Graph) -> dict[str, Work]:
    """By node."""
    shapes = graph.shapes()
    found = {}
    zeros = {n.name: math.prod(t.up) for n in graph.nodes for t in n.terms if t.up != (1, 1) and not t.held}
    for node in graph.nodes:
        total = Work()
        for term in node.terms:
            if not node.exact and not _copies(term):
                weights = int(np.count_nonzero(term.weights))
                # Between the values of such a tensor there is nothing to multiply.
                places = math.prod(term.output_shape(*shapes[term.tensor][1:])) // zeros.get(term.tensor, 1)
                total += Work(macs=weights * places, weights=weights)
        found[node.name] = total
    return found


def told(graph: Graph, own: Mapping[str, Work], origins: Mapping[str, str], sign: bool | str) -> list[str]:
    """A sentence where the graph has more than MOST times the multiplications or the weights of the module.

    own: by the module's layer. origins: which of these a node belongs to. sign: as `Nodes.sign`.
    """
    made: dict[str, Work] = {}
    for name, node in work(graph).items():
        origin = origins.get(name, name)
        made[origin] = made.get(origin, Work()) + node
    has, had = sum(made.values(), Work()), sum(own.values(), Work())
    shares = {
        "multiplications": (has.macs, had.macs, {k: w.macs - own.get(k, Work()).macs for k, w in made.items()}),
        "weights": (has.weights, had.weights, {k: w.weights - own.get(k, Work()).weights for k, w in made.items()}),
    }
    above = {what: found for what, found in shares.items() if found[0] > MOST * max(1, found[1])}
    if not above:
        return []
    parts = [f"{now / max(1, before):.1f} times the {what} of the module ({now:,} for {before:,})"
             for what, (now, before, _) in above.items()]  # fmt: skip
    _, _, more = next(iter(above.values()))
    largest = sorted((name for name in more if more[name] > 0), key=lambda name: -more[name])
    names = ", ".join(map(repr, largest[:SHOWN])) + (f" and {len(largest) - SHOWN} more" if largest[SHOWN:] else "")
    way = {
        False: "; sums that several layers read, or one reads in a large kernel, are computed anew: allow signed "
        "values (signed='auto')",
        "auto": "; a ReLU behind them, or signed=True, keeps layers apart",
    }.get(sign, "")
    return [f"The integer network has {' and '.join(parts)}, most of all in {names or 'no single layer'}{way}."]


def _copies(term: Term) -> bool:
    """Whether the term only scales channels one by one, or adds up their places."""
    weights = term.weights
    if weights.shape[1] == 1 or int(np.count_nonzero(weights.any((2, 3)), axis=1).max()) > 1:
        return False
    if weights.shape[2:] == (1, 1):
        return True
    own = weights.reshape(len(weights), -1)
    first = own[np.arange(len(own)), (own != 0).argmax(1)]
    return bool(((own == 0) | (own == first[:, None])).all())
