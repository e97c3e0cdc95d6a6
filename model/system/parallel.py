# SPDX-License-Identifier: Apache-2.0
"""Pieces of work on threads of our own, each with one BLAS thread: every core is used, and none waits for another.

BLAS shares every small product among as many threads as there are cores, and they spin until the last one is done: next
to any other busy process that takes many times as long. Pieces of a batch need not wait for one another. The pieces do
not depend on how many threads there are, nor does the order in which their results are put together, so results are
the same to the bit for any number.

The number, from the nearest place that says one: an argument `threads`, a surrounding `use`, the environment variable
ONESPIKE_THREADS, the cores that this process may use.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import functools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

from ..errors import OneSpikeError

VARIABLE = "ONESPIKE_THREADS"
MOST = 1024
AHEAD = 4  # pieces per thread that may be begun or done before the oldest of them is taken
CGROUPS = Path("/sys/fs/cgroup")
Item = TypeVar("Item")
Found = TypeVar("Found")
Taken = ParamSpec("Taken")

_chosen: contextvars.ContextVar[int | None] = contextvars.ContextVar("threads", default=None)


def count() -> int:
    """How many threads work here and now."""
    return chosen() or cores()


def chosen() -> int | None:
    """The number of threads that `use` or the environment say; None where neither does."""
    number = _chosen.get()
    if number is not None:
        return number
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= MOST:
        raise OneSpikeError(
            f"{VARIABLE} must be a whole number in 1..{MOST}, not {text!r}; unset it to use every core."
        )
    return int(text)


@contextlib.contextmanager
def use(threads: int | None) -> Iterator[None]:
    """So many threads for all work inside; None leaves the number as it is."""
    if threads is None:
        yield
        return
    whole = hasattr(threads, "__index__") and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST:
        raise OneSpikeError(f"threads must be a whole number in 1..{MOST}, or None for every core, not {threads!r}.")
    token = _chosen.set(int(threads))
    try:
        yield
    finally:
        _chosen.reset(token)


def takes_threads(function: Callable[Taken, Found]) -> Callable[Taken, Found]:
    """The function, within `use` of its keyword argument `threads`."""

    @functools.wraps(function)
    def within(*args: Taken.args, **kwargs: Taken.kwargs) -> Found:
        with use(kwargs.get("threads")):  # type: ignore[arg-type]
            return function(*args, **kwargs)

    return within


def cores() -> int:
    """The cores that this process may use: its affinity, less where its control group has a quota of processor time."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError):
        allowed = quota(CGROUPS, Path("/proc/self/cgroup").read_text())
        free = free if math.isinf(allowed) else min(free, math.ceil(allowed))
    return max(1, free)


def quota(root: Path, groups: str) -> float:
    """Cores' worth of time that control groups allow a process; infinite where none says anything.

    root: where they are mounted; groups: what /proc/PID/cgroup says. A group is bound by those around it, too.
    """
    inner = next((line[3:].strip("/") for line in groups.splitlines() if line.startswith("0::")), "")
    folders = [root / inner, *(root / inner).parents]
    files: list[tuple[Path, ...]] = [(root / "cpu/cpu.cfs_quota_us", root / "cpu/cpu.cfs_period_us")]  # version 1
    files += [(folder / "cpu.max",) for folder in folders[: folders.index(root) + 1]]  # version 2
    least = math.inf
    for names in files:
        with contextlib.suppress(OSError):
            numbers = " ".join(name.read_text() for name in names).split()
            if len(numbers) == 2 and all(text.isdecimal() and int(text) for text in numbers):  # not "max", not -1
                least = min(least, int(numbers[0]) / int(numbers[1]))
    return least


def each(
    function: Callable[[Item], Found], items: Iterable[Item], done: Callable[[Found], object] | None = None
) -> list[Found]:
    """The results of `function` for all items, in their order.

    `done` gets them in that order, too, in the caller's thread. What the first failing item raises is raised here,
    once, after the items that are being worked on have ended; so is an interrupt. What `function` itself gives to
    `each` stays on its thread, where there are several.
    """
    items = list(items)
    workers = min(count(), len(items))
    found: list[Found] = []

    def take(result: Found) -> None:
        found.append(result)
        if done is not None:
            done(result)

    with one_blas_thread():
        if workers <= 1:
            for item in items:
                take(function(item))
            return found
        inside = contextvars.copy_context()  # NumPy's error state is part of it
        inside.run(_chosen.set, 1)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="onespike", initializer=_limit_blas)
        try:
            waiting: collections.deque[Future[Found]] = collections.deque()
            for item in items:
                if len(waiting) == AHEAD * workers:
                    take(waiting.popleft().result())
                waiting.append(pool.submit(inside.copy().run, function, item))
            while waiting:
                take(waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)
    return found


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS works on one thread inside, and on as many as before afterwards; any number of callers at a time."""
    _scope.enter()
    try:
        yield
    finally:
        _scope.leave()


class _Scope:
    """The first caller sets the limit, the last one takes it back: it holds for the whole process."""

    def __init__(self) -> None:
        self.lock, self.users, self.limit = threading.Lock(), 0, None  # type: tuple[Any, int, Any]

    def enter(self) -> None:
        with self.lock:
            if not self.users:
                self.limit = _limit_blas()
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.limit.restore_original_limits()


_scope = _Scope()
if hasattr(os, "register_at_fork"):  # a fork may copy a lock that another thread holds
    os.register_at_fork(after_in_child=lambda: setattr(_scope, "lock", threading.Lock()))


@functools.cache
def _blas() -> ThreadpoolController:
    """NumPy's BLAS; looking for it takes milliseconds, using it microseconds."""
    return ThreadpoolController().select(user_api="blas")


def _limit_blas() -> Any:
    """One BLAS thread from now on; in every worker, too, since OpenMP keeps a number for each thread."""
    return _blas().limit(limits=1)
