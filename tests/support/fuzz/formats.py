# SPDX-License-Identifier: Apache-2.0
"""Damage to what a file holds: members of archives, fields of messages, arrays, entries of tables."""

import ast
import gzip
import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from forged import digest

from .mutations import BYTES, JUNK, MOST, bytes_damaged, string_damaged, text_damaged, tree_damaged

SIDES = (0, 1, 2, 3, 7, 255, 65535, 2**31, 2**32, 2**62, 2**64, -1, 10**30)
DTYPES = ("|u1", "<i8", "<f4", ">f8", "|O", "<U9", "|V0", "|S3", "<c16", "|b1", "<M8[ns]", "<f2", "<u8", ",", "x" * 900)
VALUES = (0, -1, 1, 127, 255, 65536, -(2**31), 2**31, 2**62, -(2**63), 0.5, 1e-320, 1e30, 1e308, np.nan, np.inf)
Kind = Callable[[bytes, random.Random], bytes]


def json_damaged(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.03:
        return rng.choice((b"[" * 100_000, b'{"a":' * 100_000, b"", b"\xff\xfe", b'{"a": 1' + b"0" * 50_000 + b"}"))
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return bytes_damaged(data, rng)
    try:
        made = json.dumps(tree_damaged(tree, rng), separators=(",", ":"))
    except (ValueError, RecursionError):
        return text_damaged(data, rng)
    return made.encode(errors="replace")[:MOST]


def npy_damaged(data: bytes, rng: random.Random) -> bytes:
    """The header says another shape, order or type, or some numbers are others."""
    try:
        size = struct.unpack("<H", data[8:10])[0]
        head, body = ast.literal_eval(data[10 : 10 + size].decode("latin1")), data[10 + size :]
        shape = [int(side) for side in head["shape"]]
    except Exception:
        return bytes_damaged(data, rng)
    kind = rng.randrange(7)
    if kind < 2:
        try:
            array = np.frombuffer(body, head["descr"]).copy()
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array[rng.randrange(len(array))] = np.asarray(rng.choice(VALUES)).astype(array.dtype)
        except Exception:
            return bytes_damaged(data, rng)
        body = array.tobytes()
    elif kind == 2:
        head["descr"] = rng.choice(DTYPES)
        if rng.random() < 0.7:  # as many bytes as it says
            body = bytes(rng.choice((b"\0", b"\1", b"\xff"))) * min(MOST, _bytes(shape, head["descr"], len(body)))
    elif kind == 3 and shape:
        shape[rng.randrange(len(shape))] = rng.choice(SIDES)
        body = body[: _bytes(shape, head["descr"], len(body))] if rng.random() < 0.5 else body
    elif kind == 4:
        shape = rng.choice(([], [0], [1] * 70, shape[::-1], [*shape, 1], [1, *shape], shape[1:], [0, *shape]))
        body = b"" if 0 in shape else body
    elif kind == 5:
        head["fortran_order"] = rng.choice((True, 1, None, "x"))
    else:
        return bytes_damaged(data, rng)
    head["shape"] = tuple(shape)
    text = repr(head).encode("latin1", errors="replace").ljust(size - 1) + b"\n"
    return data[:8] + struct.pack("<H", min(len(text), 65535)) + text + body


def _bytes(shape: list[int], descr: str, otherwise: int) -> int:
    try:
        return max(0, int(np.prod([float(side) for side in shape])) * np.dtype(descr).itemsize)
    except Exception:
        return otherwise


def zip_damaged(data: bytes, rng: random.Random) -> bytes:
    """Members damaged after their kind, left out, doubled, exchanged, under other names; and the archive's bytes."""
    if rng.random() < 0.12:
        return bytes_damaged(data, rng)
    if rng.random() < 0.01:  # a bomb
        return zipped([*unzipped(data), ("x.npy", bytes(1 << 27))])
    members = unzipped(data)
    if not members:
        return bytes_damaged(data, rng)
    at = rng.randrange(len(members))
    name, content = members[at]
    kind = rng.randrange(12)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.append((name, rng.choice(members)[1]))
    elif kind == 2:
        members[at] = (string_damaged(name, rng).replace("\udc80", "\\"), content)
    elif kind == 3:
        members[at] = (name, rng.choice(members)[1])
    elif kind == 4:
        members[at] = (name, bytes(rng.choice((0, 1, 1 << 16, 1 << 20))))  # small when it is packed
    else:
        # The table of contents decides most: it is damaged as often as all others together.
        chosen = [i for i, (other, _) in enumerate(members) if other.endswith("json")]
        at = rng.choice(chosen) if chosen and rng.random() < 0.5 else at
        name, content = members[at]
        members[at] = (name, member_damaged(name)(content, rng))
    return zipped(members, zipfile.ZIP_DEFLATED if rng.random() < 0.8 else zipfile.ZIP_STORED)


def member_damaged(name: str) -> Kind:
    return json_damaged if name.endswith("json") else npy_damaged if name.endswith(".npy") else bytes_damaged


def unzipped(data: bytes) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, archive.read(info)) for info in archive.infolist() if info.file_size < 1 << 28]
    except Exception:
        return []


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
            for name, content in members:
                info = zipfile.ZipInfo(name or "x")
                info.compress_type = method
                archive.writestr(info, content)
    return buffer.getvalue()


