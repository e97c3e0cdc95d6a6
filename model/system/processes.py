# SPDX-License-Identifier: Apache-2.0
"""Tools as processes that end with us: whatever ends this process, nothing that it started goes on.

Each tool runs in a process group of its own, under a guard (`guard.py`) that kills the group when we are gone.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GUARD = str(Path(__file__).with_name("guard.py"))
LOOK = 0.5  # seconds between two looks of a worker at its parent, or of us at whether a tool is to go on


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a tool left: its exit code (128 + the signal that ended it) and its text, errors apart where asked for."""

    code: int
    output: str
    errors: str


class Stopped(Exception):
    """A tool was stopped before its end, as whoever ran it had asked for."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    text: str | None = None,
    output: Any = subprocess.PIPE,
    errors: Any = subprocess.PIPE,
    stop: Callable[[], bool] | None = None,
) -> Finished:
    """Run a tool to its end; text: for its standard input. output, errors: as subprocess has them. stop: asked every
    LOOK seconds, whether the tool is to be stopped.

    Raises subprocess.TimeoutExpired after `timeout` seconds, and Stopped. By then, and on any other exception (an
    interrupt), the tool and all that it started are dead.
    """
    reading, held = os.pipe()  # held: only by us; every copy is closed when this process ends
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD, str(reading), *map(str, command)],
            cwd=cwd, env=env, pass_fds=(reading,), start_new_session=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE, stdout=output, stderr=errors,
        )  # fmt: skip
        os.close(reading)
        reading = -1
        with process:
            try:
                if stop is None:
                    found, complaints = process.communicate(text, timeout)
                else:
                    found, complaints = _watched(process, text, timeout, stop)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()  # which Popen itself leaves out after an interrupt
                raise
    finally:
        os.close(held)
        if reading >= 0:
            os.close(reading)
    return Finished(code=process.returncode, output=found or "", errors=complaints or "")


def _watched(
    process: subprocess.Popen[str], text: str | None, timeout: float | None, stop: Callable[[], bool]
) -> tuple[str, str]:
    """`process.communicate`, with looks at `stop` in between."""
    ends = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = ends - time.monotonic()
        try:
            return process.communicate(text, max(0.0, min(LOOK, left)))
        except subprocess.TimeoutExpired:
            if left <= LOOK:
                raise
            text = None  # it is being sent already
            if stop():
                raise Stopped from None


@contextlib.contextmanager
def pool(workers: int, *, start: str | None = None) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with us, and at once on an exception in the block; start: see multiprocessing."""
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context(start), initializer=_end_with, initargs=(os.getpid(),)
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    finally:
        executor.shutdown()


def _end_with(parent: int) -> None:
    """Let this worker end when its parent has: left alone, it would wait for work for ever.

    An interrupt from the terminal reaches it, too, but is the parent's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def children() -> set[int]:
    """Processes that this one has started, by their ids, those that they started included; empty where /proc is not."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    fresh = {os.getpid()}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def end(processes: set[int]) -> None:
    """Kill processes by their ids; those that have gone are no matter."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
