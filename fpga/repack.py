# SPDX-License-Identifier: Apache-2.0
"""Repack: what Yosys leaves undone in a netlist for ECP5, on its way to the router."""

from __future__ import annotations

import json
from pathlib import Path

from ..model.system import reports
from ..model.system.files import write_atomically
from .carry_chains import pack_carry_chains
from .clock_nets import promote_resets
from .output_registers import merge_output_registers
from .wide_luts import merge_wide_luts

# LUTs in carry chains leave narrower trees behind.
STEPS = (merge_output_registers, pack_carry_chains, merge_wide_luts, promote_resets)


def repack(path: Path) -> tuple[int, ...]:
    """Take all steps on the netlist in a file, which is replaced; how many cells each step has saved, or nets led."""

    def steps(text: str) -> tuple[tuple[int, ...], str]:
        netlist = json.loads(text)
        saved = tuple(step(netlist) for step in STEPS)
        return saved, json.dumps(netlist) if any(saved) else ""

    saved, text = reports.read(path, "Yosys", steps)
    if text:
        write_atomically(path, text)
    return saved
