# SPDX-License-Identifier: Apache-2.0
"""Clip levels from real images, node by node, and the correction of biases for what rounding shifts.

The clip of a channel minimises the squared error of its quantised activation over the calibration images (or is a
percentile of it). Then the integer layer runs on the codes that the quantised layers before it really give, and its
bias is moved until the channel's mean is that of the float network: rounding errors of earlier layers do not add up.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node, Staircase, activate, clipped
from ..network import golden
from ..network.levels import Levels
from ..network.spec import INPUT, Image, Layer
from ..system import parallel
from .finer import in_two
from .outputs import split_outputs
from .quantise import Arithmetic, coarser, image_scale, lossless, nearest, output_scale, quantise_node
from .refit import refit
from .rounding import ends, places, rounded, shared, values_of

BINS = 2048
CANDIDATES = 128
MAX_IMAGES = 1024  # of the calibration data that are used, spread evenly
MAX_VALUES = 1 << 26  # of these images in one map, which has four bytes for each; a handful of maps live at a time
SMALLEST = 1 / 64  # of the layer's largest clip: a channel that hardly ever fires keeps a finite step
SILENT = 0.01  # share of live values below which a channel hardly ever fires


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """How clip levels are chosen.

    method: "mse" or "percentile". per_channel: a level for every channel rather than for every layer; it costs the
    hardware nothing. refit: move and round weights so that they make up for the rounding of what they read. correct:
    move biases so that every channel keeps its mean.
    """

    method: str = "mse"
    percentile: float = 99.9
    per_channel: bool = True
    refit: bool = True
    correct: bool = True


def used_images(graph: Graph, images: np.ndarray) -> tuple[Graph, np.ndarray]:
    """As many images, spread evenly, as calibration holds in memory; where maps are too large for more, a note says so.
    """
    shapes, largest = graph.shapes(), (int(np.prod(graph.shape)), INPUT)
    for node in graph.nodes:  # before its pool
        height, width = node.terms[0].output_shape(*shapes[node.terms[0].tensor][1:])
        largest = max(largest, (node.channels * height * width, node.name))
    many = images[:: -(-len(images) // MAX_IMAGES)]
    few = many[:: -(-len(many) // max(1, MAX_VALUES // largest[0]))]
    if len(few) < len(many):
        sentence = (
            f"{len(few)} of {len(images):,} calibration images, spread evenly, are used: more of the {largest[0]:,} "
            f"values that {largest[1]!r} has for each would not fit into memory with the other maps."
        )
        graph = dataclasses.replace(graph, notes=(*graph.notes, sentence))
    return graph, few


@parallel.one_blas_thread()
def calibrate(
    graph: Graph,
    image: Image,
    images: np.ndarray,
    groups: Mapping[str, int],
    arithmetic: Arithmetic,
    clipping: Clipping,
    progress: Callable[[str], None] | None = None,
    levels: Mapping[str, Levels] | None = None,
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph with corrected biases, and the step of one count per firing node [channels], in float64.

    A node with a staircase keeps its own steps; its values that lie halfway between two steps, which it rounds to even
    and the counts up, are counted in a note. Layers whose weights are exact keep their biases, too. levels: of the
    nodes that fire by a table; their groups are the last of them, their steps are those of one unit.
    """
    levels = levels or {}
    scales = {INPUT: image_scale(image)}
    codes = {INPUT: np.ascontiguousarray(image.quantise(images).transpose(0, 2, 3, 1), dtype=np.float32)}
    floats = {INPUT: np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.float32)}
    last = {tensor: names[-1] for tensor, names in graph.users().items() if names}
    steps: dict[str, np.ndarray] = {}
    nodes, ties, values, notes = [], 0, 0, graph.notes
    for node in graph.nodes:
        count, table = groups.get(node.name, 0), levels.get(node.name)
        wanted = in_parts(graph, floats, lambda tensors, node=node: graph.sums(node, tensors))
        if node.fires:
            floats[node.name] = in_parts(graph, {"": wanted}, lambda at, node=node: activate(node, at[""]))
        if node.staircase is not None:
            steps[node.name] = node.staircase.step
            ties += count_ties(wanted, node.staircase)
            values += wanted.size
        elif node.fires and not node.exact:
            asked = clip_levels(wanted, node, count, arithmetic.nearest, clipping, table) / count
            silent = ((wanted != 0) if node.signed else (wanted > 0)).mean((0, 1, 2)) < SILENT
            steps[node.name] = coarser(node, scales, asked, count, silent, arithmetic)
            if shared(node):
                steps[node.name] = np.full_like(asked, steps[node.name].max())
            if grown := np.flatnonzero(steps[node.name] != asked).tolist():
                notes += (_coarse_note(node.name, grown),)
        step = steps.get(node.name, np.ones(node.channels))
        if node.fires and not node.exact:
            node = in_two(node, scales, step, arithmetic)
        if not node.fires:
            node = split_outputs(node, scales, arithmetic)
        given = node.staircase is not None or (values > 0 and not node.fires)
        layer = None if clipping.refit and not given else quantise_node(node, scales, step, count, arithmetic, table)
        kept = given and layer is not None and lossless(node, layer, scales, step)
        if clipping.refit and not node.exact and not kept:
            with contextlib.suppress(OneSpikeError):  # moved weights may not fit where the network's own do
                node = refit(graph, node, codes, scales, wanted, step, count, arithmetic)
            layer = None
        layer = layer or quantise_node(node, scales, step, count, arithmetic, table)
        sums = in_parts(graph, codes, lambda tensors, layer=layer: integer_sums(layer, tensors, image))
        if clipping.correct and not node.exact and not (given and lossless(node, layer, scales, step)):
            worth = step * np.ldexp(1.0, -places(layer)) if node.fires else np.full(node.channels, layer.step)
            fix = _correction(node, wanted, sums, layer, worth, nearest(node, arithmetic))
            node = dataclasses.replace(node, bias=node.bias + fix)
            before, layer = layer, quantise_node(node, scales, step, count, arithmetic, table)
            if _same_grid(before, layer):
                sums += (layer.bias - before.bias).astype(np.float32)
            else:  # another bias may leave room for more, or fewer, binary places
                sums = in_parts(graph, codes, lambda tensors, layer=layer: integer_sums(layer, tensors, image))
        nodes.append(node)
        if node.fires:
            codes[node.name] = in_parts(graph, {"": sums}, lambda at, layer=layer: counts(layer, at[""]))
        del wanted, sums  # each is as large as all that is kept of the node
        scales[node.name] = output_scale(node, step, count, scales)
        for name in [name for name in codes if last.get(name) == node.name]:
            del codes[name], floats[name]
        if progress is not None:
            progress(node.name)
    if ties:
        sentence = f"{ties:,} of {values:,} activations lie halfway between two steps on the calibration images; the "
        notes = (*notes, sentence + "imported network rounds these to even, the spikes up.")
    return dataclasses.replace(graph, nodes=tuple(nodes), notes=notes), steps


