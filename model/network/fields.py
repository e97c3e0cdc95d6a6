# SPDX-License-Identifier: Apache-2.0
"""Checks of single fields of a specification: what is written as 8.0, 1.5 or false is no integer, and no name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import OneSpikeError

MOST = 2**16 - 1  # of a channel number, a side, a stride, a padding: what 16 bits hold


def whole(value: Any, what: str, most: int = MOST) -> int:
    """The value as an int; OneSpikeError where it is no integer or larger in size than `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise OneSpikeError(f"{what} must be an integer, not {_shown(value)}.")
    if abs(int(value)) > most:
        raise OneSpikeError(f"{what} must be at most {most}, not {_shown(value)}.")
    return int(value)


def wholes(values: Any, what: str, count: int | None = None) -> tuple[int, ...]:
    """The values, `count` of them, as ints."""
    found = tuple(whole(value, f"Every number of {what}") for value in _several(values, what))
    if count is not None and len(found) != count:
        raise OneSpikeError(f"{what[:1].upper()}{what[1:]} must be {count} integers, not {_shown(values)}.")
    return found


def real(value: Any, what: str) -> float:
    """The value as a finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise OneSpikeError(f"{what} must be a number, not {_shown(value)}.")
    try:
        found = float(value)
    except OverflowError:
        found = np.inf
    if not np.isfinite(found):
        raise OneSpikeError(f"{what} must be a finite number, not {_shown(value)}.")
    return found


def reals(values: Any, what: str) -> tuple[float, ...]:
    """The values as finite floats."""
    return tuple(real(value, f"Every number of {what}") for value in _several(values, what))


def integers(value: Any, dtype: Any, what: str, ndim: int) -> np.ndarray:
    """The value as an array of integers that cannot be written to."""
    array = np.asarray(value)
    if array.ndim != ndim or not np.issubdtype(array.dtype, np.integer):
        raise OneSpikeError(f"{what} must be an integer array of {ndim} dimensions, not {array.dtype} {array.shape}.")
    info = np.iinfo(dtype)
    if array.size and (array.min() < info.min or array.max() > info.max):
        raise OneSpikeError(f"{what} must lie in [{info.min}, {info.max}], but holds {array.min()} to {array.max()}.")
    array = np.ascontiguousarray(array, dtype=dtype)
    array.setflags(write=False)
    return array


def name(value: Any, what: str) -> str:
    """The value, if it is a text that can stand in a table and in a comment of Verilog."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise OneSpikeError(f"{what} must be a text of printable characters, not {_shown(value)}.")
    return value


def _several(values: Any, what: str) -> Iterable[Any]:
    if not isinstance(values, list | tuple | np.ndarray):
        raise OneSpikeError(f"{what[:1].upper()}{what[1:]} must be a list of numbers, not {_shown(values)}.")
    return values


def _shown(value: Any) -> str:
    """The value, cut where it is long (an integer of thousands of digits has no text at all)."""
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a number of more than 64 bits"
    found = repr(value)
    return found if len(found) <= 60 else f"{found[:60]}..."
