# SPDX-License-Identifier: Apache-2.0
"""Executors: where jobs run, as one text says: `local`, `local:N` processes of ours, or `dask://host:port`.

Each is a `concurrent.futures` executor, with what `campaign.py` must know of it beyond that: how many jobs it takes at
a time, what it raises where a worker died, and whether it is still there.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any

from ..errors import OneSpikeError
from . import extras, parallel
from .processes import pool

MOST = 256  # processes
RETRIES = 2  # further tries of a job whose process died
JOIN = 30.0  # seconds within which a scheduler must answer, and have a worker
LOOK = 1.0  # seconds between two looks whether it is still there


class Here(Executor):
    """Runs each job at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Workers:
    """Those of this machine: processes that end with us, started again where one of them died."""

    retries = RETRIES
    died: tuple[type[Exception], ...] = (BrokenExecutor,)
    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, number: int):
        self.width = number
        self.threads = max(1, parallel.count() // number)
        self._open: contextlib.ExitStack = contextlib.ExitStack()
        self._executor: Executor = Here()

    def __enter__(self) -> Workers:
        self._start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._executor.submit(function, *arguments)
        except self.died as error:  # a process has died since the last look
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def has_died(self, future: Future[Any]) -> bool:
        """Whether a job has ended with the process that it ran in."""
        return not future.cancelled() and isinstance(future.exception(), self.died)

    def renew(self, stopped: set[Future[Any]], running: set[Future[Any]]) -> set[Future[Any]]:
        """Go on after a death; the jobs that have stopped by then, which are all of a pool of processes."""
        wait(running)
        self._open.close()
        self._start()
        return running

    def _start(self) -> None:
        if self.width > 1:
            self._executor = self._open.enter_context(pool(self.width, start="spawn"))

    def there(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return "1 process" if self.width == 1 else f"{self.width} processes"


class Cluster(Workers):
    """A Dask cluster, whose scheduler gives a job to another worker when one dies, as often as it is set to."""

    retries = 0

    def __init__(self, address: str):
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise extras.missing("An executor dask:// needs", error) from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it has to say, we say in a sentence
        self.address = address
        self.died = (distributed.scheduler.KilledWorker,)
        self.lost = (distributed.comm.CommClosedError, OSError, TimeoutError)
        self.threads = 1
        try:
            self._client = distributed.Client(f"tcp://{address}", timeout=JOIN, set_as_default=False)
        except (*self.lost, ValueError) as error:
            raise OneSpikeError(
                f"No Dask scheduler answers at {address} ({type(error).__name__}); start one with `dask scheduler`, or "
                f"use --executor local."
            ) from None

    def __enter__(self) -> Cluster:
        try:
            self._client.wait_for_workers(1, timeout=JOIN)
        except TimeoutError:
            self._client.close()
            raise OneSpikeError(
                f"The Dask scheduler at {self.address} has no worker; start some with `dask worker {self.address} "
                f"--nthreads 1`."
            ) from None
        self._executor = self._client.get_executor(pure=False)
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(Exception):
            self._executor.shutdown(wait=False)
        self._client.close(timeout=LOOK)

    @property
    def width(self) -> int:  # type: ignore[override]
        """Two jobs for each thread that works there now: workers may come and go."""
        return 2 * max(1, sum(self._client.nthreads().values()))

    def renew(self, stopped: set[Future[Any]], running: set[Future[Any]]) -> set[Future[Any]]:
        """The others go on: the scheduler has other workers."""
        return stopped

    def there(self) -> bool:
        return self._client.status == "running"

    @property
    def text(self) -> str:
        return f"the Dask cluster at {self.address}"


def parse(text: str) -> str:
    """The text, in full, if it names an executor; ValueError with what it may be."""
    number = re.fullmatch(r"local(?::(\d{1,4}))?", text)
    if number and (number[1] is None or 1 <= int(number[1]) <= MOST):
        return text
    if re.fullmatch(r"dask://[^/\s]+:\d{1,5}/?", text):
        return text.rstrip("/")
    raise ValueError(f"must be local, local:N with N in 1..{MOST}, or dask://host:port, not {text!r}")


@contextlib.contextmanager
def opened(text: str, jobs: int) -> Iterator[Workers]:
    """The executor that a text names, for so many jobs; OneSpikeError where it is not there."""
    try:
        text = parse(text)
    except ValueError as error:
        raise OneSpikeError(f"The executor {error}.") from None
    if text.startswith("dask://"):
        workers: Workers = Cluster(text.removeprefix("dask://"))
    else:
        workers = Workers(max(1, min(jobs, int(text.partition(":")[2] or parallel.count()))))
    with workers:
        yield workers
