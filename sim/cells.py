# SPDX-License-Identifier: Apache-2.0
"""Cells: the engine mapped to a library's standard cells, with or without clock gating, and what its registers do.

The large memories (64 rows and more) stay outside: their ports become pins. Small queues become flip-flops. With
gating, flip-flops that share an enable (of `GATED_BITS` and more) get their clock through one gating cell, and lose the
multiplexers that kept their values.

How often a gated clock ticks is measured, not estimated: beside the netlist, yosys writes the same design before its
mapping, where each register's enable still is a net; this is what Verilator simulates. A memory's rows that became
flip-flops tick as often as it is written, divided by its rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..fpga.tools import find_tool, run_tool
from ..hw.emit.verilog import TOP
from ..model.errors import OneSpikeError
from ..model.system import reports
from ..model.system.files import write_atomically
from .liberty import Library

MEMORY_ROWS = 64  # memories with at least as many rows are macros, not flip-flops
MEMORIES = "onespike_memories"
GATED_BITS = 4  # a gating cell costs about as much as the clock pins of three flip-flops
Activity = Map[str, tuple[float, float]]  # bit -> transitions per cycle, share of time at one

OPEN = f"""\
hierarchy -top {TOP}
proc; flatten; opt"""

SIMULATED = f"""\
read_verilog onespike.v
{OPEN}
memory -nomap
dffunmap -srst-only
opt_clean
rename -enumerate -pattern e%
write_json enables.json
write_verilog -noattr enables.v
"""

SYNTHESIS = f"""\
read_verilog -DONESPIKE_BLANK onespike.v
{OPEN}; wreduce; opt_clean; alumacc; share; opt
memory -nomap
opt_clean
submod -name {MEMORIES} t:$mem_v2 r:SIZE>={MEMORY_ROWS} %i
expose -evert t:{MEMORIES}
cd {TOP}
memory_map; opt -fast -full; techmap; opt -fast
GATING
dfflibmap -liberty cells.lib DONT_USE -dont_use *edf*
abc -liberty cells.lib -D PERIOD -constr load.txt DONT_USE
opt_clean -purge
rename -enumerate -pattern g%
delete {MEMORIES}
tee -q -o stat.txt stat -liberty cells.lib
write_verilog -noattr -noexpr netlist.v
write_json netlist.json
"""
# Enables become multiplexers (not *edf* cells), so that abc sees, and buffers, what they drive; sky130's power-gating
# cells (lpflow) are not meant for logic.
DONT_USE = "-dont_use *lpflow*"
# A reset that goes before the enable would keep its flip-flops from being gated.
GATING = f"dffunmap -srst-only\nclockgate -liberty cells.lib -min_net_size {GATED_BITS}"


@dataclass(frozen=True, kw_only=True)
class FlipFlop:
    """A flip-flop of the netlist. net: the bit that it holds, by the RTL's name. activity: None where the simulation
    does not know it. gate: the gating cell of its clock.
    """

    name: str
    cell: str
    net: str
    activity: tuple[float, float] | None
    gate: str | None


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """Flip-flops, and gating cells with the share of cycles in which their clock ticks. area_um2: of all cells, and of
    flip-flops among them.
    """

    flip_flops: tuple[FlipFlop, ...]
    gates: dict[str, float]
    cells: int
    area_um2: float
    sequential_um2: float


def synthesise(verilog: str, contents: Map[str, str], liberty: str, folder: Path, mhz: float, *, gating: bool) -> str:
    """Write the netlist to the folder, and return the Verilog to be simulated.

    contents: of the memories that the simulation starts with, by file name.
    """
    script = SYNTHESIS.replace("DONT_USE", DONT_USE).replace("PERIOD", f"{1e6 / mhz:.0f}")
    files = {
        **contents,
        "cells.lib": liberty,
        "onespike.v": verilog,
        "load.txt": "set_load 20 [all_outputs]\n",  # fF; with a load abc buffers and resizes
        "synthesis.ys": script.replace("GATING\n", f"{GATING}\n" if gating else ""),
        "simulated.ys": SIMULATED,
    }
    for name, text in files.items():
        write_atomically(folder / name, text)
    for name in ("synthesis", "simulated"):
        run_tool([find_tool("yosys"), "-q", "-l", f"{name}.log", f"{name}.ys"], folder, f"{name}.log")
    return (folder / "enables.v").read_text()


def netlist(folder: Path, library: Library, measured: Activity) -> Netlist:
    """What `synthesise` left in the folder, with what the simulation measured; OneSpikeError if they do not fit."""
    shares = reports.read(
        folder / "enables.json", "Yosys", lambda text: enables(json.loads(text)["modules"][TOP], measured)
    )
    counted = reports.read(folder / "stat.txt", "Yosys", statistics)
    return reports.read(
        folder / "netlist.json", "Yosys",
        lambda text: _netlist(json.loads(text)["modules"][TOP], library, measured, shares, counted, folder),
    )  # fmt: skip


def _netlist(
    module: Map[str, Any], library: Library, measured: Activity, shares: Map[str, float],
    counted: tuple[float, float, int], folder: Path,
) -> Netlist:  # fmt: skip
    names, cells = bit_names(module), module["cells"]
    gates = {name: cell["connections"] for name, cell in cells.items() if cell["type"] in library.gating}
    behind = {bit: name for name, pins in gates.items() for bits in pins.values() for bit in bits}
    root = module["ports"]["clk"]["bits"][0]
    flip_flops, missed = [], 0
    for name, cell in cells.items():
        for bit in cell["connections"].get("Q", ()):
            known = names.get(bit, [name])
            net = next((net for net in known if net in measured), known[0])
            missed += net not in measured
            pin, _ = library.clocks[cell["type"]]
            clock = cell["connections"][pin][0]
            gate = None if clock == root else behind.get(clock)
            flip_flops.append(FlipFlop(name=name, cell=cell["type"], net=net, activity=measured.get(net), gate=gate))
    if missed > len(flip_flops) / 20:  # some that yosys made itself have no name
        raise OneSpikeError(
            f"The netlist in {folder} has {missed} flip-flops that the simulation does not know; clean the folder."
        )
    ticking: dict[str, list[float]] = {}
    for found in flip_flops:
        if found.gate is not None:
            ticking.setdefault(found.gate, []).append(shares.get(found.net, 1.0))
    area, sequential, number = counted
    return Netlist(
        flip_flops=tuple(flip_flops),
        gates={name: sum(found) / len(found) for name, found in ticking.items()},
        cells=number,
        area_um2=area,
        sequential_um2=sequential,
    )


def bit_names(module: Map[str, Any]) -> dict[Any, list[str]]:
    """All names of each bit of a module in Yosys's JSON."""
    names: dict[Any, list[str]] = {}
    for name, entry in module["netnames"].items():
        for i, bit in enumerate(entry["bits"]):
            names.setdefault(bit, []).append(f"{name}[{i}]" if len(entry["bits"]) > 1 else name)
    return names


