# SPDX-License-Identifier: Apache-2.0
"""Clock nets: resets of many registers reach them over an ECP5's clock network, which nextpnr uses for clocks alone.

A clock network ends at clocks and resets. nextpnr leads it on to a LUT through wires that other inputs of that LUT may
then lack, and gives up: what logic reads of such a reset, it reads from a copy of the register that the reset is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .connections import Connections

BUFFER, FF = "DCCA", "TRELLIS_FF"
RESET = "LSR"
MANY = 1000  # registers: fewer lie close enough together
MOST = 4  # resets: of sixteen networks, clocks need some


def promote_resets(netlist: dict[str, Any]) -> int:
    """Lead resets of every module of Yosys' JSON netlist over clock networks, in place; how many."""
    return sum(_promote(module) for module in netlist["modules"].values())


def _promote(module: dict[str, Any]) -> int:
    found = Connections(module)
    readers: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in found.cells.items():
        if cell["type"] == FF:
            readers[name] = sorted(found.readers[cell["connections"]["Q"][0]])
    resets = {name: [to for to, pin in by if pin == RESET and found.cells[to]["type"] == FF]
              for name, by in readers.items()}  # fmt: skip
    many = sorted((-len(by), name) for name, by in resets.items() if len(by) >= MANY)[:MOST]
    for _, name in many:
        source = found.cells[name]
        (net,), on = source["connections"]["Q"], found.new_net()
        found.add(f"{name}_network", BUFFER, {}, {"CLKI": net, "CE": "1"}, {"CLKO": on})
        for to in resets[name]:
            found.connect(to, RESET, [on])
        others = [(to, pin) for to, pin in readers[name] if to and to not in resets[name]]
        if others:
            inputs = {pin: bits[0] for pin, bits in source["connections"].items() if pin != "Q"}
            copy = found.new_net()
            found.add(f"{name}_for_logic", FF, source["parameters"], inputs, {"Q": copy})
            for to, pin in others:
                found.connect(to, pin, [copy])
    return len(many)
