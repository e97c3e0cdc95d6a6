# SPDX-License-Identifier: Apache-2.0
"""g of every layer by sensitivity: more groups where they save more of the logits' error for an event.

With one layer in counts of g groups and all others real, the logits are off by a squared error e(layer, g), and the
layers that read it make a(layer, g) events, each a cycle of a lane. Errors of different layers hardly depend on each
other, so they add up. From the smallest g everywhere, the change with the best error per event is made again and again,
as long as the events stay within the budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node, Term, activate
from ..network.codes import MULTIPLES, spikes
from ..network.grouped import compact
from ..system import parallel
from . import quantise
from .calibrate import Clipping, clip_levels
from .layerwise import float_tensors, resume, rounded_to

CHOICES = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 31)
IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Of one layer, by g: the logits' squared error relative to their variance, and events per image."""

    name: str
    errors: dict[int, float]
    events: dict[int, float]


@parallel.one_blas_thread()
def sensitivities(
    graph: Graph,
    images: np.ndarray,
    nearest: bool,
    clipping: Clipping,
    choices: Sequence[int] = CHOICES,
    progress: Callable[[str], None] | None = None,
) -> list[Sensitivity]:
    """Every layer that rounds and has no steps of its own, on images [N, C, H, W] in the module's own scale."""
    real = float_tensors(graph, images)
    logits = real[graph.nodes[-1].name]
    found = []
    for index, node in enumerate(graph.nodes):
        if node.exact or not node.fires or node.staircase is not None or node.signed:
            continue
        sums = graph.sums(node, real)

        def cost(groups: int, index: int = index, node: Node = node, sums: np.ndarray = sums) -> tuple[float, float]:
            step = clip_levels(sums, node, groups, nearest, clipping) / groups
            rounded = rounded_to(node, sums, step, groups)
            answer = resume(graph, index, {node.name: rounded}, real)
            error = float(((answer - logits) ** 2).mean()) / max(float(logits.var()), 1e-300)
            return error, _events(graph, node, np.rint(rounded / step.astype(np.float32)), groups)

        costs = dict(zip(choices, parallel.each(cost, choices), strict=True))
        errors = {groups: error for groups, (error, _) in costs.items()}
        events = {groups: added for groups, (_, added) in costs.items()}
        found.append(Sensitivity(name=node.name, errors=errors, events=events))
        if progress is not None:
            progress(node.name)
    return found


def choose_groups(found: Sequence[Sensitivity], budget: float) -> dict[str, int]:
    """g by layer name, whose events sum to at most `budget` an image."""
    chosen = {layer.name: min((cost, g) for g, cost in layer.events.items())[1] for layer in found}
    left = budget - sum(layer.events[chosen[layer.name]] for layer in found)
    if left < 0:
        raise OneSpikeError(
            f"A budget of {budget:,.0f} events is too small: the least groups need {budget - left:,.0f}."
        )
    while True:
        best, gain, price = None, 0.0, 0.0
        for layer in found:
            now = chosen[layer.name]
            for groups, cost in layer.events.items():
                extra, saved = cost - layer.events[now], layer.errors[now] - layer.errors[groups]
                if saved > 0 and extra <= left and saved / max(extra, 1e-9) > gain:
                    best, gain, price = (layer.name, groups), saved / max(extra, 1e-9), extra
        if best is None:
            return chosen
        chosen[best[0]] = best[1]
        left -= price


def uniform_events(found: Sequence[Sensitivity], groups: int) -> float:
    """Events an image where every layer has `groups`, which must be among the choices."""
    return sum(layer.events[groups] for layer in found)


def _events(graph: Graph, node: Node, counts: np.ndarray, groups: int) -> float:
    """Events an image that the counts [n, H, W, C] cause in all readers, through exact copies."""
    top = groups * (
        node.pool.kernel[0] * node.pool.kernel[1] if node.pool is not None and node.pool.kind == "sum" else 1
    )
    fired = spikes(counts.astype(np.int64), "radix", top, MULTIPLES[-1]).sum() / len(counts)
    total = 0.0
    for reader in graph.nodes:
        for term in reader.terms:
            if term.tensor == node.name:
                total += fired * _fan_out(term, counts.shape[1:3])
        if reader.exact and (own := tuple(term for term in reader.terms if term.tensor == node.name)):
            # Of several tensors side by side, its channels alone.
            part = dataclasses.replace(reader, terms=own)
            copied = activate(part, graph.sums(part, {node.name: counts}))
            total += _events(graph, reader, copied, top * quantise.summed(reader))
    return total


def _fan_out(term: Term, size: tuple[int, int]) -> float:
    """Mean events of one under a kernel; weights of zero count, but for those between groups."""
    out, _, *kernel = term.weights.shape
    pairs = out // compact(term.weights)[0]
    if term.up != (1, 1):
        return float(pairs * (np.prod(term.up) if term.held else 1))
    for axis in (0, 1):  # taps of all output places that fall on the map, along one side of it
        starts = np.arange(term.output_shape(*size)[axis]) * term.stride[axis] - term.padding[2 * axis]
        places = starts[:, None] + np.arange(kernel[axis]) * term.dilation[axis]
        pairs *= int(((places >= 0) & (places < size[axis])).sum())
    return pairs / (size[0] * size[1])
