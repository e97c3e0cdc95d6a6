# SPDX-License-Identifier: Apache-2.0
"""Jobs of campaigns in tests: processes of other Pythons import them by this name."""

import os
import signal
import time
from pathlib import Path

from onespike.model.errors import OneSpikeError


def square(number: int) -> dict[str, object]:
    return {"square": number * number, "pair": (number, number)}


def counted(number: int, folder: Path) -> int:
    """The number, after leaving a file for every call."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}-{time.monotonic_ns()}").touch()
    return number


def deadly(number: int, deadly: int, times: int, folder: Path) -> int:
    """The number; the job `deadly` kills its process in mid-job the first few times."""
    calls = len(list(folder.glob(f"{number}-*")))
    counted(number, folder)
    if number == deadly and calls < times:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def slow(number: int, seconds: float, folder: Path) -> int:
    counted(number, folder)
    time.sleep(seconds)
    return number


def failing(number: int, kinds: tuple[str, ...]) -> int:
    """Job 0 takes longer than the others to fail."""
    time.sleep(0.3 * (number == 0))
    if kinds[number] == "mistake":
        raise OneSpikeError(f"Number {number} is wrong; take another.")
    assert kinds[number] != "differs", f"{number} differs"
    return number
