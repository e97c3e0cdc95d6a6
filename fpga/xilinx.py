# SPDX-License-Identifier: Apache-2.0
"""Xilinx: what an engine takes of a 7-series part, estimated by yosys; nothing is placed, so there is no clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..hw.config import EngineConfig
from ..hw.emit.verilog import TOP, to_verilog
from ..model.system import bounded
from ..model.system.files import write_atomically
from ..model.system.locks import in_turn
from .place_route import cells
from .synth import run_yosys, write_design
from .tools import find_tool, tool_versions

NAME = "xc7"
SCRIPT = f"synth_xilinx -family xc7 -top {TOP} -noiopad -noclkbuf"
# LUTs of the cells that are made of them; multiplexers behind LUTs and carry chains cost none.
LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32M": 4, "RAM64M": 4, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2,
    "RAM256X1S": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
}  # fmt: skip
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")
BLOCK_RAMS = {"RAMB36E1": 1.0, "RAMB18E1": 0.5}
MULTIPLIERS = ("DSP48E1",)


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """Cells after Yosys' mapping: an estimate, before any vendor's optimisation. block_rams: of 36 kbit."""

    luts: int
    flip_flops: int
    block_rams: float
    multipliers: int
    tools: str


def count(found: Mapping[str, int]) -> dict[str, Any]:
    """Resources of the cells that Yosys counts by type."""
    return {
        "luts": sum(luts * found.get(name, 0) for name, luts in LUTS.items()),
        "flip_flops": sum(found.get(name, 0) for name in FLIP_FLOPS),
        "block_rams": sum(rams * found.get(name, 0) for name, rams in BLOCK_RAMS.items()),
        "multipliers": sum(found.get(name, 0) for name in MULTIPLIERS),
    }


def estimate(config: EngineConfig, build_dir: str | Path) -> Estimated:
    """Map the engine to 7-series cells; a minute, then from the cache."""
    find_tool("yosys")
    tools = tool_versions("yosys")
    digest = hashlib.sha256("\n".join((to_verilog(config), SCRIPT, tools)).encode()).hexdigest()[:16]
    directory = Path(build_dir) / f"{NAME}-{digest}"
    result = directory / "result.json"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        if (before := bounded.kept(result, lambda found: Estimated(**found))) is not None:
            return before
        options = write_design(config, directory)
        run_yosys(f"read_verilog {' '.join(options)} {TOP}.v", SCRIPT, directory)
        found = Estimated(**count(cells(directory)), tools=tools)
        write_atomically(result, json.dumps(asdict(found), indent=1) + "\n")
        return found