def _coarse_note(name: str, channels: list[int]) -> str:
    shown = ", ".join(map(str, channels[:8])) + (", ..." if len(channels) > 8 else "")
    which = f"channel {shown} hardly fires" if len(channels) == 1 else f"{len(channels)} channels ({shown}) hardly fire"
    return (
        f"Layer {name!r}: {which} on the calibration images, or too little for the weights; the step of a count there "
        f"comes from the weights."
    )


def _same_grid(one: Layer, other: Layer) -> bool:
    """Whether two layers differ in their biases alone."""
    return np.array_equal(one.shift, other.shift) and all(
        a.shift == b.shift and np.array_equal(a.weights, b.weights)
        for a, b in zip(one.sources, other.sources, strict=True)
    )


def count_ties(sums: np.ndarray, staircase: Staircase) -> int:
    """How many sums [n, H, W, C] the staircase rounds down to even and half-up rounding rounds up."""
    if staircase.rounding != "half even":
        return 0
    counts = sums / staircase.step.astype(sums.dtype)
    below = np.floor(counts)
    ties = (counts - below == 0.5) & (below % 2 == 0) & (below >= staircase.low) & (below < staircase.groups)
    return int(ties.sum())


def clip_levels(
    sums: np.ndarray,
    node: Node,
    groups: int,
    nearest: bool,
    clipping: Clipping,
    table: Levels | None = None,
) -> np.ndarray:
    """Clip levels [channels] of sums [n, H, W, C] before the activation; table: whose last level is groups.

    Of values with a sign the magnitudes count.
    """
    values = clipped(node, sums)
    if node.pool is not None and node.pool.kind == "max":
        values = golden.pool(values, node.pool)
    values = np.abs(values) if node.signed else values
    found, tops = histogram(values, clipping.per_channel and not shared(node))
    centres = (np.arange(BINS) + 0.5) / BINS  # in units of the top
    if clipping.method == "percentile":
        share = np.cumsum(found, 1) / np.maximum(found.sum(1, keepdims=True), 1)
        best = ((share < clipping.percentile / 100).sum(1) + 1) / BINS
    else:
        tried = np.geomspace(SMALLEST, 1, CANDIDATES)
        fired = rounded(centres * groups / tried[:, None], groups, table, nearest)
        errors = (centres - fired * tried[:, None] / groups) ** 2
        best = tried[(errors @ found.T).argmin(0)]
    clips = best * tops
    return np.minimum(np.maximum(clips, clips.max() * SMALLEST), np.inf if node.ceiling is None else node.ceiling)


