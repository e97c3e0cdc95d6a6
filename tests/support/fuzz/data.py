# SPDX-License-Identifier: Apache-2.0
"""Readers of images, labels and graphs."""

import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from cited import content, planetoid
from idx_files import idx
from onespike.model.network.spec import Image
from onespike.model.training.data import load, load_images
from onespike.model.training.graphs import load_graph
from onespike.model.training.networks import load_npz
from onespike.pictures import load_codes

from .formats import gzip_damaged, npy_damaged, pickle_damaged, zip_damaged
from .mutations import Step, bytes_damaged, text_damaged
from .reader import Make, Reader, saved

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 6, 6), np.uint8)
GREY = Image(shape=(1, 6, 6))
PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph")  # of Planetoid's files


def idx_folder(folder: Path, end: str = "", what: str = "images-idx3") -> Path:
    for name, array in (("images-idx3", PIXELS), ("labels-idx1", np.arange(2))):
        made = idx(array)
        (folder / f"t10k-{name}-ubyte{end}").write_bytes(gzip.compress(made, mtime=0) if end else made)
    return folder / f"t10k-{what}-ubyte{end}"


def cifar(folder: Path) -> Path:
    (folder / "test_batch.bin").write_bytes(np.random.default_rng(1).integers(0, 10, 3073, np.uint8).tobytes())
    return folder / "test_batch.bin"


def picture(array: np.ndarray, **options: Any) -> Callable[[Path], None]:
    return lambda path: Picture.fromarray(array).save(path, **options)


def table(path: Path) -> None:
    text = b"a,b,class\n1,2.5,cat\n-3,4,dog\n5e2,6,cat\n"
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def in_classes(folder: Path) -> Path:
    for name in ("dog", "cat"):
        (folder / name).mkdir(exist_ok=True)
        Picture.fromarray(PIXELS[0]).save(folder / name / "1.jpg")
    return folder / "cat" / "1.jpg"


def citations(folder: Path, name: str) -> Path:
    content(folder)
    return folder / f"cora.{name}"


def citation_part(folder: Path, name: str, protocol: int = 2) -> Path:
    planetoid(folder, protocol)
    return folder / f"ind.cora.{name}"


def weights(folder: Path) -> Path:
    import torch

    from onespike.model.training.networks import build

    torch.manual_seed(0)
    state = {key: value.numpy() for key, value in build("mlp64", 0).state_dict().items()}
    np.savez(folder / "w.npz", **state)  # type: ignore[arg-type]
    return folder / "w.npz"


def split(path: Path) -> Any:
    return load(path, "test", (1, 6, 6)).images


def of_folder(path: Path) -> Any:
    return load(path.parent, "test").images


def of_classes(path: Path) -> Any:
    return load(path.parent.parent).images


def codes(path: Path) -> Any:
    return load_codes(path, GREY)


def graph(path: Path) -> Any:
    return load_graph(path.parent).features


_PICTURES = {
    "png": picture(PIXELS[0]), "16-bit.png": picture(PIXELS[0] * np.uint16(257)), "bmp": picture(PIXELS[0]),
    "float.tif": picture(PIXELS[0] / np.float32(255)), "gif": picture(PIXELS[0]), "ppm": picture(PIXELS[0]),
    "webp": picture(PIXELS[0], lossless=True),
    "palette.png": lambda path: Picture.fromarray(PIXELS[0]).convert("P").save(path),
}  # fmt: skip
_FILES: list[tuple[str, str, Callable[[Path], Any], Callable[[Path], Any], Step]] = [
    ("npy", "a.npy", lambda path: np.save(path, PIXELS), load_images, npy_damaged),
    ("npy of shares", "b.npy", lambda path: np.save(path, PIXELS[:, None] / np.float32(255)), codes, npy_damaged),
    ("npz", "a.npz", lambda path: np.savez(path, images=PIXELS), load_images, zip_damaged),
    ("deflated npz", "b.npz", lambda path: np.savez_compressed(path, PIXELS), load_images, zip_damaged),
    ("labelled npz", "c.npz", lambda path: np.savez(path, x_test=PIXELS, y_test=np.arange(2)), split, zip_damaged),
    ("csv", "a.csv", table, lambda path: load(path).images, text_damaged),
    ("csv.gz", "a.csv.gz", table, lambda path: load(path).images, gzip_damaged(text_damaged)),
]
_FOLDERS: list[tuple[str, Make, Callable[[Path], Any], Step]] = [
    ("jpeg", in_classes, of_classes, bytes_damaged),
    ("idx", idx_folder, of_folder, bytes_damaged),
    ("idx labels", functools.partial(idx_folder, what="labels-idx1"), of_folder, bytes_damaged),
    ("idx.gz", functools.partial(idx_folder, end=".gz"), of_folder, gzip_damaged(bytes_damaged)),
    ("cifar", cifar, of_folder, bytes_damaged),
    ("cites", functools.partial(citations, name="cites"), graph, text_damaged),
    ("content", functools.partial(citations, name="content"), graph, text_damaged),
    ("test.index", functools.partial(citation_part, name="test.index"), graph, text_damaged),
    ("weights npz", weights, functools.partial(load_npz, "mlp64"), zip_damaged),
]
READERS = [
    *(Reader(name=name, make=saved(file, write), read=read, damage=damage)
      for name, file, write, read, damage in _FILES),
    *(Reader(name=name, make=saved(f"a.{name}", write), read=codes, damage=bytes_damaged)
      for name, write in _PICTURES.items()),
    *(Reader(name=name, make=make, read=read, damage=damage) for name, make, read, damage in _FOLDERS),
    *(Reader(name=f"ind.{part}", make=functools.partial(citation_part, name=part), read=graph, damage=pickle_damaged,
             more=(functools.partial(citation_part, name=part, protocol=0),), inputs=15) for part in PARTS),
]  # fmt: skip
