# SPDX-License-Identifier: Apache-2.0
"""ASIC: a first look at area, clock and power of the engine's logic with yosys and OpenSTA on a Liberty file.

The engine is mapped to the library's cells without its large memories (64 rows and more), whose ports become pins;
small queues become flip-flops. Timing and power come from OpenSTA before layout: no wires, an ideal clock, no clock
gating. Every flip-flop, port and memory output toggles as often as it did in the RTL simulation of real images;
OpenSTA carries these activities through the gates between them. Memories are charged apart, by `model/cost/energy.py`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..fpga.synth import find_tool, run_tool
from ..hw.emit.verilog import TOP, to_verilog
from ..model.cost import energy
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.system import bounded
from ..model.system.files import write_atomically
from ..model.system.locks import owned
from .engine import simulate

MEMORY_ROWS = 64  # memories with at least as many rows are macros, not flip-flops
MEMORIES = "onespike_memories"

SYNTHESIS = f"""\
read_verilog -DONESPIKE_BLANK onespike.v
hierarchy -top {TOP}
proc; flatten; opt; wreduce; opt_clean; alumacc; share; opt
memory -nomap
opt_clean
submod -name {MEMORIES} t:$mem_v2 r:SIZE>={MEMORY_ROWS} %i
expose -evert t:{MEMORIES}
cd {TOP}
memory_map; opt -fast -full; techmap; opt -fast
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

ANALYSIS = """\
read_liberty cells.lib
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
source activity.tcl
puts "onespike slack [sta::worst_slack_cmd max]"
report_power -digits 9
"""


@dataclass(frozen=True, kw_only=True)
class Asic:
    """The engine's logic in one library, and its energy on the images that were simulated.

    area_um2: of all cells, and of flip-flops among them. fmax_mhz: the fastest clock before layout. clock_mhz: the one
    asked for, or fmax_mhz where that is slower; power_mw, by kind, and logic_uj are at this clock.
    logic_uj: that power over the cycles of an image. memory_uj: all spike, weight and parameter bits of an image in
    SRAM, by `energy.estimate`. activity: transitions of a flip-flop per cycle, the mean.
    """

    library: str
    area_um2: float
    sequential_um2: float
    cells: int
    flip_flops: int
    fmax_mhz: float
    clock_mhz: float
    power_mw: dict[str, float]
    activity: float
    cycles_per_image: float
    logic_uj: float
    memory_uj: float
    memory_source: str


def asic(
    mapping: Mapping, codes: np.ndarray, liberty: str | Path, build_dir: str | Path, *, mhz: float = 100.0
) -> Asic:
    """Map, simulate images, as `model/network/pixels.py` says, one after the other, and analyse; minutes.

    Raises OneSpikeError where another run uses build_dir.
    """
    yosys, sta = find_tool("yosys"), shutil.which("sta")
    if sta is None:
        raise OneSpikeError("Power needs OpenSTA's `sta`: on Debian and Ubuntu, run `apt-get install opensta`.")
    cells = read_liberty(liberty)
    with owned(build_dir) as folder:
        return _analyse(mapping, codes, cells, folder, mhz, yosys, sta)


def _analyse(
    mapping: Mapping, codes: np.ndarray, cells: str, build_dir: Path, mhz: float, yosys: str, sta: str
) -> Asic:
    """`asic` with the text of the library, in a folder that belongs to this run."""
    script = SYNTHESIS.replace("DONT_USE", DONT_USE).replace("PERIOD", f"{1e6 / mhz:.0f}")
    write_atomically(build_dir / "cells.lib", cells)
    write_atomically(build_dir / "onespike.v", to_verilog(mapping.config))
    write_atomically(build_dir / "load.txt", "set_load 20 [all_outputs]\n")  # fF; with a load abc buffers and resizes
    write_atomically(build_dir / "synthesis.ys", script)
    run_tool([yosys, "-q", "-l", "yosys.log", "synthesis.ys"], build_dir, "yosys.log")

    run_dir = build_dir / "run"
    simulated = simulate(mapping, codes, build_dir / "sim", run_dir=run_dir, serial=False, waves="saif")
    measured = read_saif((run_dir / "dump.saif").read_text(), simulated.simulated_cycles)
    pins, found = activity_script(json.loads((build_dir / "netlist.json").read_text()), measured)
    write_atomically(build_dir / "activity.tcl", pins)
    fmax, mhz, watts = at_reachable_clock(sta, build_dir, mhz)
    area, sequential, number, flip_flops = _stat(build_dir)
    cycles = simulated.simulated_cycles / len(codes)
    system = next(s for s in energy.estimate(mapping, codes).systems if s.name == "onespike")
    arithmetic = system.memory_uj["arithmetic"]
    return Asic(
        library=re.search(r"library\s*\(\s*\"?([^\")]+)", cells)[1],  # type: ignore[index]
        area_um2=area,
        sequential_um2=sequential,
        cells=number,
        flip_flops=flip_flops,
        fmax_mhz=round(fmax, 1),
        clock_mhz=round(mhz, 1),
        power_mw={kind: value * 1e3 for kind, value in watts.items()},
        activity=found,
        cycles_per_image=cycles,
        logic_uj=watts["total"] * cycles / mhz,
        memory_uj=system.total_uj - arithmetic,
        memory_source=energy.MEMORY_TABLE,
    )


