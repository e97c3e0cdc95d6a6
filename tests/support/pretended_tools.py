# SPDX-License-Identifier: Apache-2.0
"""Yosys, router and packer that only pretend."""

import json
import re
from pathlib import Path
from typing import Any

from onespike.fpga import bitstream, place_route, route, synth
from onespike.model.errors import OneSpikeError

RUNNERS = (bitstream, place_route, route, synth)  # the modules whose `run_tool` runs them
NAMES = {"ecp5": ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD"), "ice40": ("ICESTORM_LC", "", "ICESTORM_RAM"),
         "gowin": ("LUT4", "DFF", "BSRAM")}  # fmt: skip

ROUTED = {
    "ecp5": """.tile R1C1:PLC2
enum: SLICEA.MODE LOGIC

.tile_group MIB_R50C2:PLL0_LL MIB_R50C3:BANKREF8
word: CLKI_DIV 0000000
word: CLKFB_DIV 0000011
word: CLKOP_DIV 0000101
word: CLKOP_CPHASE 0000011
word: CLKOS_DIV 0000111
enum: MODE EHXPLLL

.tile_group EBR
word: CLKI_DIV 0000000
""",
    "gowin": json.dumps({"modules": {"top": {"cells": {"pll": {
        "type": "rPLL", "parameters": {"FCLKIN": "27", "IDIV_SEL": "0" * 32, "CLKFB_SEL": "internal"}}}}}}),
}  # fmt: skip


class Tools:
    """Yosys, router and packer that write what the real ones would; `reached`: the clocks of the runs to come."""

    def __init__(self, reached: list[float], luts: list[int] | None = None, rams: int = 5):
        self.reached, self.luts, self.rams, self.commands = list(reached), list(luts or []), rams, []

    def run(self, command: list[str], folder: Path, log: str, **_: Any) -> str:
        name = Path(command[0]).name
        self.commands.append([name, *command[1:]])
        if "yosys" in name:
            (folder / "stat.json").write_text(
                json.dumps({"design": {"num_cells_by_type": {"SB_DFF": 70, "SB_DFFE": 8, "DP16KD": self.rams}}})
            )
            (folder / "top.json").write_text('{"modules": {}}')
        elif "nextpnr" in name:
            family = {"ecp5": "ecp5", "ice40": "ice40"}.get(name.split("-")[-1], "gowin")
            luts, registers, rams = NAMES[family]
            used = self.luts.pop(0) if self.luts else 900
            table = [(luts, used, 1000), (rams, self.rams, 30)] + ([(registers, 80, 1000)] if registers else [])
            lines = [f"Info: \t{cell:>20}: {number:7d}/{have:7d}    9%" for cell, number, have in table]
            (folder / log).write_text("\n".join(["Info: Device utilisation:", *lines, ""]))
            if used > 24288:
                raise OneSpikeError("the placer found no place")
            if "--pack-only" in command:
                return ""
            if "--no-route" in command:
                placed = folder / command[command.index("--write") + 1]
                placed.write_text('{"modules": {"top": {"ports": {}, "cells": {}}}}')
                return ""
            clocks = {"reference": {"achieved": 300.0, "constraint": 25.0}}
            aim = float(command[command.index("--freq") + 1])
            clocks["clk"] = {"achieved": self.reached.pop(0), "constraint": aim}
            (folder / "report.json").write_text(json.dumps({"fmax": clocks, "critical_paths": []}))
            if family != "ice40":
                (folder / bitstream.ROUTED[family]).write_text(ROUTED[family])
        else:
            packed = next(a for a in command if re.search(r"packed\.\w+$", a))
            (folder / packed).write_bytes(b"bits")
        return ""
