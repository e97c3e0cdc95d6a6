# SPDX-License-Identifier: Apache-2.0
"""Boards in a row, in one simulation: each is a UART front with its engine, and has a serial line of its own.

The host's end of a line is a pseudo-terminal, so a host drives them as it drives boards: by `SerialLink`, in threads.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.emit.front import front_verilog
from ..hw.emit.verilog import TOP, to_verilog
from ..model.system.files import write_atomically
from .board import FRONT, STOP
from .flips import kept_bits
from .verilator import Built, build, run

LOG = "lines.log"  # a line for every byte: cycle in which it had passed, board, 1 from the host and 0 to it, byte
PINS = ("flip", "off")


def row_verilog(config: EngineConfig, boards: int) -> str:
    """The boards, side by side. A rise of `flip` turns over a bit that every image reads; `off` resets a board."""
    channels = next(each for each in kept_bits(to_verilog(config)) if each.kind == "channels")
    ports, parts = ["input clk", "input rst"], []
    for i in range(boards):
        ports += [f"input rx{i}", f"output tx{i}", f"input flip{i}", f"input off{i}"]
        bit = f"board{i}.core.engine.engine.{channels.reference}[0][0]"
        parts += [f"  {FRONT.top} board{i}(.clk(clk), .rst(rst | off{i}), .rx(rx{i}), .tx(tx{i}), .irq());",
                  f"  always @(posedge flip{i}) {bit} <= ~{bit};"]  # fmt: skip
    return "\n".join([f"module row({', '.join(ports)});", *parts, "endmodule\n"])


def build_row(config: EngineConfig, boards: int, build_dir: str | Path) -> Built:
    """Compile the boards, memories blank; all have the same engine."""
    texts = {"row.v": row_verilog(config, boards), f"{FRONT.top}.v": front_verilog(config, FRONT)}
    texts[f"{TOP}.v"] = to_verilog(config)
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
    files = [Path(build_dir) / f"verilog-{digest}" / name for name in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_atomically(file, text)
    return build(files, "row", build_dir, timing=False, options=["-DONESPIKE_BLANK"], fast=False)


@contextmanager
def running(
    built: Built, boards: int, folder: Path, *, timeout: float = 120
) -> Iterator[tuple[list[str], Callable[[str, int], None]]]:
    """Run the boards in this folder while the block lasts; LOG is there afterwards.

    Gives the paths of their serial ports, and a function that raises a pin, one of PINS, of a board for some cycles.
    """
    failed: list[BaseException] = []

    def simulate() -> None:
        try:
            run(built, "onespike.sim.row_bench", test_dir=folder, env={"BOARDS": str(boards)}, timeout=timeout)
        except BaseException as error:
            failed.append(error)

    def pulse(pin: str, board: int) -> None:
        asked = folder / f"{pin}{board}"
        asked.touch()
        while asked.exists() and simulation.is_alive():
            time.sleep(0.005)

    simulation = threading.Thread(target=simulate)
    simulation.start()
    try:
        ports = [folder / f"port{board}" for board in range(boards)]
        while not all(port.is_file() for port in ports) and simulation.is_alive():
            time.sleep(0.02)
        if not failed:
            yield [port.read_text() for port in ports], pulse
    finally:
        (folder / STOP).touch()
        simulation.join()
        if failed:
            raise failed[0]