def at_reachable_clock(sta: str, build_dir: Path, mhz: float) -> tuple[float, float, dict[str, float]]:
    """The fastest clock, the one that power is given at, and the power: a clock out of reach has none."""
    fmax, watts = analyse(sta, build_dir, mhz)
    if fmax >= mhz:
        return fmax, mhz, watts
    return fmax, fmax, analyse(sta, build_dir, fmax)[1]


def analyse(sta: str, build_dir: Path, mhz: float) -> tuple[float, dict[str, float]]:
    """The fastest clock of the netlist in MHz, and its power in watts, by kind, at `mhz`."""
    period = 1000 / mhz
    write_atomically(build_dir / "analysis.tcl", ANALYSIS.format(top=TOP, period=period))
    text = run_tool([sta, "-exit", "analysis.tcl"], build_dir, "sta.log")
    write_atomically(build_dir / "sta.log", text)
    slack = re.search(r"onespike slack (\S+)", text)
    total = re.search(r"(?m)^Total +(\S+) +(\S+) +(\S+) +(\S+)", text)
    if slack is None or total is None or re.search(r"(?m)^Error", text):
        raise OneSpikeError(f"OpenSTA could not analyse the netlist (log: {build_dir / 'sta.log'}).")
    watts = dict(zip(("internal", "switching", "leakage", "total"), map(float, total.groups()), strict=True))
    return 1000 / (period - float(slack[1]) * 1e9), watts


def read_liberty(path: str | Path) -> str:
    """Text of a Liberty file, compressed with gzip or not."""
    try:
        text = bounded.text(Path(path))
    except bounded.Damaged:
        text = ""
    if not re.match(r"(?>\s|/\*.*?\*/)*+library\s*\(", text, re.DOTALL):
        raise OneSpikeError(f"{path} is not a Liberty file; name one such as sky130_fd_sc_hd__tt_025C_1v80.lib.")
    return text


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


def activity_script(netlist: Map[str, Any], measured: Map[str, tuple[float, float]]) -> tuple[str, float]:
    """Tcl that gives every flip-flop and input its measured activity, and the flip-flops' mean transitions a cycle.

    netlist: Yosys's JSON; a flip-flop is a cell with a pin Q, known by the RTL's names of the net behind it.
    """
    module = netlist["modules"][TOP]
    names: dict[Any, list[str]] = {}
    for name, entry in module["netnames"].items():
        for i, bit in enumerate(entry["bits"]):
            names.setdefault(bit, []).append(f"{name}[{i}]" if len(entry["bits"]) > 1 else name)

    def look_up(bit: Any) -> tuple[float, float] | None:
        # A memory's pins are called after the nets behind them.
        known = (measured.get(name.removeprefix(f"{MEMORIES}.")) for name in names.get(bit, ()))
        return next((activity for activity in known if activity is not None), None)

    lines, flip_flops, missed = [], [], 0
    for name, cell in module["cells"].items():
        for bit in cell["connections"].get("Q", ()):
            activity = look_up(bit)
            if activity is None:
                missed += 1
                continue
            flip_flops.append(activity[0])
            lines.append(f"sta::set_power_pin_activity [get_pins {name}/Q] {activity[0]:.6f} {activity[1]:.6f}")
    if missed > len(flip_flops) / 20:
        raise OneSpikeError(
            f"{missed} flip-flops of the netlist have no counterpart in the simulation; clean the folder."
        )
    for name, port in module["ports"].items():
        if port["direction"] == "input" and name != "clk":
            for i, bit in enumerate(port["bits"]):
                pin = f"{name}[{i}]" if len(port["bits"]) > 1 else name
                activity = look_up(bit) or (0.0, 0.0)  # the load stream's, which is idle
                ports = f"set_power_activity -input_ports [get_ports {{{pin}}}]"
                lines.append(f"{ports} -activity {activity[0]:.6f} -duty {activity[1]:.6f}")
    return "\n".join(lines) + "\n", float(np.mean(flip_flops)) if flip_flops else 0.0


def _stat(directory: Path) -> tuple[float, float, int, int]:
    """Area of all cells and of flip-flops, cells, flip-flops."""
    text = (directory / "stat.txt").read_text()
    area = re.search(r"Chip area for module .*: ([\d.]+)", text)
    sequential = re.search(r"used for sequential elements: ([\d.]+)", text)
    cells = re.search(r"(?m)^\s*(\d+)\s+\S+\s+cells$", text)
    assert area and sequential and cells, "Yosys has changed the form of its statistics"
    module = json.loads((directory / "netlist.json").read_text())["modules"][TOP]
    flip_flops = sum("Q" in cell["connections"] for cell in module["cells"].values())
    return float(area[1]), float(sequential[1]), int(cells[1]), flip_flops
