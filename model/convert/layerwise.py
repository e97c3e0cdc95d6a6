# SPDX-License-Identifier: Apache-2.0
"""Where accuracy is lost, layer by layer: an integer network beside the float network that it came from.

The worth of a count is found per channel from the images, as the least-squares fit of the float activations on the
counts, so that it holds for fine-tuned networks and needs nothing but the two networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node, activate, clipped
from ..network import golden
from ..network.judge import judge_of
from ..network.levels import nearest
from ..network.pixels import real_values
from ..network.spec import INPUT, Layer, SpikeNet
from ..system import parallel
from .rounding import least, rounded

CHUNK = 100  # images whose tensors are held at once
Tensors = dict[str, np.ndarray]  # by name, [n, H, W, C]


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Shares of a layer's outputs that are 0 and that are at their top, and the mean count."""

    name: str
    groups: int
    zero: float
    saturated: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class LayerLoss:
    """What one layer costs.

    error: mean squared difference of its activations from the float network's, relative to their mean square, with all
    layers before it in integers. alone: accuracy of the float network with only this layer's activations as counts.
    upto: accuracy with integers up to this layer and the float network behind it. The last layer has no activations:
    its error is that of the logits, its alone that of the float network, its upto that of the integers.
    """

    name: str
    error: float
    alone: float
    upto: float


@dataclass(frozen=True, kw_only=True)
class Losses:
    """images: how many were used. worths: what a count of every node is worth [channels]."""

    images: int
    layers: tuple[LayerLoss, ...]
    worths: dict[str, np.ndarray]


def occupancy(net: SpikeNet, codes: np.ndarray) -> list[Occupancy]:
    """Every firing layer on image codes uint8 [N, C, H, W]; after its pool."""
    zero, top, total, size = (np.zeros(len(net.layers) - 1) for _ in range(4))
    for start in range(0, len(codes), CHUNK):
        found = golden.run(net, codes[start : start + CHUNK], layers=True).codes
        for index, layer in enumerate(net.layers[:-1]):
            counts = found[layer.name]
            zero[index] += np.count_nonzero(counts == 0)
            top[index] += np.count_nonzero(counts == net.top_code[layer.name])
            total[index] += counts.sum()
            size[index] += counts.size
    return [
        Occupancy(name=layer.name, groups=layer.groups, zero=float(z), saturated=float(t), mean=float(m))
        for layer, z, t, m in zip(net.layers, zero / size, top / size, total / size, strict=False)
    ]


@parallel.one_blas_thread()
def layer_losses(
    graph: Graph,
    net: SpikeNet,
    images: np.ndarray,
    labels: np.ndarray,
    progress: Callable[[str], None] | None = None,
) -> Losses:
    """Every layer that rounds, and the last, on images, as `pixels.py` says; labels int [N] or as `judge.py` says.

    Raises OneSpikeError where the networks do not have the same layers.
    """
    if [node.name for node in graph.nodes] != [layer.name for layer in net.layers]:
        raise OneSpikeError(
            f"The layers of the integer network ({_names(net.layers)}) are not those of the float network "
            f"({_names(graph.nodes)}); give the model that it was converted from."
        )
    judged, images = judge_of(net, labels), real_values(net.image, images)
    worths, errors = _fit(graph, net, images)
    right: dict[str, np.ndarray] = {}  # by node: alone, upto
    for real, counts, part in _tensors(graph, net, images):
        integers = {name: counts[name] * worth for name, worth in worths.items()}

        def answers(
            index: int, real: Tensors = real, counts: Tensors = counts, integers: Tensors = integers
        ) -> list[np.ndarray]:
            node = graph.nodes[index]
            if not node.fires:
                return [real[node.name], counts[node.name]]
            rounded = rounded_to(node, graph.sums(node, real), worths[node.name], net.layers[index])
            until = {other.name: integers[other.name] for other in graph.nodes[: index + 1]}
            return [resume(graph, index, changed, real) for changed in ({node.name: rounded}, until)]

        rounding = [index for index, node in enumerate(graph.nodes) if not node.exact]
        for index, given in zip(rounding, parallel.each(answers, rounding), strict=True):
            found = [judged.right(logits.transpose(0, 3, 1, 2), part).sum() for logits in given]
            name = graph.nodes[index].name
            right[name] = right.get(name, 0) + np.array(found)
        if progress is not None:
            progress(f"{part.stop} images")
    layers = (
        LayerLoss(name=name, error=errors[name], alone=float(alone), upto=float(upto))
        for name, (alone, upto) in ((name, found / len(images)) for name, found in right.items())
    )
    return Losses(images=len(images), layers=tuple(layers), worths=worths)


