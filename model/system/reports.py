# SPDX-License-Identifier: Apache-2.0
"""Reports: what a tool has left in a file, and one sentence where a part of it is missing or another tool wrote it.

Such files are made and read by the same command, most often; a full disk, a tool that was killed, or one of another
version leave some that say less than they should.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import OneSpikeError
from . import bounded
from .files import require_room

T = TypeVar("T")
ODD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError)


def read(path: Path, tool: str, build: Callable[[str], T]) -> T:
    """What `build` makes of the text that `tool` has written; OneSpikeError where it can make nothing of it."""
    try:
        return build(bounded.read(path).decode())
    except bounded.Damaged as error:
        reason = str(error)
    except ODD as error:
        reason = bounded.shown(f"{type(error).__name__}: {str(error).strip() or 'nothing there'}".rstrip("."))
    require_room(path.parent)  # or the tool has not noticed that it could not write all
    raise OneSpikeError(
        f"{path} is no whole report of {tool} ({reason}); remove the folder {path.parent} and repeat the command."
    ) from None
