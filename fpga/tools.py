# SPDX-License-Identifier: Apache-2.0
"""The open tools of synthesis: where they are, which versions, and how they are run."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ..model.errors import OneSpikeError
from ..model.system.files import require_room
from ..model.system.processes import run


def find_tool(name: str) -> str:
    """Path of a yowasp tool, beside this Python or on the PATH; OneSpikeError where it is missing."""
    name = f"yowasp-{name}"
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        raise OneSpikeError(f"Synthesis needs {name}: run `pip install onespike[synth]`.")
    return path


def tool_versions(*names: str) -> str:
    """The yowasp tools with their versions."""
    return ", ".join(f"yowasp-{name} {importlib.metadata.version(f'yowasp-{name}')}" for name in names)


def run_tool(command: list[str], directory: Path, log: str, *, hopeless: Callable[[str], bool] | None = None) -> str:
    """Run a tool that writes its log to a file in the directory; its output. A failure is the log's last error.

    hopeless: whether a log, which is not at its end, says that the tool may as well be stopped; raises Stopped then.
    """
    path = directory / log
    if hopeless is not None:
        path.unlink(missing_ok=True)  # an older run's says nothing of this one

    def stop() -> bool:
        return hopeless is not None and path.is_file() and hopeless(path.read_text(errors="replace"))

    done = run(command, cwd=directory, stop=None if hopeless is None else stop)
    if done.code:
        text = path.read_text(errors="replace") if path.is_file() else ""
        require_room(directory, text + done.errors)
        lines = [line for line in (text + done.errors).splitlines() if re.search("error", line, re.IGNORECASE)]
        lines = [line for line in lines if not re.search(r"\d+ errors?$", line)] or lines
        reason = lines[-1].strip() if lines else f"exit code {done.code}"
        raise OneSpikeError(f"{Path(command[0]).name} failed: {reason} (log: {path}).")
    require_room(directory)  # where there is none, yosys leaves half a netlist and says that all is well
    return done.output
