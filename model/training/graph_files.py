# SPDX-License-Identifier: Apache-2.0
"""Citation networks from files that the user has: `NAME.content` with `NAME.cites`, or Planetoid's `ind.NAME.*`.

Planetoid's files are pickles. They are read by an unpickler that knows no class but those below, all of them ours:
nothing in a file is ever called, and what it declares is compared with what it holds.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..system import bounded
from .graphs import GraphData, normalised

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")
TRAINED, TESTED = 20, 1000  # nodes of each class that train, and nodes that test, where files do not say
MOST_NODES = 1 << 12  # their square is held in memory
MOST_VALUES = 1 << 27  # features of all nodes


def stem(folder: Path) -> str | None:
    """`cora` of `cora.content` or of `ind.cora.x` in a folder, or None."""
    if not folder.is_dir():
        return None
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        if name.endswith(".content"):
            return name.removesuffix(".content")
        if name.startswith("ind.") and name.endswith(".allx"):
            return name.removeprefix("ind.").removesuffix(".allx")
    return None


def read(folder: Path, split: str) -> GraphData:
    """The graph in a folder; labels of nodes that are not of `split` are -1."""
    name = stem(folder)
    if name is None:
        raise OneSpikeError(
            f"There is no graph {str(folder)!r}: give 'graph', or a folder of cora.content and cora.cites, or of "
            f"Planetoid's ind.cora.x, .tx, .allx, .y, .ty, .ally, .graph and .test.index."
        )
    path = folder / f"{name}.content"
    try:
        features, labels, edges, chosen = _content(folder, name, split) if path.is_file() else _planetoid(
            folder, name, split
        )
    except bounded.Damaged as reason:
        raise OneSpikeError(f"The graph in {folder} is damaged: {reason}; download it again.") from None
    asked = np.full(len(labels), -1)
    asked[chosen] = labels[chosen]
    features = features.astype(np.float32)
    if not np.isfinite(features).all() or features.min() < 0:
        raise OneSpikeError(f"The graph in {folder} is damaged: it has features below 0 or NaN; download it again.")
    features /= max(1.0, float(features.max()))
    return GraphData(
        name=name, matrix=normalised(edges, len(labels)), features=features[None], labels=asked[None].astype(np.int64)
    )


def _content(folder: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, edges and the nodes of a split, of lines `paper word .. word class` and `cited citing`."""
    rows = [line.split() for line in bounded.text(folder / f"{name}.content").splitlines() if line.strip()]
    if not rows or len(rows[0]) < 3 or any(len(row) != len(rows[0]) for row in rows):
        raise bounded.Damaged(f"{name}.content must have the same number of words, three or more, in every line")
    _sizes(len(rows), len(rows[0]) - 2)
    try:
        features = np.array([row[1:-1] for row in rows]).astype(np.float32)
    except ValueError:
        raise bounded.Damaged(f"{name}.content has a feature that is no number") from None
    number = {row[0]: index for index, row in enumerate(rows)}
    classes = sorted({row[-1] for row in rows})
    labels = np.array([classes.index(row[-1]) for row in rows])
    pairs = [line.split() for line in bounded.text(folder / f"{name}.cites").splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise bounded.Damaged(f"{name}.cites must have two papers in every line")
    # CiteSeer cites papers that it does not hold.
    edges = np.array([[number[paper] for paper in pair] for pair in pairs if set(pair) <= number.keys()], np.int64)
    order = np.random.default_rng(14).permutation(len(labels))  # the split never changes
    trained = np.concatenate([order[labels[order] == label][:TRAINED] for label in range(len(classes))])
    rest = order[~np.isin(order, trained)]
    return features, labels, edges.reshape(-1, 2).T, trained if split == "train" else rest[:TESTED]


def _planetoid(folder: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same of Planetoid's files: allx and ally are the first nodes, tx and ty those that test.index names."""
    found = {part: unpickled(folder / f"ind.{name}.{part}") for part in PARTS}
    try:
        test = np.array(bounded.text(folder / f"ind.{name}.test.index").split(), np.int64)
    except (ValueError, OverflowError):
        raise bounded.Damaged(f"ind.{name}.test.index holds something else than numbers") from None
    tables = {part: _table(found[part], part) for part in PARTS[:-1]}
    trained, known = len(tables["y"]), len(tables["allx"])
    if not test.size or test.min() < known or len(test) != len(tables["tx"]) or len(np.unique(test)) != len(test):
        raise bounded.Damaged(f"test.index does not name each row of tx once, behind the {known} of allx")
    nodes = int(test.max()) + 1
    _sizes(nodes, tables["allx"].shape[1])
    same = all(tables[one].shape[1] == tables[other].shape[1] for one, other in (("allx", "tx"), ("ally", "ty")))
    if not same or len(tables["ally"]) != known or len(tables["ty"]) != len(test) or trained > known:
        raise bounded.Damaged("its parts tx, allx, y, ty and ally do not fit together")
    features = np.zeros((nodes, tables["allx"].shape[1]), np.float32)
    labels = np.zeros((nodes, tables["ally"].shape[1]))
    features[:known], features[test] = tables["allx"], tables["tx"]
    labels[:known], labels[test] = tables["ally"], tables["ty"]
    graph = found["graph"]
    if not isinstance(graph, dict) or not all(isinstance(ends, list) for ends in graph.values()):
        raise bounded.Damaged("its graph is no table of neighbours")
    edges = [(start, end) for start, ends in graph.items() for end in ends]
    if not all(type(node) is int and 0 <= node < nodes for edge in edges for node in edge):
        raise bounded.Damaged(f"its graph names something else than the nodes 0..{nodes - 1}")
    chosen = np.arange(trained) if split == "train" else np.sort(test)
    return features, labels.argmax(1), np.array(edges, np.int64).reshape(-1, 2).T, chosen


def _sizes(nodes: int, features: int) -> None:
    if nodes > MOST_NODES or nodes * features > MOST_VALUES:
        raise bounded.Damaged(
            f"it has {nodes:,} nodes with {features:,} features; up to {MOST_NODES:,} nodes and {MOST_VALUES:,} "
            f"features in all are read"
        )


class _Dtype:
    """A type of numbers, as a pickle names it."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in (">", "<") else "<"

    def found(self) -> np.dtype:
        if not isinstance(self.code, str) or self.code not in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise bounded.Damaged("an array holds something else than numbers")
        return np.dtype(self.order + self.code)


class _Array:
    """An array whose bytes are in the file."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_columns, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise bounded.Damaged("an array is not what NumPy writes")
        kind = dtype.found()
        if not all(type(side) is int and side >= 0 for side in shape) or math.prod(shape) * kind.itemsize != len(data):
            raise bounded.Damaged(f"an array declares the shape {shape} for {len(data):,} bytes")
        self.values = np.frombuffer(data, kind).reshape(shape, order="F" if by_columns else "C")


class _Sparse:
    """A matrix of compressed rows: its attributes data, indices, indptr and _shape."""


def _table(made: Any, what: str) -> np.ndarray:
    """A pickled array or matrix of compressed rows as a plain array [rows, columns]."""
    if isinstance(made, _Sparse):
        parts = [vars(made).get(key) for key in ("data", "indices", "indptr")]
        shape = vars(made).get("_shape", vars(made).get("shape"))
        if not all(isinstance(part, _Array) and hasattr(part, "values") and part.values.ndim == 1 for part in parts):
            raise bounded.Damaged(f"{what} is no matrix of compressed rows")
        data, columns, starts = (part.values for part in parts)  # type: ignore[union-attr]
        whole = isinstance(shape, tuple) and len(shape) == 2 and all(type(side) is int and side > 0 for side in shape)
        rows, width = shape if whole and shape is not None else (0, 0)
        if not rows or rows * width > MOST_VALUES or len(starts) != rows + 1:
            raise bounded.Damaged(f"{what} declares the shape {shape} for {len(starts) - 1} rows")
        if len(data) != len(columns) or starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
            raise bounded.Damaged(f"{what} has rows that do not follow one another")
        if len(columns) and (columns.min() < 0 or columns.max() >= width):
            raise bounded.Damaged(f"{what} names columns beyond its {width}")
        table = np.zeros((rows, width), np.float32)
        table[np.repeat(np.arange(rows), np.diff(starts)), columns] = data
        return table
    if not isinstance(made, _Array) or not hasattr(made, "values") or made.values.ndim != 2 or not made.values.size:
        raise bounded.Damaged(f"{what} is no matrix")
    return made.values


KNOWN: dict[str, Callable[..., Any]] = {
    "ndarray": _Array, "dtype": _Dtype, "_reconstruct": lambda *_: _Array(), "csr_matrix": _Sparse,
    "_reconstructor": lambda *_: _Sparse(), "defaultdict": lambda *_: {}, "list": lambda *_: [], "object": _Sparse,
    "encode": lambda text, *_: text.encode("latin1") if isinstance(text, str) else b"",
}  # fmt: skip


def _no_bytearray(self: Any) -> None:
    """Pickle takes the memory that it declares before it reads any of it; no array is written so."""
    raise bounded.Damaged("it holds a byte array, which no such file does")


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]  # the one in C takes memory for any number of memos
    dispatch = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _no_bytearray}  # type: ignore[attr-defined]  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        if name not in KNOWN or module.partition(".")[0] not in (
            "numpy", "scipy", "collections", "copy_reg", "copyreg", "_codecs", "__builtin__", "builtins",
        ):  # fmt: skip
            raise bounded.Damaged(f"it asks for {module}.{name}, which no such file holds")
        return KNOWN[name]


def unpickled(path: Path) -> Any:
    """What a pickle of arrays, lists and dictionaries holds; `bounded.Damaged` for anything else."""
    data = bounded.read(path)
    try:
        return _Unpickler(io.BytesIO(bytes(data)), encoding="latin1").load()
    except bounded.Damaged as reason:
        raise bounded.Damaged(f"{path.name}: {reason}") from None
    except Exception as error:  # a damaged pickle can fail in a dozen ways
        raise bounded.Damaged(f"{path.name} is no pickle ({type(error).__name__})") from None