def spike_damaged(data: bytes, rng: random.Random) -> bytes:
    """A zip, whose hash is most often right again: what lies behind that check is looked for."""
    made = zip_damaged(data, rng)
    if rng.random() < 0.1:
        return made
    members = dict(unzipped(made))
    try:
        contents = json.loads(members["manifest.json"])
        members["manifest.json"] = json.dumps(contents | {"hash": digest(contents, members)}).encode(errors="replace")
    except Exception:  # nothing that could have a hash is left
        return made
    return zipped(list(members.items()))


def gzip_damaged(inner: Kind) -> Kind:
    def damaged(data: bytes, rng: random.Random) -> bytes:
        try:
            content = gzip.decompress(data)
        except Exception:
            content = b""
        if not content or rng.random() < 0.3:
            return bytes_damaged(data, rng)
        return gzip.compress(inner(content, rng), 1, mtime=0)

    return damaged


def pickle_damaged(data: bytes, rng: random.Random) -> bytes:
    """Operations left out, doubled, exchanged; or bytes."""
    try:
        starts = [at for _, _, at in pickletools.genops(data)]
    except Exception:
        return bytes_damaged(data, rng)
    if len(starts) < 3 or rng.random() < 0.4:
        return bytes_damaged(data, rng)
    parts = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2))):
        one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        kind = rng.randrange(4)
        if kind == 0 and len(parts) > 2:
            del parts[one]
        elif kind == 1:
            parts.insert(other, parts[one])
        elif kind == 2:
            parts[one], parts[other] = parts[other], parts[one]
        else:
            word = rng.choice((b"N", b"}", b"]", b")", b"K\0", b"J\xff\xff\xff\x7f", b"I-1\n", b"cos\nsystem\n", b"R"))
            parts[one] = word
    return b"".join(parts)


