# SPDX-License-Identifier: Apache-2.0
"""Output files: each is either complete or absent, links are followed, and devices and pipes are written into."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import OneSpikeError

STDOUT = 1
PROBE = 1 << 20  # bytes that a disk with any room takes
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = re.compile(r"No space left on device|Disk quota exceeded|File too large")


def cannot_write(path: str | Path, error: OSError) -> OneSpikeError:
    """The sentence for an output path that cannot be written."""
    # mkdir calls a file in place of a folder "File exists".
    reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror or str(error)
    free = "free some space, or " if error.errno in FULL else ""
    return OneSpikeError(f"Cannot write {path}: {reason}; {free}choose an output path that can be written.")


def make_folder(path: str | Path) -> Path:
    """The folder, after making it and those above it where they are missing."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None
    return path


def descriptor(path: str | Path) -> int | None:
    """The open file of this process that a path such as /dev/stdout or /dev/fd/3 stands for; None for other paths."""
    names = {"/dev/stdin": 0, "/dev/stdout": STDOUT, "/dev/stderr": 2}
    text = os.path.normpath(path)
    for _ in range(40):  # links to links, as long as the system itself follows them
        own = re.fullmatch(rf"(?:/dev/fd|/proc/(?:self|thread-self|{os.getpid()})/fd)/(\d+)", text)
        if text in names or own:
            return names[text] if own is None else int(own[1])
        try:
            text = os.path.normpath(Path(text).parent / Path(text).readlink())
        except OSError:
            return None
    return None


def is_stdout(path: str | Path) -> bool:
    """Whether what is written to the path goes where the results of commands go."""
    return descriptor(path) == STDOUT


def write_atomically(path: str | Path, data: bytes | str) -> bool:
    """Write `data` to a temporary name and rename it; True if the file changed. An equal file is left alone.

    A link stays a link: the file that it leads to is replaced, or made. What is no regular file (a device, a pipe) and
    the open files of this process (/dev/stdout) are written into. Raises OneSpikeError; then nothing has changed.
    """
    path = Path(path)
    if isinstance(data, str):
        data = data.encode(errors="backslashreplace")  # halves of letters, which JSON can hold and UTF-8 cannot
    try:
        if (number := descriptor(path)) is not None:
            _write_open(number, data)
            return True
        if _special(path):
            with _opened(os.open(path, os.O_WRONLY)) as number:
                _write_all(number, data)
            return True
        if path.is_file() and path.read_bytes() == data:
            return False
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _fresh(target) as (number, temporary):
            _write_all(number, data)
            if target.exists():
                before = target.stat()
                os.fchmod(number, stat.S_IMODE(before.st_mode))
                with contextlib.suppress(PermissionError):
                    os.fchown(number, before.st_uid, before.st_gid)
            temporary.replace(target)
    except BrokenPipeError:  # the reader has left: no mistake of the path's
        raise
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise cannot_write(path, _as_os_error(error)) from None
    return True


def writable(path: str | Path, what: str) -> Path:
    """The path, after making sure that its folder exists or can be made: long work must not be lost at its end."""
    path = Path(path)
    try:
        if descriptor(path) is not None:
            return path
        if path.is_dir():
            raise OneSpikeError(f"Cannot write {what} to {path}: it is a folder; name a file.")
        if _special(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return path
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _fresh(target):
            pass
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, _as_os_error(error)) from None
    return path


def makeable(folder: str | Path) -> None:
    """Make sure that a folder is there or can be made, without making it."""
    folder = above = Path(folder)
    try:
        while not above.exists():
            above = above.parent
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise cannot_write(folder, error) from None


def require_room(folder: str | Path, log: str = "") -> None:
    """Raise the sentence of a full disk, where it is one: tools that fail for its sake often say something else.

    log: what such a tool wrote.
    """
    found = FULL_WORDS.search(log)
    try:
        if found:
            raise OSError(errno.ENOSPC, found[0])
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE))
            file.flush()
    except OSError as error:
        if error.errno in (*FULL, errno.EFBIG):
            raise cannot_write(folder, error) from None


@contextlib.contextmanager
def _fresh(target: Path) -> Iterator[tuple[int, Path]]:
    """A new file beside the target, under a name that no other run has; removed unless it was renamed."""
    temporary = target.with_name(f".onespike-{secrets.token_hex(8)}.tmp")
    mode = 0o666  # what the umask leaves of it
    try:  # an interrupt may come as soon as the file is there
        with _opened(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)) as number:
            yield number, temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(number: int) -> Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)


def _special(path: Path) -> bool:
    """Whether there is something at the path that a rename would replace by a regular file, folders apart."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_open(number: int, data: bytes) -> None:
    """Into an open file of ours, behind what Python has still to write there."""
    stream = {STDOUT: sys.stdout, 2: sys.stderr}.get(number)
    if stream is None:
        _write_all(number, data)
        return
    stream.flush()
    if hasattr(stream, "buffer"):
        stream.buffer.write(data)
    else:  # text that somebody collects
        stream.write(data.decode(errors="replace"))
    stream.flush()


def _write_all(number: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(errno.ELOOP, os.strerror(errno.ELOOP))
