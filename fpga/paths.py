# SPDX-License-Identifier: Apache-2.0
"""Paths: how late every signal of a placed ECP5 netlist comes, and how long its way to the next register is, in ns.

An estimate: cells as nextpnr's model of speed grade 6 has them, wires by their length, as the router made those of a
crowded design (ResNet-8 on 16 x 16 lanes; median 0.45 + 0.09 ns for every column and row, a tenth a third more).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from .connections import Bit, Cell
from .slices import FF, LUT, Spot, net

RAM, NETWORK = "DP16KD", "DCCA"
CLOCK_TO_Q, LUT_DELAY, MUX, SETUP = 0.52, 0.24, 0.2, 0.1
CARRY_IN, CARRY_ON, CARRY_OUT = 0.45, 0.07, 0.44  # LUT to carry or sum, carry to carry, carry to sum
RESET_SETUP = 0.42
RAM_READ, RAM_REGISTER, RAM_SETUP = 5.8, 1.0, 0.3
WIRE, STEP = 0.5, 0.1
# Pins inside a slice or a memory of slices, whose wires have no length.
INSIDE = {"FCI", "F1", "FXA", "FXB", "DI", "WD", "WAD0", "WAD1", "WAD2", "WAD3"}
LOGIC = "ABCD"
NEVER, CLOSE = -1e9, 1e-6

Pin = tuple[str, str]  # cell, pin


def wire(start: Spot, end: Spot) -> float:
    return WIRE + STEP * (abs(start[0] - end[0]) + abs(start[1] - end[1]))


class Paths:
    """late: when each net's driver has its value, ns after the clock's edge; tail: from a pin that reads a net to the
    next register, the setup time included. Nets of clocks and constants have neither.
    """

    def __init__(self, cells: Mapping[str, Cell], at: Mapping[str, Spot]):
        self.cells, self.at = cells, at
        self.driver: dict[Bit, str] = {}
        self.readers: dict[Bit, list[Pin]] = defaultdict(list)
        for name, cell in cells.items():
            for pin, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][pin] == "output":
                        self.driver[bit] = name
                    else:
                        self.readers[bit].append((name, pin))
        order = list(self._order())
        self.rank = {name: at for at, name in enumerate(order)}
        self.late: dict[Bit, float] = {}
        self.tail: dict[Pin, float] = {}
        for name, cell in cells.items():
            if (start := _start(cell)) is not None:
                self.late.update((bit, start) for pin in _outputs(cell) for bit in net(cell, pin))
            for pin in cell["connections"]:
                if (setup := _setup(cell, pin)) is not None:
                    self.tail[name, pin] = setup
        for name in order:
            self._forward(name)
        for name in reversed(order):
            self._backward(name)

    def moved(self, names: Iterable[str]) -> None:
        """Anew, now that these cells stand elsewhere."""
        moved = list(names)
        behind = {to for name in moved for to in self._readers(name)} | set(moved)
        read = (bits for name in moved for bits in self.cells[name]["connections"].values())
        before = {self.driver.get(bit, "") for bits in read for bit in bits}
        queue = [(self.rank[name], name) for name in behind if name in self.rank]
        heapq.heapify(queue)
        done = None
        while queue:
            _, name = heapq.heappop(queue)
            if name != done and self._forward(name):
                for to in self._readers(name):
                    if to in self.rank:
                        heapq.heappush(queue, (self.rank[to], to))
            done = name
        queue = [(-self.rank[name], name) for name in before | set(moved) if name in self.rank]
        heapq.heapify(queue)
        done = None
        while queue:
            _, name = heapq.heappop(queue)
            if name != done and self._backward(name):
                for bits in self.cells[name]["connections"].values():
                    for source in {self.driver.get(bit) for bit in bits} - {name}:
                        if source in self.rank:
                            heapq.heappush(queue, (-self.rank[source], source))
            done = name

    def _readers(self, name: str) -> set[str]:
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
        if pin[1] in INSIDE or start is None or end is None or self.cells[driver]["type"] == NETWORK:
            return 0.0
        return wire(start, end)

    def _order(self) -> Iterator[str]:
        """Cells without a register, each behind those that it reads."""
        waits: dict[str, int] = {}
        for name, cell in self.cells.items():
            if _start(cell) is None and _outputs(cell):
                sources = {self.driver.get(b) for pin in cell["connections"] if pin not in _outputs(cell)
                           for b in net(cell, pin)}  # fmt: skip
                waits[name] = sum(s is not None and _start(self.cells[s]) is None and bool(_outputs(self.cells[s]))
                                  for s in sources)  # fmt: skip
        ready = [name for name, number in waits.items() if not number]
        while ready:
            name = ready.pop()
            yield name
            read = {to for pin in _outputs(self.cells[name]) for bit in net(self.cells[name], pin)
                    for to, _ in self.readers[bit]}  # fmt: skip
            for to in read:
                if to in waits:
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
    return SETUP if cell["type"] == LUT and pin in ("WD", "WAD0", "WAD1", "WAD2", "WAD3", "WRE") else None


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
