# SPDX-License-Identifier: Apache-2.0
"""Route: nextpnr's router, told to keep a clock that it can reach.

Left alone, it lets wires make detours of many ns where a part is crowded. With `--tmg-ripup` it routes those anew that
are too slow for the clock that is asked for, until none is: for a clock that it cannot reach, it goes on without end.
Its first round, in which wires may overlap, shows what it can reach, as every wire on a long path goes its fastest way
then. So it is stopped where a wire is too slow in that round, or in many in a row, and asked for a lower clock.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..model.system.files import write_atomically
from ..model.system.processes import Stopped
from .tools import run_tool

BOLD, LEAST = 1.2, 0.85  # of the clock by estimate: the highest that is tried, and the lowest
STEP, LATE_STEP = 0.97, 0.91  # from one clock to the next: after a first round, and after many, which took minutes
ROUNDS = 120  # of the router's: 512 lanes took 44 at 100 MHz
PATIENCE = 12  # rounds in a row in which some wire is too slow; 5 were the most where the router came to an end

RIPUP = "--tmg-ripup"

ROUND = re.compile(r"iter=\d+ .*\btmgfail=(\d+)")
CLOCK = re.compile(r'"target_freq": *"[^"]*"')


def route(command: list[str], directory: Path, log: str, placed: Path, longest: float) -> None:
    """Run the router's command, which reads the netlist in the file `placed`, that is changed.

    longest: path of that by estimate, in ns.
    """
    command = [part for part in command if part != RIPUP]  # it may be among what is compared (sweep.py)
    asked = float(command[command.index("--freq") + 1])
    estimate = 1000 / longest if longest else asked
    clock, step = min(asked, BOLD * estimate), STEP

    def stop(log: str) -> bool:
        nonlocal step
        step = STEP if slow_in_rounds(log)[:1] > [0] else LATE_STEP
        return hopeless(log)

    while clock >= LEAST * estimate:
        aim(placed, clock)
        try:
            run_tool([*command, RIPUP], directory, log, hopeless=stop)
            return
        except Stopped:
            clock *= step
    aim(placed, asked)
    run_tool(command, directory, log)


def aim(placed: Path, mhz: float) -> None:
    """Set the clock that a placed netlist is to reach, which counts for more than the router's option does."""
    setting = f'"target_freq": "{mhz * 1e6:.6f}"'
    write_atomically(placed, CLOCK.sub(setting, placed.read_text()))


def slow_in_rounds(log: str) -> list[int]:
    """How many connections were too slow in each round of the router, by its log."""
    return [int(number) for number in ROUND.findall(log)]


def hopeless(log: str) -> bool:
    """Whether the router's log says that it will not reach the clock."""
    slow = slow_in_rounds(log)
    return bool(slow) and (slow[0] > 0 or len(slow) > ROUNDS or (len(slow) >= PATIENCE and min(slow[-PATIENCE:]) > 0))