def protobuf_damaged(message: type) -> Kind:
    """Fields of messages left out, doubled, exchanged, other values in them."""

    def damaged(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.1:
            return bytes_damaged(data, rng)
        made: Any = message()
        try:
            made.ParseFromString(data)
        except Exception:
            return bytes_damaged(data, rng)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            found: list[tuple[Any, Any]] = []
            _fields(made, found)
            if found:
                _spoil(*rng.choice(found), found, rng)
        try:
            return bytes(made.SerializeToString())
        except Exception:
            return bytes_damaged(data, rng)

    return damaged


def _fields(message: Any, found: list[tuple[Any, Any]]) -> None:
    for field, value in message.ListFields():
        found.append((message, field))
        if field.message_type is not None:
            for part in value if _many(message, field) else (value,):
                _fields(part, found)


def _many(message: Any, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "__len__") and not isinstance(
        getattr(message, field.name), str | bytes
    )


def _spoil(message: Any, field: Any, found: list[tuple[Any, Any]], rng: random.Random) -> None:
    value, nested = getattr(message, field.name), field.message_type is not None
    if rng.random() < 0.15:
        message.ClearField(field.name)
        return
    if not _many(message, field):
        if nested:
            same = [getattr(m, f.name) for m, f in found if f.message_type is field.message_type and not _many(m, f)]
            value.CopyFrom(rng.choice(same))
        else:
            _put(lambda new: setattr(message, field.name, new), value, rng)
        return
    if not len(value):
        return
    at, other = rng.randrange(len(value)), rng.randrange(len(value))
    kind = rng.randrange(4)
    if kind == 0:
        del value[at]
    elif nested:
        copy = type(value[at])()
        copy.CopyFrom(value[other])
        if kind == 1:
            value.append(copy)
        else:
            value[at].CopyFrom(copy)
    elif kind == 1:
        value.append(value[at])
    else:
        _put(lambda new: value.__setitem__(at, new), value[at], rng)


def _put(put: Callable[[Any], None], old: Any, rng: random.Random) -> None:
    """A value of the same type; what the field cannot hold is tried and left."""
    for _ in range(4):
        if isinstance(old, bytes):
            new: Any = bytes_damaged(old, rng)
        elif isinstance(old, str):
            new = string_damaged(old, rng)
        elif isinstance(old, float):
            new = float(rng.choice(VALUES))
        else:
            new = rng.choice((*BYTES, *(junk for junk in JUNK if type(junk) is int), old + 1, old - 1))
        try:
            put(new)
        except (ValueError, TypeError, OverflowError, UnicodeError):
            continue
        return


def hdf5_damaged(data: bytes, rng: random.Random) -> bytes:
    """Groups and data sets left out, under other names, of other types and shapes; or bytes."""
    import h5py

    if rng.random() < 0.25:
        return bytes_damaged(data, rng)
    buffer = io.BytesIO(data)
    try:
        with h5py.File(buffer, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            for _ in range(rng.choice((1, 1, 2))):
                _spoil_hdf5(file, rng.choice(names), names, rng)
    except Exception:  # damaged before
        return bytes_damaged(data, rng)
    return buffer.getvalue()


def _spoil_hdf5(file: Any, name: str, names: list[str], rng: random.Random) -> None:
    import h5py

    if name not in file:
        return
    item, kind = file[name], rng.randrange(8)
    if kind == 0:
        del file[name]
    elif kind == 1:
        file.move(name, name + rng.choice(("x", "/x", "2", "ä")))
    elif kind == 2:
        other = rng.choice(names)
        if other in file and not name.startswith(other) and not other.startswith(name):
            del file[name]
            file.copy(other, name)
    elif kind == 3:
        del file[name]
        file[name] = h5py.SoftLink(rng.choice(("/", "/nowhere", "/node", "/" + name)))
    elif isinstance(item, h5py.Dataset):
        old = item[()]
        choices = [b"", b"IF", b"Affine", b"\xff", "ä\n", -1, 0, 2**40, np.nan, np.inf, 1e30, [], [1], [[1, 2]], None,
                   np.zeros((3, 0)), np.full((2, 3), -1), np.ones(4, complex), np.array([b"a", b"b"]), old]  # fmt: skip
        if isinstance(old, np.ndarray) and old.size:
            other = old.copy()
            if other.dtype.kind in "iuf":
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    other.reshape(-1)[rng.randrange(other.size)] = np.asarray(rng.choice(VALUES)).astype(other.dtype)
            choices += [other] * 8 + [old.reshape(-1), old[None], old.T, old[:1], old[..., :-1]]
            if old.dtype.kind in "iuf":
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    choices += [old.astype(kind) for kind in ("f8", "i1", "f2", "?")]
        del file[name]
        new = rng.choice(choices)
        if new is None:
            file.create_dataset(name, dtype="f4")
        else:
            file[name] = new
