# SPDX-License-Identifier: Apache-2.0
"""Contents: one name for equal work, by what goes into it; paths, times and places in memory are no part of it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOM = Path(__file__).parents[2]  # whose folders hold the code that works
ROOT_NAME = __name__.split(".")[0]
PROGRAMS = ("__main__", "__mp_main__")  # the latter as multiprocessing has it
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
        found.update(f"{home(value)}.{value.__qualname__};".encode())
    else:
        raise TypeError(f"{value!r} has no contents that name it: give numbers, texts, arrays or dataclasses.")


def home(function: Callable[..., Any]) -> str:
    """The module of a function, by the name that others know it by where it is the program that runs, or, in a process
    that works for it, the program that runs there.
    """
    if function.__module__ in PROGRAMS and (spec := sys.modules[function.__module__].__spec__) is not None:
        return spec.name
    return function.__module__


@functools.cache
def code(module: str) -> str:
    """SHA-256 of the code that a module works with (`modules`), of the data beside it, and of versions (`WORDS`)."""
    found = hashlib.sha256()
    files = modules(module)
    folders = {path.parent for path in files}
    data = (path for folder in folders for path in folder.rglob("*") if _is_data(path) and _home(path) == folder)
    for path in sorted({*files, *data}):
        name = path.relative_to(ROOM) if path.is_relative_to(ROOM) else path.name
        found.update(f"{name}\0".encode() + path.read_bytes())
    for name in WORDS:
        found.update(f"{name} {importlib.metadata.version(name)}\0".encode())
    return found.hexdigest()


def modules(module: str) -> set[Path]:
    """The files of a module, by dotted name, and of those of `CODE` that it imports or names in a string, wherever in
    it, and these in turn: what its functions may run."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        path = _path(name)
        if path is None and name == module:  # of a user of ours, who has it loaded
            path = _elsewhere(name)
        if path is not None:
            found[name] = path
            todo += _named(path, name if path.name == "__init__.py" else name.rpartition(".")[0])
    return set(found.values())


def _elsewhere(module: str) -> Path:
    """The file of a module that is not ours: a loaded one, or the program, which is loaded by another name."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is None and (spec := importlib.util.find_spec(module)) is not None:
        loaded = spec.origin
    return Path(loaded or "")


def _named(path: Path, within: str) -> Iterator[str]:
    """The dotted names in a file of a package that may be modules, and the packages that they lie in."""
    package = within.split(".")
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            before = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*before, *filter(None, [node.module])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value]  # a module that another process is told to run
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _path(module: str) -> Path | None:
    """The file of a module of `CODE`, by dotted name; None for others."""
    root, *parts = module.split(".")
    if root != ROOT_NAME or not parts or parts[0] not in CODE or not all(part.isidentifier() for part in parts):
        return None
    path = ROOM.joinpath(*parts)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".py", ".pyc", ".tmp")


def _home(path: Path) -> Path:
    """The package that a file lies in."""
    return next(folder for folder in path.parents if (folder / "__init__.py").is_file() or folder == ROOM)
