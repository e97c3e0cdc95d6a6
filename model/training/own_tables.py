# SPDX-License-Identifier: Apache-2.0
"""Tables of features: `.csv` files, whose rows are the images.

Columns are parted by commas, semicolons or tabs. The label is the column called label, class or target; without a
header there is none. A label that is a name becomes the place of that name among all of the file, sorted. A first
column without a name, as pandas writes its index, is passed over. Where all feature columns are called pixel0, pixel1
.. or 1x1, 1x2 .., as MNIST is spread, they hold bytes, 0 (black) to 255 (white); others are what the network takes.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import OneSpikeError
from ..system import bounded

LABELS = ("label", "labels", "class", "target")
PIXEL = re.compile(r"(pixel|px)[ _]?\d+|\d+x\d+")
MOST_TEXT = 1 << 30  # bytes

Line = tuple[int, list[str]]  # number in the file, from 1, and its cells


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Features [N, F], float32 or uint8, and labels [N], int64 or float64, or None where no column holds them.

    Raises OneSpikeError for what is missing, ragged, empty or no number.
    """
    try:
        with bounded.opened(path) as (_, size):
            if size > MOST_TEXT:
                raise bounded.Damaged(f"{size / 2**30:.1f} GiB are too much for a table; write the numbers as .npz")
        lines = bounded.text(path).removeprefix("\ufeff").splitlines()
        mark = next((mark for mark in ",;\t" if lines and mark in lines[0]), ",")
        rows = enumerate(csv.reader(lines, delimiter=mark), 1)
        return _columns((number, row) for number, row in rows if any(row))
    except bounded.Damaged as reason:
        raise OneSpikeError(f"Cannot read the table {path}: {reason}.") from None
    except csv.Error as error:
        raise OneSpikeError(f"Cannot read the table {path}: it does not part its columns ({error}).") from None


def _columns(lines: Iterator[Line]) -> tuple[np.ndarray, np.ndarray | None]:
    first = next(lines, None)
    if first is None:
        raise bounded.Damaged("it is empty")
    header = None if all(_is_number(cell) for cell in first[1]) else [cell.strip() for cell in first[1]]
    columns = len(first[1])
    label = None if header is None else _label(header)
    index = header is not None and header[0] == ""
    kept = [place for place in range(index, columns) if place != label]
    if not kept:
        raise bounded.Damaged("it has no features")
    features: list[np.ndarray] = []
    labels: list[str] = []
    for number, row in lines if header is not None else itertools.chain([first], lines):
        if len(row) != columns:
            raise bounded.Damaged(f"line {number} has {len(row)} values, but the first line has {columns}")
        if label is not None:
            labels.append(row[label].strip())
            if not labels[-1]:
                raise bounded.Damaged(f"line {number} has no label")
        try:
            with np.errstate(over="ignore"):
                features.append(np.array([row[place] for place in kept], np.float32))
        except ValueError:
            raise _no_number(number, row, kept, header, label) from None
    if not features:
        raise bounded.Damaged("it has no rows below its header")
    values = np.stack(features)
    if header is not None and all(PIXEL.fullmatch(header[place].lower()) for place in kept):
        if not ((values >= 0) & (values <= 255) & (values == np.rint(values))).all():
            raise bounded.Damaged("its columns are pixels, which must be whole numbers of 0 (black) to 255 (white)")
        values = values.astype(np.uint8)
    return values, None if label is None else _classes(labels)


def _label(header: list[str]) -> int | None:
    """The column of the label."""
    found = [place for place, name in enumerate(header) if name.lower() in LABELS]
    if len(found) > 1:
        named = " and ".join(repr(header[place]) for place in found)
        raise bounded.Damaged(f"its columns {named} could both be the label; rename one of them")
    return found[0] if found else None


def _no_number(
    number: int, row: list[str], kept: list[int], header: list[str] | None, label: int | None
) -> bounded.Damaged:
    place = next((place for place in kept if not _is_number(row[place])), kept[0])
    column = f"column {header[place]!r}" if header is not None else f"column {place + 1}"
    hint = f"; call a column of labels {LABELS[0]!r}" if label is None else ""
    return bounded.Damaged(f"{row[place]!r} in line {number}, {column}, is no number{hint}")


def _classes(labels: list[str]) -> np.ndarray:
    """Labels as they are where all are numbers, otherwise their places among the sorted names."""
    if all(_is_number(label) for label in labels):
        return np.array(labels, np.float64)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
