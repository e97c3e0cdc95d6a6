# SPDX-License-Identifier: Apache-2.0
"""The path of a network's file, checked before any reader opens it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import OneSpikeError
from ..system import bounded


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Names and texts of a file, as a refusal quotes them, come on one line and cut where they are long."""
    try:
        yield
    except OneSpikeError as error:
        text = bounded.sentence(str(error))
        if text == str(error):
            raise
        raise OneSpikeError(text) from error


def existing(path: str | Path) -> Path:
    """`path`, if it is a file that can be read; OneSpikeError says why not."""
    path = Path(path)
    try:
        found = path.is_file()
        folder = path.is_dir()
        if found:
            path.open("rb").close()
    except (OSError, ValueError) as error:  # a name too long, a null byte, no permission
        shown = str(path) if len(str(path)) < 200 else f"{str(path)[:80]}..."
        reason = error.strerror if isinstance(error, OSError) else error
        raise OneSpikeError(f"Cannot read {shown!r}: {reason}.") from None
    if folder:
        raise OneSpikeError(f"Cannot read {path}: it is a folder; give the .pt2, .onnx or .tflite file itself.")
    if not found:
        raise OneSpikeError(f"Cannot read {path}: no such file.")
    return path
