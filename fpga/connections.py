# SPDX-License-Identifier: Apache-2.0
"""Connections: a module of Yosys' JSON netlist, of which every bit knows who reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

Bit = Any  # a net's number, or a constant as text
Cell = dict[str, Any]
FF = "TRELLIS_FF"
PINS = "ABCD"  # of a LUT4, and of either half of a carry cell
CONSTANTS = ("0", "1", "x")


class Connections:
    """The cells of a module, and who reads each bit: (cell, pin), or ("", "") for a port of the module."""

    def __init__(self, module: dict[str, Any]):
        self.cells: dict[str, Cell] = module["cells"]
        self.readers: dict[Bit, set[tuple[str, str]]] = defaultdict(set)
        for name in self.cells:
            self._reads(name, add=True)
        for port in module["ports"].values():
            for bit in port["bits"]:
                self.readers[bit].add(("", ""))
        nets = [bit for bits in self._bits(module) for bit in bits if isinstance(bit, int)]
        self.last_net = max(nets, default=1)

    def _bits(self, module: dict[str, Any]) -> list[list[Bit]]:
        ports = [port["bits"] for port in module["ports"].values()]
        return [*ports, *(bits for cell in self.cells.values() for bits in cell["connections"].values())]

    def _reads(self, name: str, *, add: bool) -> None:
        cell = self.cells[name]
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                for bit in bits:
                    (self.readers[bit].add if add else self.readers[bit].discard)((name, pin))

    def add(
        self, name: str, kind: str, parameters: Mapping[str, str], inputs: Mapping[str, Bit], outputs: Mapping[str, Bit]
    ) -> None:
        """A cell more, with pins of one bit."""
        directions = {**dict.fromkeys(inputs, "input"), **dict.fromkeys(outputs, "output")}
        pins = {pin: [bit] for pin, bit in (*inputs.items(), *outputs.items())}
        self.cells[name] = {
            "hide_name": 1, "type": kind, "parameters": dict(parameters), "attributes": {},
            "port_directions": directions, "connections": pins,
        }  # fmt: skip
        self._reads(name, add=True)

    def remove(self, name: str) -> None:
        """A cell less."""
        self._reads(name, add=False)
        del self.cells[name]

    def connect(self, name: str, pin: str, bits: list[Bit]) -> None:
        """Connect a cell's pin to other bits."""
        cell = self.cells[name]
        cell["connections"].setdefault(pin, [])
        for change in (False, True):
            if cell["port_directions"][pin] != "output":
                for bit in cell["connections"][pin]:
                    (self.readers[bit].add if change else self.readers[bit].discard)((name, pin))
            cell["connections"][pin] = bits

    def new_net(self) -> Bit:
        """A net without a name."""
        self.last_net += 1
        return self.last_net

    def is_read(self, bits: list[Bit]) -> bool:
        """Whether anybody reads one of the bits."""
        return any(self.readers.get(bit) for bit in bits)


def nets_of(bits: list[Bit]) -> list[Bit]:
    """The nets among the bits, each once."""
    return [bit for bit in dict.fromkeys(bits) if bit not in CONSTANTS]


def binary(table: int, size: int) -> str:
    """A truth table as a parameter."""
    return format(table, f"0{size}b")
