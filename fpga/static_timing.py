# SPDX-License-Identifier: Apache-2.0
"""Static timing: when each signal of a placed ECP5 netlist comes, and how long its way to the next register is, in ns.

An estimate: cells as nextpnr's model of speed grade 6 has them, wires by their length, as the router made those of a
crowded design (ResNet-8 on 16 x 16 lanes; median 0.45 + 0.09 ns for every column and row, a tenth a third more).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .clock_nets import BUFFER
from .connections import FF, Bit, Cell, Connections
from .slices import LUT, Spot, net

RAM = "DP16KD"
CLOCK_TO_Q, LUT_DELAY, MUX, SETUP = 0.52, 0.24, 0.2, 0.1
CARRY_IN, CARRY_ON, CARRY_OUT = 0.45, 0.07, 0.44  # LUT to carry or sum, carry to carry, carry to sum
RESET_SETUP = 0.42
RAM_READ, RAM_REGISTER, RAM_SETUP = 5.8, 1.0, 0.3
WIRE, STEP = 0.5, 0.1
# Pins inside a slice or a memory of slices, whose wires have no length.
WRITTEN = {"WD", "WAD0", "WAD1", "WAD2", "WAD3"}
INSIDE = {"FCI", "F1", "FXA", "FXB", "DI", *WRITTEN}
LOGIC = "ABCD"
NEVER, CLOSE = -1e9, 1e-6

Pin = tuple[str, str]  # cell, pin


def wire(start: Spot, end: Spot) -> float:
    return WIRE + STEP * (abs(start[0] - end[0]) + abs(start[1] - end[1]))


class StaticTiming(Connections):
    """late: when each net's driver has its value, ns after the clock's edge; tail: from a pin that reads a net to the
    next register, the setup time included. Nets of clocks and constants have neither.
    """

    def __init__(self, module: dict[str, Any], at: Mapping[str, Spot]):
        super().__init__(module)
        self.at = at
        self.driver = {
            bit: name for name, cell in self.cells.items() for pin in _outputs(cell) for bit in net(cell, pin)
        }
        order = list(self._order())
        self.rank = {name: number for number, name in enumerate(order)}
        self.late: dict[Bit, float] = {}
        self.tail: dict[Pin, float] = {}
        for name, cell in self.cells.items():
            if (start := _start(cell)) is not None:
                self.late.update((bit, start) for pin in _outputs(cell) for bit in net(cell, pin))
            for pin in cell["connections"]:
                if (setup := _setup(cell, pin)) is not None:
                    self.tail[name, pin] = setup
        for name in order:
            self._forward(name)
        for name in reversed(order):
            self._backward(name)

    def moved(self, names: Collection[str]) -> None:
        """Anew, now that these cells stand elsewhere."""
        self._follow({*names, *(to for name in names for to in self._readers(name))}, 1, self._forward, self._readers)
        self._follow({*names, *(s for name in names for s in self._sources(name))}, -1, self._backward, self._sources)

    def _follow(
        self, names: set[str], sign: int, anew: Callable[[str], bool], further: Callable[[str], set[str]]
    ) -> None:
        """Cells without a register anew, by rank upwards or downwards, and those further on where one changes."""
        queue = [(sign * self.rank[name], name) for name in names if name in self.rank]
        heapq.heapify(queue)
        done = ""
        while queue:
            _, name = heapq.heappop(queue)
            if name != done and anew(name):
                for to in further(name) & self.rank.keys():
                    heapq.heappush(queue, (sign * self.rank[to], to))
            done = name

    def _sources(self, name: str) -> set[str]:
        """The cells that a cell reads."""
        cell = self.cells[name]
        inputs = cell["connections"].keys() - _outputs(cell)
        return {self.driver[bit] for pin in inputs for bit in net(cell, pin) if bit in self.driver}

    def _readers(self, name: str) -> set[str]:
        """The cells that read a cell."""
        cell = self.cells[name]
        return {to for pin in _outputs(cell) for bit in net(cell, pin) for to, _ in self.readers[bit]}

    def _forward(self, name: str) -> bool:
        """When a cell's outputs have their values; whether that has changed."""
        cell, changed = self.cells[name], False
        for pin in _outputs(cell):
            for bit in net(cell, pin):
                late = max((self.arrival(name, i) + delay for i, delay in _arcs(cell, pin)), default=NEVER)
                changed |= abs(late - self.late.get(bit, 0.0)) > CLOSE
                self.late[bit] = late
        return changed

    def _backward(self, name: str) -> bool:
        """What follows a cell's inputs; whether that has changed."""
        cell = self.cells[name]
        found: dict[Pin, float] = {}
        for pin in _outputs(cell):
            after = max((self.way(bit) for bit in net(cell, pin)), default=NEVER)
            for i, delay in _arcs(cell, pin):
                found[name, i] = max(found.get((name, i), NEVER), delay + after)
        changed = any(abs(tail - self.tail.get(pin, 0.0)) > CLOSE for pin, tail in found.items())
        self.tail.update(found)
        return changed

    def arrival(self, name: str, pin: str) -> float:
        """When a pin of a cell has its value."""
        return max((self.late.get(bit, NEVER) + self._wire(bit, (name, pin)) for bit in net(self.cells[name], pin)),
                   default=NEVER)  # fmt: skip

    def way(self, bit: Bit) -> float:
        """From a net's driver to the next register, the longest way."""
        return max((self._wire(bit, pin) + self.tail.get(pin, NEVER) for pin in self.readers[bit]), default=NEVER)

    @property
    def longest(self) -> float:
        return max((late + self.way(bit) for bit, late in self.late.items()), default=0.0)

    def _wire(self, bit: Bit, pin: Pin) -> float:
        driver = self.driver.get(bit, "")
        start, end = self.at.get(driver), self.at.get(pin[0])
        if pin[1] in INSIDE or start is None or end is None or self.cells[driver]["type"] == BUFFER:
            return 0.0
        return wire(start, end)

    def _order(self) -> Iterator[str]:
        """Cells without a register, each behind those that it reads."""
        plain = {name for name, cell in self.cells.items() if _start(cell) is None and _outputs(cell)}
        waits = {name: len(self._sources(name) & plain) for name in self.cells if name in plain}
        ready = [name for name, number in waits.items() if not number]
        while ready:
            name = ready.pop()
            yield name
            for to in self._readers(name) & plain:
                waits[to] -= 1
                if not waits[to]:
                    ready.append(to)


