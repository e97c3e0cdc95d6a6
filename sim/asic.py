# SPDX-License-Identifier: Apache-2.0
"""ASIC: a first look at area, clock and energy of the engine with yosys, Verilator and OpenSTA on a Liberty file.

The engine's logic is mapped to the library's cells (`cells.py`), with clock gating where the library has a cell for it.
Every flip-flop, port and memory output toggles as often as it did in the RTL simulation of real images; OpenSTA carries
these activities through the gates between them (`power.py`). Its large memories (64 rows and more) are charged apart,
each access by CACTI (`model/cost/sram.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..fpga.tools import find_tool
from ..hw.emit.emit import memory_files
from ..hw.emit.verilog import TOP, to_verilog
from ..model.cost import energy, sram
from ..model.errors import OneSpikeError
from ..model.mapping.images import memory_images
from ..model.mapping.mapping import Mapping
from ..model.system import reports
from ..model.system.files import write_atomically
from ..model.system.locks import owned
from .cells import MEMORIES, MEMORY_ROWS, Activity, FlipFlop, activities, bit_names, netlist, synthesise
from .engine import simulate
from .liberty import Library, library, read_liberty
from .power import at_reachable_clock, by_unit, taken_apart

BRIEF = 1_000_000  # cycles that end sooner with tracing in an engine compiled without optimisation


@dataclass(frozen=True, kw_only=True)
class Asic:
    """The engine in one library, and its energy on the images that were simulated.

    area_um2: of all cells, and of flip-flops among them. fmax_mhz: the fastest clock before layout. clock_mhz: the one
    asked for, or fmax_mhz where that is slower; everything else is at this clock. gating_cells, gated_flip_flops: of
    the clock gating, and ticking, the share of cycles in which the mean flip-flop's clock ticks. power_mw,
    logic_parts_uj: of the logic, by what takes it (`power.Power`), and `total`; logic_uj: that total of an image.
    ungated_uj: clock and clock net if every clock always ticked. memory_uj: of the large memories, by name in memories.
    activity: transitions of a flip-flop per cycle, the mean. units: flip-flops and uJ by unit of the design.
    operations_uj: the same images' arithmetic in `energy.estimate`, for comparison.
    """

    library: str
    node_nm: float
    voltage: float
    area_um2: float
    sequential_um2: float
    cells: int
    flip_flops: int
    gating_cells: int
    gated_flip_flops: int
    ticking: float
    fmax_mhz: float
    clock_mhz: float
    power_mw: dict[str, float]
    activity: float
    cycles_per_image: float
    logic_parts_uj: dict[str, float]
    logic_uj: float
    ungated_uj: float
    units: dict[str, dict[str, float]]
    memories: list[dict[str, Any]]
    memory_uj: float
    memory_source: str
    operations_uj: float

    @property
    def total_uj(self) -> float:
        """Logic and memories."""
        return self.logic_uj + self.memory_uj


def asic(
    mapping: Mapping,
    codes: np.ndarray,
    liberty: str | Path,
    build_dir: str | Path,
    *,
    mhz: float = 100.0,
    gating: str = "auto",
    node: float | None = None,
) -> Asic:
    """Map, simulate images, as `model/network/pixels.py` says, one after the other, and analyse; minutes.

    gating: of clocks, "on", "off" or "auto": where the library has a cell for it. node: of the library in nm, which a
    Liberty file does not say. Raises OneSpikeError where another run uses build_dir, or the library does not do.
    """
    find_tool("yosys")
    sta = shutil.which("sta")
    if sta is None:
        raise OneSpikeError("Power needs OpenSTA's `sta`: on Debian and Ubuntu, run `apt-get install opensta`.")
    text = read_liberty(liberty)
    with owned(build_dir) as folder:
        cells = library(text, liberty)
        if gating == "on" and not cells.gating:
            raise OneSpikeError(
                f"{cells.name} has no clock-gating cell (clock_gating_integrated_cell : latch_posedge); leave clock "
                f"gating at auto, or set it off."
            )
        if (node := node or cells.node) is None:
            raise OneSpikeError(f"{cells.name} does not say its process; name it for the memories, such as --node 130.")
        return _analyse(mapping, codes, text, cells, folder, mhz, gating != "off" and bool(cells.gating), node, sta)


def _analyse(
    mapping: Mapping,
    codes: np.ndarray,
    text: str,
    cells: Library,
    folder: Path,
    mhz: float,
    gating: bool,
    node: float,
    sta: str,
) -> Asic:
    """`asic` with the text of the library, in a folder that belongs to this run."""
    contents = memory_files(memory_images(mapping), mapping.config)
    verilog = synthesise(to_verilog(mapping.config), contents, text, folder, mhz, gating=gating)
    run = folder / "run"
    simulated = simulate(
        mapping,
        codes,
        folder / "sim",
        run_dir=run,
        serial=False,
        waves="saif",
        gates={"onespike.v": verilog},
        brief=BRIEF,
    )
    measured = activities(run / "dump.saif", simulated.simulated_cycles)
    mapped = netlist(folder, cells, measured)
    module = reports.read(folder / "netlist.json", "Yosys", lambda text: json.loads(text)["modules"][TOP])
    write_atomically(folder / "activity.tcl", activity_script(module, mapped.flip_flops, measured))
    fmax, mhz, busy, idle = at_reachable_clock(sta, folder, mhz)
    power = taken_apart(mapped, cells, busy, idle, mhz)
    cycles = simulated.simulated_cycles / len(codes)
    seconds = cycles / mhz * 1e-6
    system = energy.estimate(mapping, codes)["onespike"]
    memories = sram.of_engine(mapping.config, system.bits, node, cells.voltage, least_rows=MEMORY_ROWS)
    gated = [f for f in mapped.flip_flops if f.gate is not None]
    ticks = [1.0 if f.gate is None else mapped.gates[f.gate] for f in mapped.flip_flops]
    parts = {name: watts * seconds * 1e6 for name, watts in power.parts().items()}
    return Asic(
        library=cells.name,
        node_nm=node,
        voltage=cells.voltage,
        area_um2=mapped.area_um2,
        sequential_um2=mapped.sequential_um2,
        cells=mapped.cells,
        flip_flops=len(mapped.flip_flops),
        gating_cells=len(mapped.gates),
        gated_flip_flops=len(gated),
        ticking=float(np.mean(ticks)),
        fmax_mhz=round(fmax, 1),
        clock_mhz=round(mhz, 1),
        power_mw={kind: value * 1e3 for kind, value in power.parts().items()},
        activity=float(np.mean([f.activity[0] for f in mapped.flip_flops if f.activity is not None])),
        cycles_per_image=cycles,
        logic_parts_uj=parts,
        logic_uj=parts["total"],
        ungated_uj=power.ungated * seconds * 1e6,
        units={
            name: {"flip_flops": unit["flip_flops"], "uj": (unit["clock"] + unit["data"]) * seconds * 1e6}
            for name, unit in by_unit(mapped, busy, idle).items()
        },
        memories=[memory.figures(seconds) for memory in memories],
        memory_uj=sum(memory.uj(seconds) for memory in memories),
        memory_source=sram.source(node, cells.voltage),
        operations_uj=system.memory_uj["arithmetic"],
    )


def activity_script(module: Map[str, Any], flip_flops: tuple[FlipFlop, ...], measured: Activity) -> str:
    """Tcl that gives every flip-flop and input of a netlist (in Yosys's JSON) its measured activity."""
    lines = [
        f"sta::set_power_pin_activity [get_pins {found.name}/Q] {found.activity[0]:.6f} {found.activity[1]:.6f}"
        for found in flip_flops
        if found.activity is not None
    ]
    names = bit_names(module)
    for name, port in module["ports"].items():
        if port["direction"] == "input" and name != "clk":
            for i, bit in enumerate(port["bits"]):
                # A memory's pins are called after the nets behind them.
                known = (measured.get(net.removeprefix(f"{MEMORIES}.")) for net in names.get(bit, ()))
                # Nothing is known of the load stream, which is idle.
                toggles, high = next((found for found in known if found is not None), (0.0, 0.0))
                pin = f"{name}[{i}]" if len(port["bits"]) > 1 else name
                ports = f"set_power_activity -input_ports [get_ports {{{pin}}}]"
                lines.append(f"{ports} -activity {toggles:.6f} -duty {high:.6f}")
    return "\n".join(lines) + "\n"