def enables(module: Map[str, Any], measured: Activity) -> dict[str, float]:
    """Share of cycles in which each register bit is written, by its name; bits without an enable are left out.

    module: Yosys's JSON of the simulated design, where every enable is a net.
    """
    names = bit_names(module)

    def share(bit: Any) -> float:
        if bit in ("0", "1", "x"):
            return float(bit == "1")
        return next((measured[name][1] for name in names.get(bit, ()) if name in measured), 1.0)

    found: dict[str, float] = {}
    for cell in module["cells"].values():
        pins, parameters = cell["connections"], cell["parameters"]
        if cell["type"] == "$dffe":
            high = int(parameters["EN_POLARITY"], 2)
            ticks = share(pins["EN"][0]) if high else 1 - share(pins["EN"][0])
            found |= dict.fromkeys((name for bit in pins["Q"] for name in names.get(bit, ())), ticks)
        elif cell["type"] == "$mem_v2" and (rows := int(parameters["SIZE"], 2)) < MEMORY_ROWS:
            width = int(parameters["WIDTH"], 2)
            written = sum(share(bit) for bit in pins["WR_EN"][::width])
            memory = parameters["MEMID"].removeprefix("\\")
            rows_bits = ((f"{memory}[{row}]", bit) for row in range(rows) for bit in range(width))
            found |= {f"{row}[{bit}]" if width > 1 else row: min(1.0, written / rows) for row, bit in rows_bits}
    return found


def read_saif(text: str, cycles: int, root: str = "dut") -> dict[str, tuple[float, float]]:
    """Transitions per cycle and share of time at one of every bit below instance `root`, as `bank0.lanes.acc0[3]`."""
    found = {}
    path: list[str] = []  # instances, and "" for the list of nets of one
    net = re.compile(r"\((\S+) \(T0 (\d+)\) \(T1 (\d+)\).*\(TC (\d+)\)\)")
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("(INSTANCE "):
            path.append(word.split()[1])
        elif word == "(NET":
            path.append("")
        elif word == ")" and path:
            path.pop()
        elif root in path and (bit := net.fullmatch(word)):
            name = ".".join([*path[path.index(root) + 1 : -1], bit[1].replace("\\", "")])
            low, high, changes = int(bit[2]), int(bit[3]), int(bit[4])
            found[name] = (changes / cycles, high / max(1, low + high))
    return found


def activities(path: Path, cycles: int) -> dict[str, tuple[float, float]]:
    """The same of a file."""
    return reports.read(path, "Verilator", lambda text: read_saif(text, cycles))


def statistics(text: str) -> tuple[float, float, int]:
    """Area of all cells and of flip-flops, cells."""
    area = re.search(r"Chip area for module .*: ([\d.]+)", text)
    sequential = re.search(r"used for sequential elements: ([\d.]+)", text)
    cells = re.search(r"(?m)^\s*(\d+)\s+\S+\s+cells$", text)
    if not (area and sequential and cells):
        raise ValueError("no area of the module, or no number of its cells")
    return float(area[1]), float(sequential[1]), int(cells[1])
