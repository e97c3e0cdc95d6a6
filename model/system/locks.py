# SPDX-License-Identifier: Apache-2.0
"""Locks between runs. The system holds them for a process, and frees them however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import OneSpikeError
from .files import cannot_write, make_folder

try:
    import fcntl
except ImportError:  # Windows: runs side by side are on their own
    fcntl = None  # type: ignore[assignment]

NAME = ".onespike.lock"


@contextlib.contextmanager
def owned(folder: str | Path) -> Iterator[Path]:
    """The folder, made if it is missing, for this run alone; OneSpikeError where another run has it already.

    For folders whose files belong to one run. The lock's file is gone afterwards, and so is a new folder that has
    stayed empty.
    """
    folder = Path(folder)
    try:
        fresh = not folder.exists()
    except OSError as error:
        raise cannot_write(folder, error) from None
    make_folder(folder)
    try:
        with reserved(folder / NAME, f"The folder {folder}", "choose another output folder (-o)"):
            yield folder
    finally:
        if fresh:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def reserved(path: Path, what: str, way_out: str) -> Iterator[bool]:
    """Hold the lock of a file, which is removed afterwards; OneSpikeError where another run holds it.

    Yields whether a run was cut off before it could remove the file.
    """
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise cannot_write(path, error) from None
        with file:
            try:
                _lock(file.fileno(), wait=False)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip()
                who = f"process {holder}" if holder else "another run"
                raise OneSpikeError(f"{what} is in use by {who}: wait until it ends, or {way_out}.") from None
            if not _still(path, file.fileno()):
                continue  # the run before us has just removed it
            left = file.seek(0, os.SEEK_END) > 0
            try:
                _name_holder(path, file.fileno())
                yield left
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Wait for the lock of a file, which stays: for work whose result all runs share, so that one of them does it."""
    make_folder(path.parent)
    try:
        file = path.open("w")
    except OSError as error:
        raise cannot_write(path, error) from None
    with file:
        _lock(file.fileno(), wait=True)
        yield


def _name_holder(path: Path, number: int) -> None:
    """Into the lock's file goes the process that holds it; OneSpikeError where the disk is full."""
    try:
        os.ftruncate(number, 0)
        os.write(number, str(os.getpid()).encode())
    except OSError as error:
        raise cannot_write(path, error) from None


def _lock(number: int, *, wait: bool) -> None:
    """Until the file closes; BlockingIOError where another one has it. Some file systems know no locks: go without."""
    if fcntl is None:
        return
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass


def _still(path: Path, number: int) -> bool:
    """Whether the path leads to the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False
