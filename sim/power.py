# SPDX-License-Identifier: Apache-2.0
"""Power: timing and power of a netlist by OpenSTA before layout, taken apart into clock, registers, gates and leakage.

OpenSTA says what each cell takes, first with the measured activities, then with nothing but the clock running: what is
left then is the clock's. It takes every clock to tick in every cycle, and the clock itself to drive nothing. So

    clock      = flip-flops' clock pins and what the gating cells drive, each times the share of cycles in which its
                 clock ticks; a gating cell's inside always
    clock net  = C V^2 f of all clock pins on the ungated clock
    registers  = what flip-flops take besides, as their data change
    gates      = every other cell
    leakage    = of all cells

No wires, no clock tree, no glitches: those need a layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Map
from dataclasses import asdict, dataclass
from pathlib import Path

from ..fpga.tools import run_tool
from ..hw.emit.verilog import TOP
from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically
from .cells import Netlist
from .liberty import Library

ANALYSIS = """\
read_liberty cells.lib
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
source activity.tcl
puts "onespike slack [sta::worst_slack_cmd max]"
proc powers {{name}} {{
  foreach cell [get_cells *] {{
    puts "onespike $name [get_full_name $cell] [sta::instance_power $cell [sta::cmd_corner]]"
  }}
}}
powers busy
set_power_activity -global -activity 0.0 -duty 0.5
powers idle
"""
Powers = Map[str, tuple[float, float, float]]  # cell -> W inside it, in its load, leakage


@dataclass(frozen=True, kw_only=True)
class Power:
    """W by what takes it, see above; ungated: what clock and clock net would take if every clock always ticked."""

    clock: float
    clock_net: float
    registers: float
    gates: float
    leakage: float
    ungated: float

    @property
    def total(self) -> float:
        return self.clock + self.clock_net + self.registers + self.gates + self.leakage

    def parts(self) -> dict[str, float]:
        """All but `ungated`, and the total."""
        return {name: value for name, value in asdict(self).items() if name != "ungated"} | {"total": self.total}


def at_reachable_clock(sta: str, folder: Path, mhz: float) -> tuple[float, float, Powers, Powers]:
    """The fastest clock, the one that power is given at, and all cells' powers, busy and idle: a clock out of reach has
    none."""
    fmax, busy, idle = analyse(sta, folder, mhz)
    if fmax >= mhz:
        return fmax, mhz, busy, idle
    return fmax, fmax, *analyse(sta, folder, fmax)[1:]


def analyse(sta: str, folder: Path, mhz: float) -> tuple[float, Powers, Powers]:
    """The fastest clock of the netlist in MHz, and the power of its cells at `mhz`, busy and idle."""
    period = 1000 / mhz
    write_atomically(folder / "analysis.tcl", ANALYSIS.format(top=TOP, period=period))
    text = run_tool([sta, "-exit", "analysis.tcl"], folder, "sta.log")
    write_atomically(folder / "sta.log", text)
    slack = re.search(r"onespike slack (\S+)", text)
    powers: dict[str, dict[str, tuple[float, float, float]]] = {"busy": {}, "idle": {}}
    for name, cell, inside, load, leakage in re.findall(r"(?m)^onespike (busy|idle) (\S+) (\S+) (\S+) (\S+)", text):
        powers[name][cell] = (float(inside), float(load), float(leakage))
    if slack is None or not powers["idle"] or re.search(r"(?m)^Error", text):
        raise OneSpikeError(f"OpenSTA could not analyse the netlist (log: {folder / 'sta.log'}).")
    return 1000 / (period - float(slack[1]) * 1e9), powers["busy"], powers["idle"]


def taken_apart(netlist: Netlist, library: Library, busy: Powers, idle: Powers, mhz: float) -> Power:
    """What takes how much of the power of a netlist at a clock."""
    clock = registers = ungated = 0.0
    on_root = sum(library.clocks[f.cell][1] for f in netlist.flip_flops if f.gate is None)
    of_gate = next((library.clocks[name][1] for name in library.gating if name in library.clocks), 0.0)
    for found in netlist.flip_flops:
        ticks = 1.0 if found.gate is None else netlist.gates[found.gate]
        pins = sum(idle[found.name][:2])
        clock += ticks * pins
        ungated += pins
        registers += sum(busy[found.name][:2]) - pins
    for name, ticks in netlist.gates.items():
        inside, load, _ = idle[name]
        clock += inside + ticks * load
    others = set(busy) - {f.name for f in netlist.flip_flops} - set(netlist.gates)
    every_pin = sum(library.clocks[f.cell][1] for f in netlist.flip_flops)
    per_farad = library.voltage**2 * mhz * 1e6
    return Power(
        clock=clock,
        clock_net=(on_root + of_gate * len(netlist.gates)) * per_farad,
        registers=registers,
        gates=sum(sum(busy[name][:2]) for name in others),
        leakage=sum(powers[2] for powers in busy.values()),
        ungated=ungated + every_pin * per_farad,
    )


def by_unit(netlist: Netlist, busy: Powers, idle: Powers) -> dict[str, dict[str, float]]:
    """Flip-flops, the W of their clock pins and of their data, by the unit of the design that they belong to."""
    units: dict[str, dict[str, float]] = {}
    for found in netlist.flip_flops:
        path = [re.sub(r"\d+$", "", part) for part in found.net.split("[")[0].split(".")[:2]]
        unit = units.setdefault(".".join(path), {"flip_flops": 0, "clock": 0.0, "data": 0.0})
        pins = sum(idle[found.name][:2])
        unit["flip_flops"] += 1
        unit["clock"] += pins * (1.0 if found.gate is None else netlist.gates[found.gate])
        unit["data"] += sum(busy[found.name][:2]) - pins
    return dict(sorted(units.items(), key=lambda item: -item[1]["clock"] - item[1]["data"]))
