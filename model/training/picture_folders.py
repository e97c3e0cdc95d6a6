# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures: a sub-folder for each class, whose sorted names are the classes 0, 1, 2 and so on.

    FOLDER/cat/1.png, FOLDER/dog/7.jpg                  one set
    FOLDER/train/cat/1.png, FOLDER/test/cat/2.png       a set for each split; also val, valid, validation for test
    FOLDER/1.png, FOLDER/2.png                          images without labels

The first picture of every class comes first, then the second of every class, so that the first N show all classes.
Files of other kinds and those whose names begin with a dot are passed over; only pictures that are asked for are read.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..errors import OneSpikeError
from . import pictures
from .pictures import Shape

PARTS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}  # names of sub-folders, best first
MOST_BYTES = 4 << 30  # of the images as float32


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """paths of pictures, in their order; labels of as many, or none of any; parted: whether it has splits; classes:
    their names, if there are labels."""

    name: str
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    parted: bool
    classes: tuple[str, ...] = ()

    def images(self, shape: Shape | None, most: int | None) -> np.ndarray:
        """float32 [N, C, H, W], 0 (black) to 1 (white), of the first `most` pictures; C and size as in `shape`, or as
        the pictures have them."""
        if importlib.util.find_spec("PIL") is None:
            raise OneSpikeError(f"The pictures in {self.name} need Pillow; run `pip install onespike[host]`.")
        paths = self.paths[:most]
        by = "the network takes"
        if shape is None or shape[1:] == (1, 1) or shape[0] not in (1, 3):
            heads = [pictures.header(path) for path in paths]
            shape, by = (max(head[0] for head in heads), *heads[0][1:]), f"{paths[0].name} is one of"
        check_size(self.name, (len(paths), *shape))
        found = np.empty((len(paths), *shape), np.float32)
        for place, path in enumerate(paths):
            values = pictures.read_picture(path, shape, by)[0]
            found[place] = values / np.float32(pictures.TOPS[values.dtype])
        return found


def check_size(name: str, shape: tuple[int, ...]) -> None:
    """OneSpikeError where images (N, ...) are more than are held in memory."""
    size = 4 * math.prod(shape)
    if size > MOST_BYTES:
        raise OneSpikeError(
            f"The {shape[0]} images of {name} take {size / 2**30:.1f} GiB of memory, more than {MOST_BYTES / 2**30:g}; "
            f"take fewer, with --images, --calibration-images or --limit."
        )


def is_picture_folder(folder: Path) -> bool:
    """Whether a folder, or one of its sub-folders (those of a split included), directly holds a picture."""
    inside = [folder, *_folders(folder)]
    inside += [deeper for part in inside[1:] if part.name.lower() in _words() for deeper in _folders(part)]
    return any(_is_picture(path) for place in inside for path in place.iterdir())


def read(folder: Path, split: str) -> PictureFolder:
    """The pictures of a split, none of which has been opened; OneSpikeError where classes cannot be told."""
    parts = _folders(folder)
    parted = bool(parts) and all(part.name.lower() in _words() for part in parts)
    name, every = folder.name, parts
    if parted:
        given = {part.name.lower(): part for part in parts}
        chosen = next((given[word] for word in PARTS[split] if word in given), None)
        if chosen is None:
            raise OneSpikeError(
                f"The data folder {folder} has no sub-folder {PARTS[split][0]!r}, but {_listed(parts)}; give the "
                f"folder of the pictures that are meant, such as {parts[0]}."
            )
        every = [deeper for part in parts for deeper in _folders(part)]  # a class may lack pictures in one split
        folder, parts = chosen, _folders(chosen)
    loose = _pictures(folder)
    if loose and parts:
        raise OneSpikeError(
            f"The data folder {folder} has pictures beside the sub-folders {_listed(parts)}; move them into the "
            f"sub-folder of their class."
        )
    if not parts:
        if not loose:
            raise OneSpikeError(f"The data folder {folder} holds no pictures.")
        return PictureFolder(name=name, paths=tuple(loose), labels=(), parted=parted)
    classes = sorted({part.name for part in every})
    if len(classes) == 1:
        raise OneSpikeError(
            f"The data folder {folder} has one class only, {classes[0]!r}; give a folder with a sub-folder for each "
            f"class, or {parts[0]} for its pictures without labels."
        )
    of_class = {part.name: _pictures(part) for part in parts}
    for part in parts:
        if not of_class[part.name]:
            raise OneSpikeError(
                f"The class folder {part} holds no pictures ({', '.join(s[1:] for s in pictures.SUFFIXES)}); fill it "
                f"or remove it."
            )
    columns = [[(path, classes.index(name)) for path in of_class[name]] for name in sorted(of_class)]
    dealt = [item for row in zip_longest(*columns) for item in row if item is not None]
    return PictureFolder(
        name=name, paths=tuple(path for path, _ in dealt), labels=tuple(label for _, label in dealt), parted=parted,
        classes=tuple(classes),
    )  # fmt: skip


def _words() -> set[str]:
    return {word for words in PARTS.values() for word in words}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in pictures.SUFFIXES and not path.name.startswith(".") and path.is_file()


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_picture(path))


def _listed(folders: list[Path], most: int = 5) -> str:
    names = [repr(folder.name) for folder in folders]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
