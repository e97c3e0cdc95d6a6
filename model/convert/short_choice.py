# SPDX-License-Identifier: Apache-2.0
"""Short choice: one table of short levels for all layers of a network, from its own activations.

Every channel has a step of its own, so activations are alike but for their scale; an engine holds few tables, and one
for all suits every layer. `short_levels.choose` finds it on the histograms of all layers together, each of them in
units of its layer's root mean square and with the same weight.
"""

from __future__ import annotations

import numpy as np

from ..frontend.graph import Graph, activate, clipped
from ..network import golden
from ..network.levels import Levels
from ..network.spec import INPUT
from ..system import parallel
from .calibrate import histogram, in_parts
from .rounding import takes_levels
from .short_levels import candidates, choose

IMAGES = 256  # of the calibration images, spread evenly
LARGEST = 40  # level: each doubling takes a bit of the accumulator
PRICE = 0.01  # of an event, in mean squares of a value


@parallel.one_blas_thread()
def network_levels(graph: Graph, images: np.ndarray, price: float = PRICE) -> Levels | None:
    """The table of 16 levels for images float32 [N, C, H, W]; None where no layer has a ReLU without a staircase.

    Levels of two events, such as 14 and 28, are among the candidates, and the price keeps out what is not worth it.
    """
    images = images[:: -(-len(images) // IMAGES)]
    floats = {INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.float32)}
    last = {tensor: names[-1] for tensor, names in graph.users().items() if names}
    shares, tops = [], []
    for node in graph.nodes:
        if not node.fires:
            continue
        sums = in_parts(graph, floats, lambda tensors, node=node: graph.sums(node, tensors))
        floats[node.name] = activate(node, sums)
        if takes_levels(node):
            values = np.maximum(clipped(node, sums), 0)
            if node.pool is not None and node.pool.kind == "max":
                values = golden.pool(values, node.pool)
            scale = float(np.sqrt(np.square(values, dtype=np.float64).mean()))
            if scale > 0:
                found, top = histogram(values)
                shares.append(found / values.size)
                tops.append(top / scale)
        for name in [name for name in floats if last.get(name) == node.name]:
            del floats[name]
    if not shares:
        return None
    chosen = choose(np.concatenate(shares), np.concatenate(tops), allowed=candidates(LARGEST, 2), price=price)
    return Levels(chosen.levels, chosen.thresholds, chosen.fraction)
