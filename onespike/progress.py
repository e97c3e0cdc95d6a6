# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: one line per stage, with its time, so that stdout holds results only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


class Progress:
    """Stages of a command. `seconds` keeps how long each took, by name."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, text: str, *, spinner: bool = True) -> Iterator[Stage]:
        """Show `text` until the block ends, then keep it with the note that the block left.

        spinner: False where the block shows a bar of its own.
        """
        stage, started = Stage(), time.perf_counter()
        with self.console.status(Text(text)) if spinner else contextlib.nullcontext():
            yield stage
        self.seconds[name] = time.perf_counter() - started
        note = f": {stage.note}" if stage.note else ""
        took = (f" ({self.seconds[name]:.1f} s)", "dim")
        self.console.print(Text.assemble(("✓", "green"), f" {text}{note}", took), soft_wrap=True)


class Stage:
    """What a stage has to say when it is done."""

    note = ""
