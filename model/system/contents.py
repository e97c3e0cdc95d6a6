# SPDX-License-Identifier: Apache-2.0
"""Contents: one name for equal work, by what goes into it; paths, times and places in memory are no part of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOM = Path(__file__).parents[2]  # whose folders hold the code that works
CODE = ("model", "hw", "sim", "fpga")
WORDS = ("amaranth", "numpy")  # packages that results depend on, beside our own code


def digest(*values: Any) -> str:
    """SHA-256 of values: numbers, texts, bytes, arrays, functions, dataclasses, and what holds these.

    A value with a `hash` of its own (a network) is known by it. TypeError for anything else, paths among them: what
    lies behind a path may change.
    """
    found = hashlib.sha256()
    for value in values:
        _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    kind = type(value).__name__
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(own := getattr(value, "hash", None), str):
        found.update(f"{kind}:{own};".encode())
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        data = value if isinstance(value, bytes) else repr(value).encode()
        found.update(f"{type(value).__name__}{len(data)}:".encode() + data)
    elif isinstance(value, np.ndarray):
        found.update(f"array{value.dtype.str}{value.shape}:".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        found.update(f"list{len(value)}:".encode())
        for item in value:
            _add(found, item)
    elif isinstance(value, Mapping):
        found.update(f"map{len(value)}:".encode())
        for key in sorted(value, key=str):
            _add(found, [key, value[key]])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found.update(f"{kind}:".encode())
        for field in dataclasses.fields(value):
            _add(found, [field.name, getattr(value, field.name)])
    elif callable(value) and "<" not in value.__qualname__:  # no lambda, nothing inside a function
        found.update(f"{value.__module__}.{value.__qualname__};".encode())
    else:
        raise TypeError(f"{value!r} has no contents that name it: give numbers, texts, arrays or dataclasses.")


@functools.cache
def code() -> str:
    """SHA-256 of the code that works, and the versions that it depends on."""
    found = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOM / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".pyc", ".tmp"):
                found.update(f"{path.relative_to(ROOM).as_posix()}\0".encode() + path.read_bytes())
    for name in WORDS:
        found.update(f"{name} {importlib.metadata.version(name)}\0".encode())
    return found.hexdigest()
