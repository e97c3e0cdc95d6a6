# SPDX-License-Identifier: Apache-2.0
"""Project: scripts that build an emitted engine in Vivado or Quartus.

| tool    | files                          | run                             |
|---------|--------------------------------|---------------------------------|
| vivado  | `vivado.tcl`, `onespike.xdc`   | `vivado -mode batch -source vivado.tcl`  |
| quartus | `quartus.tcl`, `onespike.sdc`  | `quartus_sh -t quartus.tcl`     |

Both stand in the folder that `onespike verilog` wrote and take names, files and the clock from its manifest. A core has
more ports than a package has pins: Vivado leaves it out of context, Quartus makes its pins virtual.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..model.errors import OneSpikeError
from ..model.system import bounded
from ..model.system.files import write_atomically
from ..model.system.locks import owned

TOOLS = ("vivado", "quartus")


def write_project(directory: str | Path, tool: str, part: str, *, mhz: float) -> list[Path]:
    """Write the scripts into a folder of `onespike verilog`; which files, in the order in which a user needs them.

    part: as the tool spells it, such as xc7a35tcpg236-1 or 10CX085YU484I6G. mhz: the clock that timing must meet.
    """
    if tool not in TOOLS:
        raise OneSpikeError(f"Unknown tool {tool!r}; choose one of {', '.join(TOOLS)}.")
    if not part.replace("-", "").isalnum():
        raise OneSpikeError(f"{part!r} is not the name of a part; write it as {tool} does, letters and digits only.")
    if not 1 <= mhz <= 1000:
        raise OneSpikeError(f"The clock must lie in 1..1000 MHz, not {mhz:g}.")
    directory = Path(directory)
    _manifest(directory)  # complain before anything is written
    with owned(directory):
        manifest = _manifest(directory)
        files = _vivado(manifest, part, mhz) if tool == "vivado" else _quartus(manifest, part, mhz)
        for name, text in files.items():
            write_atomically(directory / name, text)
    return [directory / name for name in files]


def _manifest(directory: Path) -> dict[str, Any]:
    path = directory / "manifest.json"
    try:
        text = bounded.read(path)
    except OneSpikeError as error:
        raise OneSpikeError(f"{str(error).rstrip('.')}; write the engine with `onespike verilog`.") from None
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, StopIteration):
        manifest = json.loads(text)
        names = [manifest["top"], *manifest["files"], _clock(manifest)]  # they become part of a script
        if manifest["format"] == "onespike-verilog" and all(re.fullmatch(r"\w[\w.-]*", name) for name in names):
            return manifest
    raise OneSpikeError(f"{path} is not a manifest of `onespike verilog`; write the engine again.")


def _sources(manifest: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Verilog files, and the memory images that they read."""
    files = [f for f in sorted(manifest["files"]) if not (f.startswith("tb_") or f.endswith("_tb.v"))]  # not the bench
    return [f for f in files if f.endswith(".v")], [f for f in files if f.endswith(".hex") and f != "load.hex"]


def _clock(manifest: Mapping[str, Any]) -> str:
    return next(p["name"] for p in manifest["ports"] if p["name"] in ("clk", "aclk", "s_axi_aclk"))


def _constraint(manifest: Mapping[str, Any], mhz: float) -> str:
    clock = _clock(manifest)
    return f"create_clock -name {clock} -period {1000 / mhz:.3f} [get_ports {clock}]\n"


def _vivado(manifest: Mapping[str, Any], part: str, mhz: float) -> dict[str, str]:
    verilog, memories = _sources(manifest)
    top = manifest["top"]
    script = f"""# Written by onespike; run with: vivado -mode batch -source vivado.tcl
set here [file dirname [file normalize [info script]]]
cd $here
create_project -force {top} vivado -part {part}
add_files -norecurse [list {" ".join(verilog)}]
# The memories start from these files: Vivado looks for them beside the Verilog.
add_files -norecurse [list {" ".join(memories)}]
set_property file_type {{Memory Initialization Files}} [get_files *.hex]
add_files -fileset constrs_1 -norecurse onespike.xdc
set_property top {top} [current_fileset]
# A core on its own has more ports than the package has pins: out of context leaves them unconnected.
synth_design -top {top} -part {part} -mode out_of_context -flatten_hierarchy rebuilt
report_utilization -hierarchical -file vivado_utilization.txt
opt_design
place_design
phys_opt_design
route_design
report_utilization -file vivado_utilization_routed.txt
report_timing_summary -file vivado_timing.txt
write_checkpoint -force {top}.dcp
set slack [get_property SLACK [get_timing_paths -delay_type max]]
puts "onespike: slack $slack ns at {mhz:g} MHz"
if {{$slack < 0}} {{ error "timing is not met: lower the clock or choose a faster part" }}
"""
    constraints = "# Written by onespike\n" + _constraint(manifest, mhz)
    return {"vivado.tcl": script, "onespike.xdc": constraints}


def _quartus(manifest: Mapping[str, Any], part: str, mhz: float) -> dict[str, str]:
    verilog, _ = _sources(manifest)
    top, clock = manifest["top"], _clock(manifest)
    assignments = "\n".join(f"set_global_assignment -name VERILOG_FILE {name}" for name in verilog)
    script = f"""# Written by onespike; run with: quartus_sh -t quartus.tcl
package require ::quartus::project
package require ::quartus::flow
cd [file dirname [file normalize [info script]]]
project_new {top} -overwrite
set_global_assignment -name DEVICE {part}
set_global_assignment -name TOP_LEVEL_ENTITY {top}
{assignments}
set_global_assignment -name SEARCH_PATH .
set_global_assignment -name SDC_FILE onespike.sdc
set_global_assignment -name PROJECT_OUTPUT_DIRECTORY quartus
# A core on its own has more ports than the package has pins: all but the clock become registers inside.
set_instance_assignment -name VIRTUAL_PIN ON -to *
set_instance_assignment -name VIRTUAL_PIN OFF -to {clock}
export_assignments
execute_flow -compile
project_close
"""
    constraints = "# Written by onespike\n" + _constraint(manifest, mhz) + "derive_clock_uncertainty\n"
    return {"quartus.tcl": script, "onespike.sdc": constraints}
