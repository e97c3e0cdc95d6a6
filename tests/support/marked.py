# SPDX-License-Identifier: Apache-2.0
"""Processes that a test has started, known by a mark in their environment."""

import time
from pathlib import Path


def marked(mark: str) -> list[int]:
    """Processes that run with this mark in their environment; those that have ended but were not collected are none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
