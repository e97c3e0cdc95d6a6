# SPDX-License-Identifier: Apache-2.0
"""The float network between importer and converter: what the integer network will compute, in real numbers.

A node computes, per output channel and position,

    value = clip(curve(bias + sum over terms of W * tensor), floor, ceiling)       then, where it has one, a pool

(floor 0 and no curve: a ReLU; neither floor nor ceiling: a raw sum, stored with its sign)

which is the shape of `spec.Layer` with real weights: batch norm is folded, additions are further terms, average
pools are sums whose division sits in the weights that read them. A network that was quantised already brings the steps
of its activations along: such a node computes a `Staircase` instead of the clip.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from ..errors import OneSpikeError
from ..network import golden
from ..network.arrangement import Arrangement
from ..network.outputs import Output
from ..network.spec import INPUT, Image, Pool, Source
from ..system import parallel
from .curve import Curve

CHUNK_BYTES = 1 << 22  # of gathered inputs per step of the executor


@dataclass(frozen=True, kw_only=True, eq=False)
class Term:
    """One tensor under one kernel; same geometry as `spec.Source`.

    weights: float64 [out channels, in channels, kernel height, kernel width]; padding: top, bottom, left, right;
    negative where the map is cropped, until the term is part of a node. lift: of the last node alone, its weights count
    2**lift times, as in `spec.Source.shift` (see `outputs.py`). up, held: of a node that copies into a larger map.
    """

    tensor: str
    weights: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    lift: int = 0
    up: tuple[int, int] = (1, 1)
    held: bool = False

    @property
    def pointwise(self) -> bool:
        """Whether every output place reads one place of the map (a 1x1 kernel, no padding)."""
        return self.weights.shape[2:] == (1, 1) and max(self.padding) <= 0 and self.up == (1, 1)

    @property
    def whole(self) -> bool:
        """Whether every output place reads the same place of the map, and that alone."""
        return self.pointwise and self.stride == (1, 1) and not any(self.padding)

    @property
    def light(self) -> bool:
        """Whether every output channel has one weight at most, as in a shortcut."""
        return int(np.count_nonzero(self.weights, axis=(1, 2, 3)).max()) <= 1

    @property
    def identity(self) -> bool:
        """Whether the term is the tensor itself."""
        matrix = self.weights[:, :, 0, 0]
        return self.whole and np.array_equal(matrix, np.eye(len(matrix)))

    def output_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result for a map of `height` x `width`."""
        return Source.output_shape(cast(Source, self), height, width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Staircase:
    """A quantised activation that came with the network: step * clip(round(x / step), low, groups).

    step: what one count is worth, float64 [channels]. rounding: as the network itself rounds, one of ROUNDINGS; our
    counts take halves up. "below" is down, also of whole counts: a spike where x > step, not where both are equal. low:
    at most 0.
    """

    step: np.ndarray
    groups: int
    rounding: str = "half even"
    low: int = 0

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """The values of sums [..., channels], in their own float type; noise does not keep a sum from a whole count."""
        step = self.step.astype(sums.dtype)
        counts = sums / step
        noise = 64 * np.finfo(sums.dtype).eps * max(self.groups, -self.low)
        if self.rounding == "floor":
            counts = counts + noise
        elif self.rounding == "below":  # sums of whole spikes often equal a threshold
            counts = counts - max(noise, 1e-9)
        return step * np.clip(ROUNDINGS[self.rounding](counts), self.low, self.groups)

    def same(self, other: Staircase | None) -> bool:
        """Whether both compute the same."""
        return (
            other is not None
            and (self.low, self.groups, self.rounding) == (other.low, other.groups, other.rounding)
            and np.array_equal(self.step, other.step)
        )


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half even": np.rint,
    "half up": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "below": lambda x: np.ceil(x) - 1,  # the whole number below x: a neuron fires where the sum exceeds its threshold
}
DOWN = ("floor", "below")  # those that no half is added for


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One layer of real numbers.

    bias: float64 [channels]. floor, ceiling: the activation is clip(x, floor, ceiling), None where it has no such end.
    curve: what bends the sum before that (LeakyReLU, ELU, tanh). staircase: the activation where its steps are given,
    instead of these. exact: the node copies its only source without rounding (a 1x1 kernel of ones), to pool it, or
    adds its places up (a larger kernel of ones), or copies several side by side. fires: False for the last node, which
    gives its sums. where: the user's source line, for messages.
    """

    name: str
    terms: tuple[Term, ...]
    bias: np.ndarray
    floor: float | None = 0.0
    ceiling: float | None = None
    curve: Curve | None = None
    staircase: Staircase | None = None
    pool: Pool | None = None
    exact: bool = False
    fires: bool = True
    where: str = ""

    @property
    def channels(self) -> int:
        return len(self.bias)

    @property
    def signed(self) -> bool:
        """Whether its activation gives values below 0; a node that copies has the sign of its source."""
        if self.staircase is not None:
            return self.staircase.low < 0
        return self.fires and not self.exact and (self.floor is None or self.floor < 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Nodes in execution order over one image tensor.

    shape: (C, H, W) of the image. pad: per image channel, the x (in the module's own scale) that padding of the image
    stands for: 0, or the mean where the module normalises its input. image: the codes of the pixels, where the network
    itself quantises its input. channels_last: the module takes [N, W, C], as nodes of a graph with their features.
    arrangement: how the host lays out images of another shape that the module takes.
    places: where the last node gives all places of its map as channels, how many there are. outputs: as in `SpikeNet`.
    notes: for the user.
    """

    shape: tuple[int, int, int]
    nodes: tuple[Node, ...]
    pad: tuple[float, ...] = ()
    image: Image | None = None
    channels_last: bool = False
    arrangement: Arrangement | None = None
    places: int = 1
    outputs: tuple[Output, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pad", tuple(self.pad) or (0.0,) * self.shape[0])

    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape (C, H, W) of every tensor, after its pool."""
        shapes = {INPUT: self.shape}
        for node in self.nodes:
            height, width = node.terms[0].output_shape(*shapes[node.terms[0].tensor][1:])
            if node.pool is not None:
                rows, columns = node.pool.windows(height, width)
                height, width = len(rows), len(columns)
            shapes[node.name] = (node.channels, height, width)
        return shapes

    @property
    def output(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the logits."""
        channels, height, width = self.shapes()[self.nodes[-1].name]
        return (channels // self.places, 1, self.places) if self.places > 1 else (channels, height, width)

    def users(self) -> dict[str, list[str]]:
        """For every tensor, the nodes that read it."""
        users: dict[str, list[str]] = {name: [] for name in (INPUT, *(node.name for node in self.nodes))}
        for node in self.nodes:
            for term in node.terms:
                users[term.tensor].append(node.name)
        return users

    def run(
        self,
        images: np.ndarray,
        dtype: type = np.float64,
        activation: Callable[[Node, np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Logits [N, classes] of images [N, C, H, W] in the module's own scale; `activation` may replace `activate`."""
        activation = activation or activate
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise OneSpikeError(
                f"Images must have the shape (N, {', '.join(map(str, self.shape))}), not {images.shape}."
            )
        last = {tensor: names[-1] for tensor, names in self.users().items() if names}

        def chunk(part: slice) -> np.ndarray:
            tensors: dict[str, np.ndarray] = {
                INPUT: np.ascontiguousarray(images[part].transpose(0, 2, 3, 1), dtype=dtype)
            }
            for node in self.nodes:
                value = self.sums(node, tensors)
                tensors[node.name] = activation(node, value) if node.fires else value
                for name in [name for name in tensors if last.get(name) == node.name]:
                    del tensors[name]
            return tensors[self.nodes[-1].name].transpose(0, 3, 1, 2).reshape(part.stop - part.start, -1)

        return np.concatenate(parallel.each(chunk, self.chunks(len(images))))

    def chunks(self, total: int) -> Iterator[slice]:
        """Slices of a batch of `total` images, small enough for the cache."""
        shapes = self.shapes()
        most = max(
            int(np.prod(term.weights.shape[1:])) * int(np.prod(term.output_shape(*shapes[term.tensor][1:])))
            for node in self.nodes
            for term in node.terms
        )
        size = max(1, CHUNK_BYTES // (8 * most))
        for start in range(0, max(total, 1), size):
            yield slice(start, min(start + size, total))

    def sums(self, node: Node, tensors: dict[str, np.ndarray]) -> np.ndarray:
        """bias + sum of W * tensor [n, H, W, C], before clip and pool."""
        total: np.ndarray | None = None
        for term in node.terms:
            tensor = tensors[term.tensor]
            matrix = term.weights.transpose(2, 3, 1, 0).reshape(-1, node.channels).astype(tensor.dtype)
            pad = np.array(self.pad, tensor.dtype) if term.tensor == INPUT else None
            part = golden.accumulate(tensor, cast(Source, term), matrix, pad)
            total = part if total is None else total + part
        assert total is not None
        return total + node.bias.astype(total.dtype)


def activate(node: Node, sums: np.ndarray) -> np.ndarray:
    """Clip or staircase, and pool, of [n, H, W, C]."""
    if node.staircase is not None:
        sums = node.staircase(sums)
    elif not node.exact:
        sums = clipped(node, sums)
    return golden.pool(sums, node.pool) if node.pool is not None else sums


def clipped(node: Node, sums: np.ndarray) -> np.ndarray:
    """The clip, and the curve before it, of [n, H, W, C]."""
    if node.curve is not None:
        sums = node.curve(sums)
    if node.floor is None and node.ceiling is None:
        return sums
    return np.clip(sums, node.floor, node.ceiling)


def tidy(graph: Graph) -> Graph:
    """The same graph with fewer nodes: a pool or a clip joins its producer where no one else reads that, and dead
    nodes go.
    """
    nodes = {node.name: node for node in graph.nodes}
    final = graph.nodes[-1].name
    for name in [node.name for node in graph.nodes]:
        node = nodes[name]
        term = node.terms[0]
        if name == final or len(node.terms) > 1 or not term.identity or node.bias.any() or term.tensor == INPUT:
            continue
        before = nodes[term.tensor]
        readers = sum(t.tensor == before.name for other in nodes.values() for t in other.terms)
        pools = [n.pool for n in (before, node) if n.pool is not None]
        # A ceiling moves in front of a maximum, but not in front of a sum.
        clip_moves = node.exact or before.pool is None or before.pool.kind == "max"
        if readers > 1 or len(pools) > 1 or not clip_moves or (before.exact and not node.exact):
            continue
        if before.staircase is not None and not node.exact:
            continue
        raw = before.floor is None and before.ceiling is None and before.curve is None
        if not node.exact and not raw and (node.curve is not None or before.floor != 0):
            continue  # a curve or a lower end behind another one
        inner = node if raw and not node.exact else before
        ceiling = min([n.ceiling for n in (before, node) if n.ceiling is not None], default=None)
        staircase = before.staircase
        if node.staircase is not None:
            if (staircase := _under(node.staircase, ceiling)) is None:
                continue
            if not raw:  # it climbs from 0, as what it reads does
                staircase = dataclasses.replace(staircase, low=0)
            ceiling = None
        pool = pools[0] if pools else None
        joined = dataclasses.replace(
            before, pool=pool, floor=inner.floor, curve=inner.curve, ceiling=ceiling, staircase=staircase
        )
        nodes = {key: value for key, value in nodes.items() if key != name}
        nodes[before.name] = joined
        for key, other in nodes.items():
            terms = tuple(dataclasses.replace(t, tensor=before.name) if t.tensor == name else t for t in other.terms)
            nodes[key] = dataclasses.replace(other, terms=terms)
    needed = {final}
    for node in reversed(list(nodes.values())):
        if node.name in needed:
            needed |= {term.tensor for term in node.terms}
    return dataclasses.replace(graph, nodes=tuple(node for node in nodes.values() if node.name in needed))


def _under(staircase: Staircase, ceiling: float | None) -> Staircase | None:
    """The staircase of clip(x, 0, ceiling), or None where its channels would end at different counts."""
    if ceiling is None:
        return staircase
    # Steps such as 1/49 do not divide their ceiling to the last bit.
    tops = np.unique(ROUNDINGS[staircase.rounding](ceiling / staircase.step * (1 + 1e-12)))
    if len(tops) > 1 or tops[0] < 1:
        return None
    return dataclasses.replace(staircase, groups=min(staircase.groups, int(tops[0])))
