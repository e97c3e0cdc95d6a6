# SPDX-License-Identifier: Apache-2.0
"""Accuracy at every stage: the float network, the same with clamped and quantised activations, the integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node
from ..network.golden import pool
from ..network.judge import judge_of
from ..network.pixels import real_values
from ..network.spec import SpikeNet
from .converter import Conversion
from .quantise import nearest
from .rounding import least, rounded


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of right answers: `real` of the float network, `quantised` of the same with activations rounded to counts,
    `golden` of the integers; `agreement`: how often the integers answer as the float network does.
    """

    images: int
    real: float
    quantised: float
    golden: float
    agreement: float


def evaluate(conversion: Conversion, images: np.ndarray, labels: np.ndarray, net: SpikeNet | None = None) -> Accuracy:
    """Run images, as `pixels.py` says, through all three; labels int [N] or as `judge.py` says."""
    if not len(labels) or len(images) != len(labels):
        raise OneSpikeError(
            f"Evaluation needs as many labels as images, at least one: not {len(labels)}, {len(images)}."
        )
    net = conversion.net if net is None else net
    judged = judge_of(net, labels)
    values = real_values(net.image, images)
    real, golden = conversion.original.run(values, np.float32), net.golden(images)
    return Accuracy(
        images=len(labels),
        real=judged.share(real),
        quantised=judged.share(quantised_logits(conversion, values)),
        golden=judged.share(golden),
        agreement=judged.agreement(real, golden),
    )


def quantised_logits(conversion: Conversion, images: np.ndarray) -> np.ndarray:
    """Logits [N, classes] in float32 with real weights, codes for pixels and counts for activations."""
    image = conversion.image
    scale = np.array(image.scale).reshape(1, -1, 1, 1)
    offset = np.array(image.offset).reshape(1, -1, 1, 1)
    return conversion.graph.run(image.quantise(images) * scale + offset, np.float32, activation=rounder(conversion))


def rounder(conversion: Conversion) -> Callable[[Node, np.ndarray], np.ndarray]:
    """The activation that rounds to whole counts of the node's steps."""

    def activation(node: Node, sums: np.ndarray) -> np.ndarray:
        if not node.exact:
            step = conversion.steps[node.name].astype(np.float32)
            groups, levels = conversion.groups[node.name], conversion.levels.get(node.name)
            bent = sums if node.curve is None else node.curve(sums)
            low = least(node, step, groups)
            sums = rounded(bent / step, groups, levels, nearest(node, conversion.arithmetic), low) * step
        return pool(sums, node.pool) if node.pool is not None else sums

    return activation


def float_accuracy(graph: Graph, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers of the float graph."""
    return judge_of(graph, labels).share(graph.run(images, np.float32))