def _outputs(cell: Cell) -> list[str]:
    return [pin for pin, way in cell["port_directions"].items() if way == "output"]


def _start(cell: Cell) -> float | None:
    """When a register's or block RAM's outputs have their values; None of what is no such cell."""
    if cell["type"] == FF:
        return CLOCK_TO_Q
    if cell["type"] == RAM:
        modes = [cell["parameters"].get(f"REGMODE_{port}") for port in "AB"]
        return RAM_REGISTER if "OUTREG" in modes else RAM_READ
    return None


def _setup(cell: Cell, pin: str) -> float | None:
    """How long before the clock's edge a pin must have its value; None of what is no such pin."""
    if cell["port_directions"][pin] == "output" or pin.startswith("CLK"):
        return None
    if cell["type"] == FF:
        return RESET_SETUP if pin == "LSR" else SETUP
    if cell["type"] == RAM:
        return RAM_SETUP
    return SETUP if cell["type"] == LUT and pin in (*WRITTEN, "WRE") else None


def _arcs(cell: Cell, output: str) -> list[tuple[str, float]]:
    """The inputs that an output of a cell without a register follows, and how long it takes."""
    inputs = [pin for pin, way in cell["port_directions"].items() if way == "input" and net(cell, pin)]
    if cell["type"] != LUT:
        return [(pin, 0.0) for pin in inputs]
    carry = cell["parameters"].get("MODE") == "CCU2"
    found = []
    for pin in inputs:
        if pin in LOGIC:
            delay = CARRY_IN if carry else LUT_DELAY + MUX * (output == "OFX")
        elif pin == "FCI":
            delay = CARRY_ON if output == "FCO" else CARRY_OUT
        elif pin in ("M", "F1", "FXA", "FXB"):
            if output != "OFX":
                continue
            delay = MUX
        else:
            continue
        found.append((pin, delay))
    return found
