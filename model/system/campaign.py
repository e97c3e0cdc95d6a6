# SPDX-License-Identifier: Apache-2.0
"""Campaigns: many independent jobs, on one machine or many, that survive the death of whatever runs them.

A job is a pure function of contents. Its key is their hash and that of the code it runs (`contents.py`); its result is
JSON in a file of that name, whole or absent, so that a second run takes up what the first one has finished. Results
come in the order of the jobs, whoever worked on them: figures do not depend on the executor (`executors.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import bounded, contents, executors, parallel
from .executors import LOOK, Workers
from .files import make_folder, write_atomically

Done = Callable[[int, int], object]
Outcome = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Job:
    """function(*arguments) gives what JSON can hold, dataclasses or arrays; both are of contents alone, and can be sent
    to other processes.

    name: for people. folder: where the function, which then has an argument `folder`, may build; it has no part in the
    result, and none in the key.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    folder: Path | None = None

    @functools.cached_property
    def key(self) -> str:
        return contents.digest(contents.code(contents.home(self.function)), self.function, self.arguments)


class Store:
    """Results by key, a file each; without a folder nothing is kept."""

    def __init__(self, folder: str | Path | None):
        self.folder = None if folder is None else Path(folder)

    def read(self, key: str) -> Any:
        """The result in a list, or None where there is none, or a damaged one."""
        if self.folder is None or not (path := self._path(key)).is_file():
            return None

        def whole(kept: dict[str, Any]) -> list[Any] | None:
            return [kept["result"]] if kept["check"] == _check(key, kept["result"]) else None

        return bounded.kept(path, whole)

    def write(self, key: str, name: str, result: Any) -> None:
        if self.folder is not None:
            make_folder(self._path(key).parent)
            write_atomically(
                self._path(key),
                json.dumps({"key": key, "job": name, "check": _check(key, result), "result": result}) + "\n",
            )

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.json"


def _check(key: str, result: Any) -> str:
    """What shows that a kept result is whole, and the one of this key."""
    return hashlib.sha256(f"{key} {json.dumps(result)}".encode()).hexdigest()[:16]


def run(
    jobs: Sequence[Job], executor: str = "local:1", *, keep: str | Path | None = None, done: Done | None = None
) -> list[Any]:
    """The results of all jobs, in their order, as JSON gives them back.

    executor: as `executors.parse` takes it. keep: the folder of finished results. done: told (finished, all), at first
    with what was kept. A job whose process dies is tried again, `executors.RETRIES` times here. Of jobs that fail, the
    first one's error is raised, after those before it have ended: OneSpikeError, also where workers die again and again
    or the scheduler is lost, and AssertionError as the function raised it.
    """
    store = Store(keep)
    found: dict[str, Any] = {}
    for job in jobs:
        if job.key not in found and (kept := store.read(job.key)) is not None:
            found[job.key] = kept[0]
    tell = done or (lambda finished, total: None)
    told = [sum(job.key in found for job in jobs)]
    tell(told[0], len(jobs))
    todo = list({job.key: job for job in jobs if job.key not in found}.values())

    def finished(job: Job, result: Any) -> None:
        found[job.key] = result
        store.write(job.key, job.name, result)
        told[0] += sum(other.key == job.key for other in jobs)
        tell(told[0], len(jobs))

    if todo:
        with executors.opened(executor, len(todo)) as workers:
            _run(todo, workers, finished, keep)
    return [found[job.key] for job in jobs]


def _run(todo: list[Job], workers: Workers, finished: Callable[[Job, Any], None], keep: Any) -> None:
    """Every job to its end, in whatever order they end; `finished` is told of each."""
    waiting = deque(range(len(todo)))
    running: dict[Future[Outcome], int] = {}
    tries: Counter[int] = Counter()
    errors: dict[int, Exception] = {}
    ended = 0

    def last_chance(index: int) -> bool:
        """Whether the job must run alone: in a pool, whoever ran beside one that ended it may be innocent."""
        return tries[index] > 0 and tries[index] == workers.retries

    while waiting or running:
        width = workers.width
        while waiting and len(running) < width and not any(map(last_chance, running.values())):
            if running and last_chance(waiting[0]):
                break
            index = waiting.popleft()
            job = todo[index]
            code = contents.code(contents.home(job.function))
            sent = (job.function, job.arguments, job.folder, code, workers.threads)
            running[workers.submit(work, *sent)] = index
        stopped, _ = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
        if not stopped and not workers.there():
            raise _gone(workers, ended, len(todo), keep)
        if any(map(workers.has_died, stopped)):
            stopped = workers.renew(stopped, set(running))
        dead: list[int] = []
        for future in stopped:
            index = running.pop(future)
            try:
                kind, text = future.result()
            except workers.died:
                dead.append(index)
            except (CancelledError, *workers.lost):  # type: ignore[misc]
                raise _gone(workers, ended, len(todo), keep) from None
            except Exception as error:
                errors[index] = error
            else:
                if kind == "done":
                    ended += 1
                    finished(todo[index], json.loads(text))
                else:
                    errors[index] = (OneSpikeError if kind == "mistake" else AssertionError)(text)
        for index in sorted(dead, reverse=True):
            tries[index] += 1
            if tries[index] > workers.retries:
                errors[index] = OneSpikeError(
                    f"The job {todo[index].name!r} ended its process {tries[index]} times (out of memory?) on "
                    f"{workers.text}; use fewer workers, or smaller jobs."
                )
            else:
                waiting.appendleft(index)
        if errors:
            first = min(errors)
            waiting = deque(index for index in waiting if index < first)
            if not waiting and not any(index < first for index in running.values()):
                raise errors[first]


def _gone(workers: Workers, ended: int, total: int, keep: Any) -> OneSpikeError:
    kept = f"what is finished is kept in {keep}: " if keep is not None else ""
    return OneSpikeError(
        f"{workers.text[0].upper()}{workers.text[1:]} is gone after {ended} of {total} jobs; {kept}start it again and "
        f"repeat the command."
    )


def work(
    function: Callable[..., Any], arguments: tuple[Any, ...], folder: Path | None, code: str, threads: int
) -> Outcome:
    """A job, where it runs: ("done", its result as JSON), or what ended it, as text that any process understands."""
    if contents.code(contents.home(function)) != code:
        return "mistake", "A worker has another version of OneSpike than this command; install the same one on all."
    try:
        with parallel.use(threads):
            result = function(*arguments) if folder is None else function(*arguments, folder=folder)
    except OneSpikeError as error:
        return "mistake", str(error)
    except AssertionError as error:
        return "differs", str(error)
    return "done", json.dumps(result, default=plain)


def plain(value: Any) -> Any:
    """What JSON has no word for, as what it can hold: dataclasses by field, arrays as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"A job's result holds {value!r}, which JSON cannot.")
