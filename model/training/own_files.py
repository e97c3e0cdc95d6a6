# SPDX-License-Identifier: Apache-2.0
"""Data of one's own in one file: `.npz` and `.npy` arrays, `.csv` tables of features.

| file | images | labels |
|---|---|---|
| `.npz` | the array called images, x, data, features, inputs, arr_0, or the only one | labels, y, targets, arr_1 |
| `.npz` with splits | x_train, train_images, test_data and so on; val is test where there is none | y_train .. |
| `.npy` | the array | none |
| `.csv`, `.tsv`, also with `.gz` | a row each, every column but the label's | the column label, class or target |

Tables are read by `own_tables.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import OneSpikeError
from ..system import bounded
from . import own_tables

IMAGES = ("images", "image", "x", "data", "features", "inputs", "arr_0")
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class", "arr_1")
SPLIT_WORDS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnFile:
    """images: numbers [N, ...] as they are in the file; labels: numbers [N, ...] or None; parted: whether it has
    splits."""

    images: np.ndarray
    labels: np.ndarray | None
    parted: bool = False


def suffix(source: str | Path) -> str:
    """How a source's name ends, if it is a file of one's own: ".npz", ".npy" or ".csv", else ""."""
    name = Path(source).name.lower().removesuffix(".gz")
    found = next((end for end in (".npz", ".npy", ".csv", ".tsv") if name.endswith(end)), "")
    return ".csv" if found == ".tsv" else found


def read(path: Path, split: str) -> OwnFile:
    """The images and labels of a split; OneSpikeError where the file is missing, damaged or says too little."""
    if suffix(path) == ".csv":
        images, labels = own_tables.read(path)
        return OwnFile(images=images, labels=labels)
    try:
        with bounded.opened(path) as (file, size):
            zipped = file.read(2) == b"PK"
            file.seek(0)
            if zipped:
                return _archive(path, bounded.Archive(file, size), split)
            return OwnFile(images=bounded.array(bounded.take(file, size)), labels=None)
    except bounded.Damaged as reason:
        raise OneSpikeError(f"Cannot read the images in {path}: {reason}; write the file again.") from None


def _archive(path: Path, archive: bounded.Archive, split: str) -> OwnFile:
    names = [name.removesuffix(".npy") for name in archive.names if name.endswith(".npy")]
    described = [_described(name) for name in names]
    parts = {part for part, _ in described if part}
    word = next((word for word in SPLIT_WORDS[split] if word in parts), "")
    if parts and not word and not any(part == "" and what == "images" for part, what in described):
        raise OneSpikeError(f"{path} has no images to {split} with, but {_listed(names)}.")
    found = {what: name for name, (part, what) in zip(names, described, strict=True) if part == word and what}
    if "images" not in found and len(names) == 1:
        found = {"images": names[0]}
    if "images" not in found:
        raise OneSpikeError(f"{path} must hold one array, or one called 'images', not {_listed(names)}.")
    labels = archive.array(found["labels"]) if "labels" in found else None
    return OwnFile(images=archive.array(found["images"]), labels=labels, parted=bool(word))


def _described(name: str) -> tuple[str, str]:
    """The split word of an array's name, or "", and "images", "labels" or ""."""
    words = name.lower().replace("-", "_").split("_")
    part = next((word for word in words if word in SPLIT_WORDS["train"] + SPLIT_WORDS["test"]), "")
    rest = "_".join(word for word in words if word != part)
    return part, "images" if rest in IMAGES else "labels" if rest in LABELS else ""


def _listed(names: list[str]) -> str:
    return bounded.shown(", ".join(names) or "none")
