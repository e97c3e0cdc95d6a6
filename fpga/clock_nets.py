# SPDX-License-Identifier: Apache-2.0
"""Clock nets: resets of many registers reach them over an ECP5's clock network, which nextpnr uses for clocks alone.

A clock network ends at clocks and resets. nextpnr leads it on to a LUT through wires that other inputs of that LUT may
then lack, and gives up: what logic reads of such a reset, it reads from a copy of the register that the reset is.
"""

from __future__ import annotations

from typing import Any

from .connections import FF, Connections

BUFFER = "DCCA"
RESET = "LSR"
MANY = 1000  # registers: fewer lie close enough together
MOST = 4  # resets: of sixteen networks, clocks need some


def promote_resets(netlist: dict[str, Any]) -> int:
    """Lead resets of every module of Yosys' JSON netlist over clock networks, in place; how many."""
    return sum(_Module(module).promote() for module in netlist["modules"].values())


class _Module(Connections):
    def promote(self) -> int:
        registers = [name for name, cell in self.cells.items() if cell["type"] == FF]
        resets = sorted((-len(self._reset_by(name)), name) for name in registers)
        many = [name for number, name in resets[:MOST] if -number >= MANY]
        for name in many:
            self._lead(name)
        return len(many)

    def _reset_by(self, name: str) -> list[str]:
        """The registers that one resets."""
        (net,) = self.cells[name]["connections"]["Q"]
        return [to for to, pin in self.readers[net] if pin == RESET and self.cells[to]["type"] == FF]

    def _lead(self, name: str) -> None:
        """Lead a register's output over a clock network, and that of a copy to logic."""
        source = self.cells[name]
        (net,), on, resets = source["connections"]["Q"], self.new_net(), self._reset_by(name)
        for to in resets:
            self.connect(to, RESET, [on])
        if others := [(to, pin) for to, pin in self.readers[net] if to]:
            inputs = {pin: bits[0] for pin, bits in source["connections"].items() if pin != "Q"}
            copy = self.new_net()
            self.add(f"{name}_for_logic", FF, source["parameters"], inputs, {"Q": copy})
            for to, pin in others:
                self.connect(to, pin, [copy])
        self.add(f"{name}_network", BUFFER, {}, {"CLKI": net, "CE": "1"}, {"CLKO": on})