def rounder(net: SpikeNet, worths: Mapping[str, np.ndarray]) -> Callable[[Node, np.ndarray], np.ndarray]:
    """The activation of a float graph that gives whole counts of the network's groups, for `Graph.run`."""
    layers = net.by_name

    def activation(node: Node, sums: np.ndarray) -> np.ndarray:
        return activate(node, sums) if node.exact else rounded_to(node, sums, worths[node.name], layers[node.name])

    return activation


def rounded_to(node: Node, sums: np.ndarray, worth: np.ndarray, layer: Layer | int) -> np.ndarray:
    """The activation of float sums as counts or levels of a layer, or as so many counts, rounded to nearest, pooled.

    worth: of one count, or one unit of the levels [channels].
    """
    if node.staircase is not None:  # it rounds in the float network, too
        return activate(node, sums)
    step = np.where(worth > 0, worth, 1).astype(np.float32)
    groups, table = (layer, None) if isinstance(layer, int) else (layer.groups, layer.levels)
    low = least(node, worth, groups) if isinstance(layer, int) else layer.low
    if table is not None and node.curve is not None:  # its thresholds are those of the sums in front of the curve
        table = nearest(table.levels, 1)
    values = rounded(clipped(node, sums) / step, groups, table, low=low) * step
    return golden.pool(values, node.pool) if node.pool is not None else values


def resume(graph: Graph, index: int, changed: Tensors, real: Tensors) -> np.ndarray:
    """The last node's sums where the network goes on behind node `index` with `changed` in place of `real` tensors."""
    changed = dict(changed)
    for node in graph.nodes[index + 1 :]:
        if any(term.tensor in changed for term in node.terms):
            sums = graph.sums(node, real | changed)
            changed[node.name] = activate(node, sums) if node.fires else sums
    final = graph.nodes[-1].name
    return changed.get(final, real[final])


def float_tensors(graph: Graph, images: np.ndarray) -> Tensors:
    """Every tensor of the float network, pools included."""
    tensors: Tensors = {INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.float32)}
    for node in graph.nodes:

        def chunk(part: slice, node: Node = node) -> np.ndarray:
            sums = graph.sums(node, {term.tensor: tensors[term.tensor][part] for term in node.terms})
            return activate(node, sums) if node.fires else sums

        tensors[node.name] = np.concatenate(parallel.each(chunk, graph.chunks(len(images))))
    return tensors


def _tensors(graph: Graph, net: SpikeNet, images: np.ndarray) -> Iterator[tuple[Tensors, Tensors, slice]]:
    """Float tensors, counts (and integer logits) and which images they are of."""
    for start in range(0, len(images), CHUNK):
        part = slice(start, min(start + CHUNK, len(images)))
        result = golden.run(net, net.image.quantise(images[part]), layers=True)
        counts = {name: codes.transpose(0, 2, 3, 1).astype(np.float32) for name, codes in result.codes.items()}
        logits = result.logits.reshape(-1, *net.shapes[net.layers[-1].name]).transpose(0, 2, 3, 1)
        counts[net.layers[-1].name] = logits.astype(np.float32)
        yield float_tensors(graph, images[part]), counts, part


def _fit(graph: Graph, net: SpikeNet, images: np.ndarray) -> tuple[Tensors, dict[str, float]]:
    """The worth of one count of every node [channels], and the relative squared error that is left."""
    sums: dict[str, np.ndarray] = {}
    for real, counts, _ in _tensors(graph, net, images):
        for node in graph.nodes:
            a, n = (t[node.name].reshape(-1, node.channels).astype(np.float64) for t in (real, counts))
            sums[node.name] = sums.get(node.name, 0) + np.stack([(a * a).sum(0), (a * n).sum(0), (n * n).sum(0)])
    worths, errors = {}, {}
    for node in graph.nodes:
        square, cross, counted = sums[node.name]
        if not node.fires:  # one scale for all logits: they are compared with each other
            cross, counted = np.full_like(cross, cross.sum()), np.full_like(counted, counted.sum())
        worth = cross / np.maximum(counted, 1)
        left = square - 2 * worth * sums[node.name][1] + worth**2 * sums[node.name][2]
        worths[node.name], errors[node.name] = worth.astype(np.float32), float(left.sum() / max(square.sum(), 1e-300))
    return worths, errors


def _names(items: tuple[Node, ...] | tuple[Layer, ...]) -> str:
    return ", ".join(item.name for item in items)
