# SPDX-License-Identifier: Apache-2.0
"""Signals that end a command: it cleans up first, and leaves no process behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .model.system import processes

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(BaseException):
    """A signal asks the command to end; like KeyboardInterrupt, it is no Exception."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated at the first signal of ENDING (a second one ends at once), unless it is ignored, as by nohup.

    On Terminated and KeyboardInterrupt, whatever was started inside is dead at the end.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    ours = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    before = processes.children()
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    except (Terminated, KeyboardInterrupt):
        processes.end(processes.children() - before)
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
