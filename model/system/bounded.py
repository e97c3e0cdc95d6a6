# SPDX-License-Identifier: Apache-2.0
"""Files of others: what they declare is compared with what they hold before any memory is taken for it.

A file may hold at most 64 times its own size in compressed contents (64 MiB are always allowed), and never more than
4 GiB. Every function raises `Damaged`, whose text is a reason that callers put into their own sentence.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from ..errors import OneSpikeError

MOST_BYTES = 4 << 30  # of a file, and of what it unfolds to
RATIO = 64  # of unfolded contents to the file: trained weights and pictures stay below 20
ALWAYS = 64 << 20  # bytes that even a tiny file may unfold to
STEP = 1 << 20  # bytes that are unfolded at a time
HEADER = 1 << 14  # bytes that hold any header of a .npy file that we read
NUMBERS = "biuf"  # NumPy's kinds that hold numbers
T = TypeVar("T")


class Damaged(Exception):
    """Why a file cannot be used, as the part of a sentence."""

    def __init__(self, reason: str):
        super().__init__(shown(reason))


def shown(text: str, most: int = 160) -> str:
    """A text out of a file, or about it, so that a terminal can show it: on one line, not long, nothing but letters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}..."


def sentence(text: str, word: int = 120, most: int = 500) -> str:
    """A sentence that quotes a file, so that a terminal can show it: long words and long quotations are cut."""
    found = "".join(letter if letter.isprintable() else "?" for letter in text)
    found = " ".join(part if len(part) <= word else f"{part[: word // 2]}..." for part in found.split(" "))
    return found if len(found) <= most else f"{found[: most - 4]} ..."


def allowance(size: int) -> int:
    """Bytes that a file of `size` bytes may unfold to."""
    return min(MOST_BYTES, max(ALWAYS, RATIO * size))


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The open file, which can be sought, and its size; OneSpikeError where it cannot be read at all."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                yield file, status.st_size
            elif stat.S_ISFIFO(status.st_mode):
                data = take(file, MOST_BYTES)
                yield io.BytesIO(data), len(data)
            else:
                raise OneSpikeError(f"Cannot read {path}: it is a device; name a file.")
    except OSError as error:
        if error.errno is None:  # of whatever reads the contents, not of the system
            raise
        raise OneSpikeError(f"Cannot read {path}: {error.strerror}.") from None


def read(path: Path) -> bytearray:
    """All bytes of a file."""
    with opened(path) as (file, size):
        return take(file, min(size, MOST_BYTES))


def kept(path: Path, build: Callable[[Any], T]) -> T | None:
    """What `build` makes of the JSON of a result that was kept; None where it is absent or damaged: made again."""
    try:
        return build(json.loads(read(path)))
    except (OneSpikeError, Damaged, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def take(stream: IO[bytes], most: int, *, more: bool = False) -> bytearray:
    """The rest of a stream, piece by piece, so that memory grows with what is really there; more: there may be more."""
    data = bytearray()
    try:
        while piece := stream.read(min(STEP, most + (not more) - len(data))):
            data += piece
            if len(data) > most:
                raise Damaged(f"it holds more than {most} bytes")
    except (EOFError, RuntimeError, ValueError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
        raise Damaged(f"it cannot be read to the end ({type(error).__name__}: {error})") from None
    return data


def unfolded(file: IO[bytes]) -> IO[bytes]:
    """The contents of a file that may be compressed with gzip, as a stream."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def text(path: Path) -> str:
    """The text of a file that may be compressed with gzip."""
    with opened(path) as (file, size):
        try:
            return take(unfolded(file), allowance(size)).decode()
        except UnicodeDecodeError:
            raise Damaged("it is no text") from None


def array(data: bytes | bytearray) -> np.ndarray:
    """The numbers of a `.npy` file, which must hold exactly what its header declares."""
    head = io.BytesIO(bytes(data[:HEADER]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote, and of odd literals in damaged ones
            version = np.lib.format.read_magic(head)
            parse = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, by_columns, dtype = parse(head)
    except Exception as error:  # a damaged header can fail in a dozen ways
        raise Damaged(f"its header is no header of a NumPy array ({type(error).__name__})") from None
    if dtype.kind not in NUMBERS:
        raise Damaged(f"it holds values of type {dtype}, not numbers")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise Damaged(f"it declares the shape {shape}")
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - head.tell():
        raise Damaged(f"it declares {count * dtype.itemsize:,} bytes, but holds {len(data) - head.tell():,}")
    try:
        values = np.frombuffer(data, dtype, offset=head.tell())
        return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)
    except ValueError as error:  # more dimensions, or longer ones, than NumPy has
        raise Damaged(f"it declares a shape that no array has ({error})") from None


class Archive:
    """A zip of stored and deflated members, `.npz` files among them; each is as long as it says.

    size: bytes of the file.
    """

    def __init__(self, file: IO[bytes], size: int):
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:  # a damaged directory can fail in a dozen ways
            raise Damaged(str(error).rstrip(".") or type(error).__name__) from None
        self._members = {info.filename: info for info in self._zip.infolist()}
        for info in self._members.values():
            if info.flag_bits & 1:
                raise Damaged(f"its member {info.filename!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Damaged(f"its member {info.filename!r} is compressed in another way than deflate")
        total = sum(info.file_size for info in self._members.values())
        if total > allowance(size):
            raise Damaged(f"{size:,} bytes declare {total:,}, more than the {allowance(size):,} that are read")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in their order."""
        return tuple(self._members)

    def read(self, name: str, most: int = MOST_BYTES) -> bytearray:
        """The contents of a member."""
        if name not in self._members:
            raise Damaged(f"it has no member {name!r}")
        info = self._members[name]
        if info.file_size > most:
            raise Damaged(f"its member {name!r} has {info.file_size:,} bytes, more than {most:,}")
        try:
            with self._zip.open(info) as member:
                data = take(member, info.file_size)
        except Damaged as reason:
            raise Damaged(f"its member {name!r}: {reason}") from None
        except Exception as error:  # a damaged local header can fail in a dozen ways
            raise Damaged(f"its member {name!r} cannot be read ({type(error).__name__}: {error})") from None
        if len(data) != info.file_size:
            raise Damaged(f"its member {name!r} has {len(data):,} bytes, not {info.file_size:,}")
        return data

    def array(self, name: str) -> np.ndarray:
        """The numbers of the member `name`.npy."""
        try:
            return array(self.read(f"{name}.npy"))
        except Damaged as reason:
            raise Damaged(f"{name}: {reason}") from None
