# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: one line per stage, with its time, so that stdout holds results only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
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


    @contextmanager
    def jobs(self, name: str, text: str) -> Iterator[tuple[Stage, Callable[[int, int], None]]]:
        """A stage of many jobs, with a bar, told (finished, all) by what is yielded; at first, those kept before."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with self.stage(name, text, spinner=False) as stage:
            with Bar(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
                task = bar.add_task(text, total=None)

                def tell(finished: int, total: int) -> None:
                    if bar.tasks[task].total is None and finished:
                        stage.note = f"{finished} of {total} jobs kept from an earlier run"
                    bar.update(task, completed=finished, total=total)

                yield stage, tell


class Stage:
    """What a stage has to say when it is done."""

    note = ""
