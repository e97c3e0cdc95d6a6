# SPDX-License-Identifier: Apache-2.0
"""A simulated board: the UART front and its engine in Verilator, at a pseudo-terminal that acts as the serial port."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.fronts.front import Front
from ..model.errors import OneSpikeError
from ..model.system.files import cannot_write, make_folder
from ..model.system.locks import reserved
from .front import build_front

DIVISOR = 4  # fast enough for a simulation; the pty has no baud rate
FRONT = Front(kind="uart", divisor=DIVISOR, silence=14)
SLOW_LANES = 16  # engines of up to so many wait for their serial line in Python: optimising them gains nothing
TERMINALS = "/dev/pts/"  # where pseudo-terminals are
STOP = "stop"  # the file that ends the simulation


def serve_board(
    config: EngineConfig, build_dir: str | Path, ready: Callable[[str], None], *, link: str | Path | None = None
) -> None:
    """Run until interrupted; `ready` gets the path of the serial port. link: a symbolic link to make to it.

    Raises OneSpikeError where something stands at `link` already, other than what a board left that was cut off.
    """
    from .verilator import run

    link = None if link is None else Path(link)
    build_dir = make_folder(build_dir)
    with contextlib.nullcontext() if link is None else _linkable(link):
        built = build_front(config, FRONT, build_dir, fast=config.banks * config.lanes > SLOW_LANES)
        with tempfile.TemporaryDirectory(prefix="board-", dir=build_dir) as folder:
            ended = threading.Event()
            made: list[str] = []
            failed: list[OneSpikeError] = []

            def announce() -> None:
                port = Path(folder) / "port"
                while not (port.is_file() or ended.is_set()):
                    time.sleep(0.02)
                if ended.is_set():
                    return
                path = port.read_text()
                try:
                    if link is not None:
                        link.symlink_to(path)  # whatever has appeared there since is left alone
                        made.append(path)
                    ready(path if link is None else str(link))
                except OSError as error:
                    taken = link is not None and isinstance(error, FileExistsError)
                    failed.append(_taken(link) if taken else cannot_write(link or port, error))
                except OneSpikeError as error:
                    failed.append(error)
                if failed:
                    (Path(folder) / STOP).touch()

            watcher = threading.Thread(target=announce, daemon=True)
            watcher.start()
            try:
                run(built, "onespike.sim.board_bench", test_dir=Path(folder), timeout=10**9)
            finally:
                ended.set()
                watcher.join()
                if link is not None and made:
                    with contextlib.suppress(OSError):
                        if str(link.readlink()) == made[0]:
                            link.unlink()
            if failed:
                raise failed[0]


@contextlib.contextmanager
def _linkable(link: Path) -> Iterator[None]:
    """While no other board has this link: make sure that nothing stands there but what an ended board left."""
    make_folder(link.parent)
    with reserved(link.with_name(f".{link.name}.lock"), f"The link {link}", "give another name to --pty") as left:
        try:
            if left and link.is_symlink() and str(link.readlink()).startswith(TERMINALS):
                link.unlink()
            elif link.is_symlink() or link.exists():
                raise _taken(link)
        except OSError as error:
            raise cannot_write(link, error) from None
        yield


def _taken(link: Path | None) -> OneSpikeError:
    return OneSpikeError(f"{link} is there already: remove it, or give another name to --pty.")
