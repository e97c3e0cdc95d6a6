# SPDX-License-Identifier: Apache-2.0
"""Graphs whose nodes are to be classified: a synthetic one, and citation networks in files that the user has."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import OneSpikeError
from .data import Dataset

GRAPH = "graph"
NODES, CLASSES, FEATURES = 60, 4, 16  # of the synthetic graph
SIGNALS = {"train": 100, "test": 100}  # sets of features on it


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphData:
    """Sets of features on one graph.

    matrix: float64 [N, N], as `normalised` makes it; features: float32 [sets, N, F] in [0, 1]; labels: int64 [sets, N],
    -1 where a node's class is not to be learned or asked for.
    """

    name: str
    matrix: np.ndarray
    features: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        matrix = checked(self.matrix, f"The matrix of {self.name}")
        object.__setattr__(self, "matrix", matrix)
        if self.features.ndim != 3 or self.features.shape[1] != len(matrix):
            raise OneSpikeError(
                f"The features of {self.name} have the shape {self.features.shape}, but its matrix is for "
                f"{len(matrix)} nodes; give (sets, {len(matrix)}, features)."
            )
        if self.labels.shape != self.features.shape[:2]:
            raise OneSpikeError(
                f"The labels of {self.name} have the shape {self.labels.shape}; its features need "
                f"{self.features.shape[:2]}."
            )

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def part(self, nodes: int) -> GraphData:
        """The graph of the `nodes` nodes that are nearest to the one with the most edges, its rows as they are."""
        if not 1 < nodes <= len(self.matrix):
            raise OneSpikeError(f"{self.name} has {len(self.matrix)} nodes; a part has 2 to as many, not {nodes}.")
        linked = self.matrix != 0
        chosen = [int(linked.sum(1).argmax())]
        seen, at = set(chosen), 0
        while len(chosen) < nodes:
            if at == len(chosen):  # all neighbours are in: begin again elsewhere
                fresh = [next(node for node in range(len(linked)) if node not in seen)]
            else:
                fresh, at = [int(node) for node in np.flatnonzero(linked[chosen[at]]) if node not in seen], at + 1
            chosen += fresh
            seen |= set(fresh)
        kept = np.sort(chosen[:nodes])
        return dataclasses.replace(
            self, matrix=self.matrix[np.ix_(kept, kept)], features=self.features[:, kept], labels=self.labels[:, kept]
        )

    def images(self) -> Dataset:
        """The same as images (F, 1, N) with a label at every place."""
        maps = np.ascontiguousarray(self.features.transpose(0, 2, 1)[:, :, None])
        return Dataset(name=self.name, images=maps, labels=self.labels[:, None])


def checked(matrix: np.ndarray, what: str = "A graph's matrix") -> np.ndarray:
    """float64 [N, N]; OneSpikeError where it is not square or not finite."""
    try:
        matrix = np.asarray(matrix, np.float64)
    except (TypeError, ValueError):
        raise OneSpikeError(f"{what} must be one array of numbers.") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise OneSpikeError(f"{what} must be square, a row and a column for each node, not {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise OneSpikeError(f"{what} holds NaN or infinite values; a node without edges needs one to itself.")
    return matrix


def normalised(edges: np.ndarray, nodes: int) -> np.ndarray:
    """D**-1/2 (A + I) D**-1/2, float64 [nodes, nodes], of edges int [2, E] that lead both ways (Kipf and Welling)."""
    edges = np.asarray(edges)
    if edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu":
        raise OneSpikeError(f"Edges must be whole numbers of the shape (2, edges), not {edges.dtype} {edges.shape}.")
    if edges.size and (edges.min() < 0 or edges.max() >= nodes):
        raise OneSpikeError(f"Edges join nodes 0..{nodes - 1}, but these name {edges.min()} to {edges.max()}.")
    linked = np.eye(nodes)
    linked[edges[0], edges[1]] = linked[edges[1], edges[0]] = 1
    share = 1 / np.sqrt(linked.sum(1))
    return share[:, None] * linked * share


def synthetic(split: str = "train", nodes: int = NODES, seed: int = 0) -> GraphData:
    """A stochastic block model: nodes of a block are joined often, others seldom; edges and labels follow `seed`.

    Every set of features gives each block a class; a node's features are those of its class, under noise so strong
    that only the neighbours tell it.
    """
    if nodes < 2 * CLASSES:
        raise OneSpikeError(f"The synthetic graph needs at least {2 * CLASSES} nodes, not {nodes}.")
    rng = np.random.default_rng([seed, 14])
    block = np.arange(nodes) % CLASSES
    near, far = min(1.0, 6 * CLASSES / nodes), min(1.0, 1.2 / nodes)
    joined = np.triu(rng.random((nodes, nodes)) < np.where(block[:, None] == block, near, far), 1)
    means = rng.random((CLASSES, FEATURES)) < 0.5
    matrix = normalised(np.argwhere(joined).T, nodes)
    rng = np.random.default_rng([seed, 15 + list(SIGNALS).index(split)])
    classes = np.stack([rng.permutation(CLASSES) for _ in range(SIGNALS[split])])
    labels = classes[:, block]
    noisy = 0.3 + 0.4 * means[labels] + 0.5 * rng.standard_normal((*labels.shape, FEATURES))
    return GraphData(
        name=GRAPH, matrix=matrix, features=np.clip(noisy, 0, 1).astype(np.float32), labels=labels.astype(np.int64)
    )


def load_graph(source: str | Path, split: str = "train") -> GraphData:
    """A graph by name ("graph") or by folder: cora.content and cora.cites, or Planetoid's ind.cora.x, .tx and so on.

    FOLDER@N is the part of N nodes around the node with the most edges. Raises OneSpikeError for a missing or damaged
    source.
    """
    if split not in SIGNALS:
        raise OneSpikeError(f"The split must be one of {', '.join(SIGNALS)}, not {split!r}.")
    if str(source) == GRAPH:
        return synthetic(split)
    from . import graph_files

    text, _, count = str(source).rpartition("@")
    if text and count.isdecimal():
        return graph_files.read(Path(text), split).part(int(count))
    return graph_files.read(Path(source), split)


def is_graph(source: str | Path) -> bool:
    """Whether `load_graph` reads a source."""
    from . import graph_files

    text, _, count = str(source).rpartition("@")
    return str(source) == GRAPH or graph_files.stem(Path(text if text and count.isdecimal() else source)) is not None
