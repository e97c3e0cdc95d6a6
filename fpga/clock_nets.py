# SPDX-License-Identifier: Apache-2.0
"""Clock nets: what logic reads of a net that an ECP5's clock network carries, it reads from a register of its own.

A clock network ends at clocks and resets of registers. nextpnr leads it on to a LUT through wires that other inputs of
that LUT may then lack, and gives up. A network whose source is a register has a copy of it here, for all others.
"""

from __future__ import annotations

from typing import Any

from .connections import Connections

BUFFER, FF = "DCCA", "TRELLIS_FF"
ENDS = {"CLK", "LSR"}  # of registers


def copy_for_logic(netlist: dict[str, Any]) -> int:
    """Copy registers in every module of Yosys' JSON netlist, in place; how many LUT inputs read a copy."""
    return sum(_copied(module) for module in netlist["modules"].values())


def _copied(module: dict[str, Any]) -> int:
    found = Connections(module)
    registers = {cell["connections"]["Q"][0]: cell for cell in found.cells.values() if cell["type"] == FF}
    moved = 0
    for name, cell in [item for item in found.cells.items() if item[1]["type"] == BUFFER]:
        source = registers.get(cell["connections"]["CLKI"][0])
        readers = sorted(found.readers[cell["connections"]["CLKO"][0]])
        others = [(to, pin) for to, pin in readers if to and not (found.cells[to]["type"] == FF and pin in ENDS)]
        if source is None or not others:
            continue
        pins, outputs = dict(source["connections"]), found.new_net()
        inputs = {pin: bits[0] for pin, bits in pins.items() if pin != "Q"}
        found.add(f"{name}_for_logic", FF, source["parameters"], inputs, {"Q": outputs})
        for to, pin in others:
            found.connect(to, pin, [outputs])
        moved += len(others)
    return moved