def histogram(values: np.ndarray, by_channel: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Counts [channels, BINS] of values [n, H, W, C] above zero, every channel's from 0 to its top [channels].

    Not by_channel: of all channels together, in every row.
    """
    channels = values.shape[-1]
    tops = values.reshape(-1, channels).max(0).astype(np.float64)
    if not by_channel:
        tops[:] = tops.max()
    tops = np.maximum(tops, max(float(tops.max()) * SMALLEST, 1e-12))
    factor = (BINS / tops).astype(np.float32)

    def counted(part: np.ndarray) -> np.ndarray:
        bins = np.minimum((part * factor).astype(np.int32), BINS - 1) + np.arange(channels, dtype=np.int32) * BINS
        return np.bincount(bins[part > 0], minlength=channels * BINS)

    parts = np.array_split(values.reshape(-1, channels), max(1, values.size >> 20))
    found = np.sum(parallel.each(counted, parts), axis=0).reshape(channels, BINS).astype(np.float64)
    return (found if by_channel else np.broadcast_to(found.sum(0), found.shape)), tops


def _correction(
    node: Node, wanted: np.ndarray, sums: np.ndarray, layer: Layer, worth: np.ndarray, nearest: bool
) -> np.ndarray:
    """What to add to the bias [channels], in real units.

    Rounding to nearest: the mean error of the sums, less the half step that the bias already carries. Rounding down
    loses half a step in every live value, so there the mean of the activation itself is restored, by a few steps of
    Newton's method whose slope is the share of live values.
    """
    error = wanted.mean((0, 1, 2), dtype=np.float64) - sums.mean((0, 1, 2), dtype=np.float64) * worth
    if nearest or not node.fires:
        counted = node.fires and layer.levels is None  # of a table, the thresholds carry the half step
        half = np.where(layer.shift > 0, 2.0 ** (layer.shift.astype(float) - 1), 0) if counted else 0.0
        return error + half * worth
    target = activate(dataclasses.replace(node, pool=None), wanted).mean((0, 1, 2), dtype=np.float64)
    step = worth * 2.0 ** places(layer).astype(float)
    real, total = sums * (worth / step).astype(np.float32), np.zeros(node.channels)
    for _ in range(4):
        moved = real + (total / step).astype(np.float32)
        first, last = ends(node, step, layer.groups)
        live = ((moved > first) & (moved < last)).mean((0, 1, 2))
        got = rounded(moved, layer.groups, layer.levels, False, layer.low).mean((0, 1, 2), dtype=np.float64) * step
        total += 0.7 * (target - got) / np.maximum(live, 0.1)
    return total


def integer_sums(layer: Layer, codes: Mapping[str, np.ndarray], image: Image) -> np.ndarray:
    """bias + sum of W * code as whole float32 numbers [n, H, W, C]; exact up to 24 bits."""
    total = golden.sums(layer, codes, image.pad_code)
    return np.asarray(total + layer.bias.astype(np.float32))


def counts(layer: Layer, sums: np.ndarray) -> np.ndarray:
    """Counts of a firing layer, pooled."""
    fired = values_of(layer, sums)
    return golden.pool(fired, layer.pool) if layer.pool is not None else fired


def in_parts(graph: Graph, tensors: Mapping[str, np.ndarray], function: Callable[..., np.ndarray]) -> np.ndarray:
    """What `function` makes of tensors [n, ...], put together from what it makes of some images at a time."""
    first, *rest = graph.chunks(len(next(iter(tensors.values()))))
    head = function({name: tensor[first] for name, tensor in tensors.items()})
    if not rest:
        return head
    found = np.empty((rest[-1].stop, *head.shape[1:]), head.dtype)
    found[first] = head

    def fill(part: slice) -> None:
        found[part] = function({name: tensor[part] for name, tensor in tensors.items()})

    parallel.each(fill, rest)
    return found
