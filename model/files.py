# SPDX-License-Identifier: Apache-2.0
"""Files that are either complete or absent."""

import contextlib
import os
from pathlib import Path

from .errors import OneSpikeError


def cannot_write(path: Path, error: OSError) -> OneSpikeError:
    """The sentence for an output path that cannot be written."""
    # mkdir calls a file in place of a folder "File exists".
    reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
    return OneSpikeError(f"Cannot write {path}: {reason}; choose an output path that can be written.")


def write_atomically(path: Path, data: bytes | str) -> bool:
    """Write `data` to a temporary name and rename it; True if the file changed. An equal file is left alone."""
    if isinstance(data, str):
        data = data.encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_file() and path.read_bytes() == data:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None
    return True
