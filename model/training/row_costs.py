# SPDX-License-Identifier: Apache-2.0
"""Weight rows, and the cycles that each of them takes.

A row is what an event adds in one cycle: the weights of one source, tap and input channel for one block of L output
channels, L being the engine's lanes. Each event of a value of that channel reads the row at every output place whose
tap lies on the value, and takes a cycle of its bank. Rows are arrays [blocks, in channels, kernel height, width].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..convert.converter import Conversion
from ..convert.quantise import image_scale, output_scale
from ..frontend.graph import Node, Term
from ..network import golden
from ..network.codes import MULTIPLES
from ..network.operations import work_maps
from ..network.spec import INPUT, SpikeNet

IMAGES = 32  # that events are counted on: their means over places and images hardly differ from those of many


@dataclass(frozen=True, kw_only=True)
class RowWork:
    """Rows that are not all zero, and the events of an image that they add: the cycles of one bank."""

    rows: int
    events: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RowStatistics:
    """Of the rows of one term. events: of an image that each adds, float64 [in, kh, kw]; squares: the mean square of
    the values of its channel, in the scale of the float network [in].
    """

    events: np.ndarray
    squares: np.ndarray


def rows_of(values: np.ndarray, lanes: int) -> np.ndarray:
    """Values [out, in, kh, kw] by rows, [blocks, lanes, in, kh, kw]; channels that fill up the last block are 0."""
    blocks = -(-len(values) // lanes)
    filled = np.zeros((blocks * lanes, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled.reshape(blocks, lanes, *values.shape[1:])


def terms(conversion: Conversion) -> Iterator[tuple[int, int, Node, Term]]:
    """Indices of every node and term whose weights are trained, with both."""
    for index, node in enumerate(conversion.graph.nodes):
        if not node.exact:
            yield from ((index, number, node, term) for number, term in enumerate(node.terms))


def statistics(conversion: Conversion, images: np.ndarray) -> dict[tuple[int, int], RowStatistics]:
    """Of every term of `terms`, by its indices.

    images: float [N, C, H, W], of which no more than IMAGES are used, spread evenly.
    """
    net = conversion.one_step
    chosen = images[:: -(-len(images) // IMAGES)]
    read = [name for name in net.shapes if name != net.layers[-1].name]
    maps = {name: np.zeros(net.shapes[name]) for name in read}
    squares = {name: np.zeros(net.shapes[name][0]) for name in read}
    for image in chosen:
        found = golden.run(net, net.image.quantise(image[None]), layers=True).codes
        for name, values in found.items():
            maps[name] += _events(net, name, values)[0] / len(chosen)
            squares[name] += (values[0].astype(np.float64) ** 2).mean((1, 2)) / len(chosen)
    border = _events(net, INPUT, np.array(net.image.pad_code))
    scales, result = {INPUT: image_scale(net.image)}, {}
    for node in conversion.graph.nodes:
        step = conversion.steps.get(node.name, np.ones(node.channels))
        scales[node.name] = output_scale(node, step, conversion.groups.get(node.name, 0), scales)
    for index, number, node, term in terms(conversion):
        pad = border if term.tensor == INPUT else np.zeros(len(maps[term.tensor]))
        events = _read(maps[term.tensor], pad, term, net.conv_shapes[node.name][1:])
        result[index, number] = RowStatistics(
            events=events, squares=squares[term.tensor] * scales[term.tensor].step ** 2
        )
    return result


def row_work(conversion: Conversion, images: np.ndarray, lanes: int) -> RowWork:
    """The rows of an integer network on an engine of `lanes`, and their events; images as in `statistics`."""
    rows, events = 0, 0.0
    found = statistics(conversion, images)
    for index, number, _, term in terms(conversion):
        live = rows_of(term.weights != 0, lanes).any(1)
        rows += int(live.sum())
        events += float((live * found[index, number].events).sum())
    return RowWork(rows=rows, events=events)


def _events(net: SpikeNet, name: str, values: np.ndarray) -> np.ndarray:
    return work_maps(net, name, values, "signed", MULTIPLES[-1])["events_radix"]


def _read(events: np.ndarray, pad: np.ndarray, term: Term, places: tuple[int, ...]) -> np.ndarray:
    """Events [C, H, W] of a map, and those of its border [C], that every tap reads at all output places [C, kh, kw]."""
    top, bottom, left, right = term.padding
    channels, height, width = events.shape
    bordered = np.empty((channels, top + height + bottom, left + width + right))
    bordered[:] = pad.reshape(-1, 1, 1)
    bordered[:, top : top + height, left : left + width] = events
    found = np.empty(term.weights.shape[1:])
    for y, x in np.ndindex(*found.shape[1:]):
        rows, columns = (
            slice(tap * gap, tap * gap + (size - 1) * stride + 1, stride)
            for tap, gap, size, stride in zip((y, x), term.dilation, places, term.stride, strict=True)
        )
        found[:, y, x] = bordered[:, rows, columns].sum((1, 2))
    return found
