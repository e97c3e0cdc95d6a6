# SPDX-License-Identifier: Apache-2.0
"""A simulated board: the UART front and its engine in Verilator, at a pseudo-terminal that acts as the serial port."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.front import Front
from .front import build_front

DIVISOR = 4  # fast enough for a simulation; the pty has no baud rate
FRONT = Front(kind="uart", divisor=DIVISOR, silence=14)


def serve_board(
    config: EngineConfig, build_dir: Path, ready: Callable[[str], None], *, link: Path | None = None
) -> None:
    """Run until interrupted; `ready` gets the path of the serial port. link: a symbolic link to make to it."""
    from .verilator import run

    built = build_front(config, FRONT, build_dir)
    with tempfile.TemporaryDirectory(prefix="board-", dir=build_dir) as folder:
        ended = threading.Event()

        def announce() -> None:
            port = Path(folder) / "port"
            while not ended.is_set():
                if port.is_file():
                    path = port.read_text()
                    if link is not None:
                        link.unlink(missing_ok=True)
                        link.symlink_to(path)
                    ready(path if link is None else str(link))
                    return
                time.sleep(0.02)

        watcher = threading.Thread(target=announce, daemon=True)
        watcher.start()
        try:
            run(built, "onespike.sim.board_bench", test_dir=Path(folder), timeout=10**9)
        finally:
            ended.set()
            watcher.join()
            if link is not None:
                with contextlib.suppress(OSError):
                    link.unlink()
