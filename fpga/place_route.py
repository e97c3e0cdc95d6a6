# SPDX-License-Identifier: Apache-2.0
"""Place and route: the router's command for a netlist, and what it says of cells and clock."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..model.system import reports
from ..model.system.contents import code
from ..model.system.files import write_atomically
from ..model.targets import STATIC, Family, Target
from .refine import refine
from .route import route
from .tools import find_tool, run_tool

NETLIST = "top.json"


def routing(
    part: Target, directory: Path, frequency: float, seed: int, *, options: tuple[str, ...] = (), name: str = ""
) -> list[str]:
    """The router's command for the directory's netlist; its log and its report are nextpnr.log and report.json.

    options: more of them; name: what the names of log and report begin with.
    """
    family = part.family
    found = cells(directory)
    luts = sum(number * family.cells.get(name, (0, 0))[0] for name, number in found.items())
    usual = part.routing(found.get(family.block_rams, 0), luts)
    if set(usual) & set(options):  # the router takes an option once
        usual = ()
    command = [find_tool(family.router), *part.part, *usual, *options, "--json", NETLIST]
    command += ["--freq", f"{frequency:.6g}", "--seed", str(seed), "--timing-allow-fail"]
    command += ["--report", f"{name}report.json", "--log", f"{name}nextpnr.log", "-q"]
    return command


def ways(family: Family) -> list[Any]:
    """What place and route does with designs for a family, for the keys of caches."""
    modules = (refine.__module__, route.__module__) if STATIC in family.crowded else ()
    return [family.crowded, family.usual, *map(code, modules)]


def pinned(part: Target, directory: Path, command: list[str]) -> list[str]:
    """Options of the router's command for the pins of the timing wrapper that it does not choose itself.

    nextpnr's static placer may move an ECP5's clock to a pin that does not reach the clock network.
    """
    pins = dict(zip(("clk", "rst", "pin_in", "pin_out"), part.pins, strict=False))
    if not pins or (part.family.name == "ecp5" and STATIC not in command):
        return []
    if part.family.name == "ecp5":
        write_atomically(directory / "top.lpf", "".join(f'LOCATE COMP "{n}" SITE "{p}";\n' for n, p in pins.items()))
        return ["--lpf", "top.lpf"]
    write_atomically(directory / "top.cst", "".join(f'IO_LOC "{n}" {p};\n' for n, p in pins.items()))
    return ["--vopt", "cst=top.cst"]


def place_and_route(command: list[str], directory: Path, *, outputs: tuple[str, ...] = ()) -> None:
    """Run the router's command, by `routing` and `pinned`; outputs: its options for what else it is to write.

    Its static placer knows no timing: between placing and routing, cells on long paths then move (`refine`), and the
    router is told of a clock that it can reach (`route`).
    """
    netlist, log = (command.index(option) + 1 for option in ("--json", "--log"))
    if STATIC not in command:
        run_tool([*command, *outputs], directory, command[log])
        return
    name = command[log].removesuffix("nextpnr.log")
    placed = directory / f"{name}placed.json"
    rest = [*command, "--no-pack", "--no-place", *outputs]
    rest[netlist], rest[log] = placed.name, f"{name}route.log"
    try:
        run_tool([*command, "--no-route", "--write", placed.name], directory, command[log])
        _, longest = refine(placed)
        route(rest, directory, rest[log], placed, longest)
    finally:
        placed.unlink(missing_ok=True)


def packed_cells(command: list[str], directory: Path) -> dict[str, tuple[int, int]]:
    """Cells in use and cells there are, where a router's command would place with its static algorithm; else nothing.

    That one does not look whether a part has enough of a cell: it would move them about for hours.
    """
    if STATIC not in command:
        return {}
    run_tool([*command, "--pack-only"], directory, "nextpnr.log")
    return used_cells(directory / "nextpnr.log")


def utilisation(log: str) -> dict[str, tuple[int, int]]:
    """Cells in use and cells there are, by type, from the last table of the router's log; empty if there is none."""
    _, _, table = log.rpartition("Device utilisation")
    found = re.findall(r"(?m)^Info:\s+(\w+):\s*(\d+)/\s*(\d+)", table)
    return {name: (int(used), int(available)) for name, used, available in found}


def used_cells(log: Path) -> dict[str, tuple[int, int]]:
    """The same of the log in a file."""
    return reports.read(log, "the router", utilisation)


def cells(directory: Path) -> dict[str, int]:
    """Number of cells by type, in the statistics that `run_yosys` left."""

    def counts(text: str) -> dict[str, int]:
        return {str(name): int(number) for name, number in json.loads(text)["design"]["num_cells_by_type"].items()}

    return reports.read(directory / "stat.json", "Yosys", counts)


def count_flip_flops(directory: Path, family: Family) -> int:
    """Registers in Yosys' statistics, where the router does not count them apart."""
    return sum(number for name, number in cells(directory).items() if name.startswith(family.flip_flops))


def timing(path: Path) -> tuple[float, tuple[str, ...]]:
    """Clock in MHz and the longest path between its registers, from the router's report.

    Of several clocks, the one that is nearest to what was asked of it, or below.
    """
    return reports.read(path, "the router", _timing)


def _timing(text: str) -> tuple[float, tuple[str, ...]]:
    report = json.loads(text)
    name, clock = min(report["fmax"].items(), key=lambda item: item[1]["achieved"] / item[1]["constraint"])
    ends = f"posedge {name}"
    clocked = [p["path"] for p in report["critical_paths"] if p["from"] == p["to"] == ends]
    steps = clocked[0] if clocked else []
    return round(clock["achieved"], 2), tuple(
        f"{step['delay']:.2f} ns {step['type']} {step['from']['cell']} -> {step['to']['cell']}" for step in steps
    )
