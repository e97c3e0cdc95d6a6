# SPDX-License-Identifier: Apache-2.0
"""What must hold of every input: it is read, or refused in one sentence; soon, in little memory, touching nothing else.

Time is the processor's, so that a busy machine changes nothing; what waits without working ends by the signal of
`guided.py`, or by the test's own limit. Memory is address space, which the system itself limits while an input is read.
"""

import contextlib
import os
import re
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onespike.model.errors import OneSpikeError

from .reader import Reader

SECONDS = 10.0  # of the processor, for one input
MEMORY = 2 << 30  # bytes, for one input
LONGEST = 600  # letters of a sentence
ROOM = ("/proc/", "/dev/")  # what is written there, nobody keeps
STARTED = ("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn",
           "pty.spawn", "socket.connect", "webbrowser.open")  # fmt: skip
CHANGED = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
CACHES = re.compile(r"__pycache__|\.pyc(\.\d+)?$")
NO_MEMORY = re.compile(r"can't allocate memory|bad_alloc|cannot allocate|DefaultCPUAllocator", re.IGNORECASE)
MEANT = re.compile(r"All values of the images become the codes \d+ and \d+ of")  # warnings that are a reader's answer
ABOUT = re.compile(r"'[^']*'|[Ll]ayer|[Nn]ode|network|input|output|image|board|design|[Aa]ccumulator")


class Hang(BaseException):
    """Not an Exception: nothing that is read may swallow it."""


@dataclass(frozen=True)
class Failure:
    """What went wrong with an input. kind: the same of all inputs that fail for the same reason, as far as is known."""

    kind: str
    text: str


class _Watch:
    """Told of what Python does outside itself. An audit hook cannot be taken away: there is one for all inputs."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in STARTED:
            self.seen.append(f"{event} {given[0]!r}")
        elif event == "open":
            path, mode, flags = given
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))  # fmt: skip
            if writes:
                self._path(event, path)
        elif event in CHANGED:
            self._path(event, given[0])

    def _path(self, event: str, path: Any) -> None:
        if isinstance(path, int):
            return
        text = str(Path(os.fsdecode(path)).absolute())
        if not text.startswith((self.folder or "", *ROOM)) and not CACHES.search(text):
            self.seen.append(f"{event} {text}")


_watch = _Watch()


def judge(reader: Reader, path: Path) -> Failure | None:
    """Read the file; None where all is well."""
    if not hasattr(judge, "watched"):
        sys.addaudithook(_watch)
        judge.watched = True  # type: ignore[attr-defined]
    _watch.folder, _watch.seen = str(path.absolute()).partition("/files/")[0], []
    told: list[warnings.WarningMessage] = []
    try:
        with _limited(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            reader.read(path)
    except OneSpikeError as error:
        return _memory(error) or _sentence(reader, path, str(error)) or _outside() or _warned(told)
    except Hang as hang:
        return Failure(f"hang in {_place(hang)}", f"no answer within {SECONDS:g} s of the processor's time")
    except Exception as error:
        kind = f"{type(error).__name__} in {_place(error)}"
        return _memory(error) or Failure(kind, "".join(traceback.format_exception(error))[-6000:])
    finally:
        _watch.folder = None
    return _outside() or _warned(told)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """A limit on time and on memory beyond what the process has."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:  # noqa: PTH123 (this is done for every input)
        now = int(file.read().split()[0]) * resource.getpagesize()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, limits[1]))
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


def _outside() -> Failure | None:
    if not _watch.seen:
        return None
    return Failure(f"outside: {_watch.seen[0].split(' ')[0]}", "; ".join(_watch.seen[:5]))


def _warned(told: list[warnings.WarningMessage]) -> Failure | None:
    """Whether something was told beside the sentence."""
    for one in told:
        if not issubclass(one.category, ResourceWarning) and not MEANT.match(str(one.message)):
            kind = f"{one.category.__name__} in {Path(one.filename).name}"
            return Failure(kind, f"{one.filename}:{one.lineno}: {one.message}")
    return None


def _memory(error: BaseException | None) -> Failure | None:
    """Whether memory ran out, also where that has been put into a sentence: without the limit, the machine's would."""
    top, seen = error, set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            return Failure(f"memory in {_place(error)}", "".join(traceback.format_exception(top))[-6000:])
        error = error.__cause__ or error.__context__
    return None


def _sentence(reader: Reader, path: Path, text: str) -> Failure | None:
    """One sentence that can be shown and says what it is about."""
    shape = re.sub(r"'[^']*'|[\d.,]+", "_", text)[:60]
    if not text.isprintable() or len(text) > LONGEST or not text.endswith("."):
        return Failure(f"sentence of no good form: {shape}", repr(text[:2000]))
    if (not text[:1].isupper() and not text.startswith(("/", ".", str(path.parent)))) or "please report" in text:
        return Failure(f"sentence that is none: {shape}", repr(text))
    about = str(path.parent) in text or path.name in text or path.parent.name in text
    if not about and (reader.named or not ABOUT.search(text)):
        return Failure(f"sentence that names no file: {shape}", repr(text))
    return None


def _place(error: BaseException) -> str:
    """The innermost line of ours that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if re.search(r"/(model|hw|sim|fpga|onespike)/[\w/]+\.py$", f.filename)
            and "site-packages" not in f.filename]  # fmt: skip
    if not ours:
        ours = list(frames[-1:])
    return f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "nowhere"
