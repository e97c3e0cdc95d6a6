# SPDX-License-Identifier: Apache-2.0
"""Refine: cells on long paths of an ECP5 netlist, which is placed and not yet routed, move to where these are shorter.

nextpnr's static placer, which large designs need, knows lengths of wires but no timing. To it a register between two
others is as good at either end of the way as in the middle, and a LUT on a long path no different from any other. Here
single registers, single LUTs and LUTs with their register move, one at a time, each to a free place near where the
longest path through it is shortest; carry chains, wide multiplexers and memories stay. Then what came in late is looked
for anew.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.system import reports
from ..model.system.files import write_atomically
from .clock_nets import BUFFER
from .connections import FF, Cell
from .slices import LUT, Slice, Slices, Spot, net
from .static_timing import CLOCK_TO_Q, LOGIC, LUT_DELAY, NEVER, RESET_SETUP, SETUP, WIRE, StaticTiming, wire

ROUNDS = 12
MARGIN = 2.5  # ns: paths that are so much shorter than the longest one are left alone
GAIN = 0.15  # ns that a move must save

# A way through a unit: when its source has its value (the unit's own delay included), and where that stands; what
# follows the wire behind it, and where that wire ends. None: no wire.
Way = tuple[float, Spot | None, float, Spot | None]


def refine(path: Path) -> tuple[float, float]:
    """Move cells in the netlist that nextpnr has placed, in a file that is replaced; the longest path by estimate, in
    ns, before and afterwards.
    """

    def moves(text: str) -> tuple[float, float, str]:
        netlist = json.loads(text)
        (module,) = netlist["modules"].values()
        before, after = Refined(module).run()
        return before, after, json.dumps(netlist)

    before, after, text = reports.read(path, "the router", moves)
    write_atomically(path, text)
    return before, after


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What moves together: a LUT, a register, or a LUT and the register behind it."""

    lut: str | None
    register: str | None

    @property
    def names(self) -> list[str]:
        return [name for name in (self.lut, self.register) if name is not None]


class Refined:
    """A module's cells, whose places it changes."""

    def __init__(self, module: dict[str, Any]):
        self.cells: dict[str, Cell] = module["cells"]
        self.slices = Slices(self.cells)
        self.timing = StaticTiming(module, self.slices.at)

    def run(self) -> tuple[float, float]:
        """The longest path before and afterwards."""
        units = [unit for name in self.slices.at if (unit := self._unit(name)) is not None]
        first = worst = self.timing.longest
        for _ in range(ROUNDS):
            late = [(length, index) for index, unit in enumerate(units)
                    if (length := self._longest(unit)) > worst - MARGIN]  # fmt: skip
            moved = sum(self._move(units[index]) for _, index in sorted(late, reverse=True))
            worst = self.timing.longest
            if not moved:
                break
        return first, worst

    def _unit(self, name: str) -> Unit | None:
        """The unit that a LUT or register begins; none for what cannot move, or moves with its LUT."""
        cell, used = self.cells[name], {pin for pin in self.cells[name]["connections"] if net(self.cells[name], pin)}
        if cell["type"] == FF:
            return Unit(lut=None, register=name) if "M" in used and "DI" not in used else None
        if cell["type"] != LUT or cell["parameters"].get("MODE", "LOGIC") != "LOGIC" or not used <= {*"ABCDF"}:
            return None
        behind = [to for bit in net(cell, "F") for to, pin in self.timing.readers[bit] if pin == "DI"]
        inside = any(pin in ("F1", "FXA", "FXB") for bit in net(cell, "F") for _, pin in self.timing.readers[bit])
        if inside or len(behind) > 1 or name not in self.slices.at:
            return None
        return Unit(lut=name, register=behind[0] if behind else None)

    def _ends(self, unit: Unit) -> Iterator[Way]:
        """The ways through a unit."""
        at, timing = self.slices.at, self.timing

        def sources(name: str, pins: Iterable[str]) -> Iterator[tuple[float, Spot | None]]:
            for bit in (bit for pin in pins for bit in net(self.cells[name], pin)):
                source, late = timing.driver.get(bit, ""), timing.late.get(bit, NEVER)
                if source == unit.register:  # a wire that comes along
                    yield late + WIRE, None
                elif late > NEVER:
                    far = source in at and self.cells[source]["type"] != BUFFER
                    yield late, at[source] if far else None

        def sinks(name: str, pin: str) -> Iterator[tuple[float, Spot | None]]:
            for to in (to for bit in net(self.cells[name], pin) for to in timing.readers[bit]):
                tail = timing.tail.get(to, NEVER)
                if to[0] in at and to[0] not in unit.names and tail > NEVER:
                    yield tail, at[to[0]]

        if unit.lut is not None:
            after = [*sinks(unit.lut, "F"), *([(SETUP, None)] if unit.register is not None else [])]
            for late, start in sources(unit.lut, LOGIC):
                for tail, end in after:
                    yield late + LUT_DELAY, start, tail, end
        if unit.register is not None:
            for pin, setup in (("M", SETUP), ("CE", SETUP), ("LSR", RESET_SETUP)):
                for late, start in sources(unit.register, (pin,)):
                    yield late, start, setup, None
            for tail, end in sinks(unit.register, "Q"):
                yield CLOCK_TO_Q, None, tail, end

    def _longest(self, unit: Unit) -> float:
        """The longest path through a unit where it stands."""
        return longest(self._ends(unit), self.slices.at[unit.names[0]])

    def _move(self, unit: Unit) -> bool:
        ends, here = list(self._ends(unit)), self.slices.at[unit.names[0]]
        now = longest(ends, here)
        best: tuple[float, Any] = (now - GAIN, None)
        for spot in self._aims(ends, here):
            if longest(ends, spot) < best[0] and (site := self.slices.free(spot, unit.lut, unit.register)):
                best = min(best, (longest(ends, site[0][:2]), site), key=lambda found: found[0])
        if best[1] is None:
            return False
        before = self.slices.site(unit.names[0])
        self._put(unit, *best[1])
        if self._longest(unit) < now:
            return True
        self._put(unit, before[0], before[1][-1])  # a path leads through the unit twice
        return False

    def _put(self, unit: Unit, where: Slice, number: str) -> None:
        for name in unit.names:
            self.slices.move(name, where, number)
        self.timing.moved(unit.names)

    @staticmethod
    def _aims(ends: list[Way], here: Spot) -> list[Spot]:
        """Where a unit might stand: between it and the ends of its longest paths, and in the middle of all ends."""

        def spots(ways: list[Way]) -> list[Spot]:
            return [spot for _, start, _, end in ways for spot in (start, end) if spot is not None]

        columns, rows = ([spot[axis] for spot in spots(ends)] for axis in (0, 1))
        found = [((min(columns) + max(columns)) // 2, (min(rows) + max(rows)) // 2)] if columns else []
        # Of equal length, the same ones whatever order sets have.
        last = sorted(ends, key=lambda way: (longest([way], here), way[1] or (), way[3] or ()), reverse=True)[:3]
        for a, b in itertools.permutations([here, *spots(last)], 2):
            found += [(round(a[0] + part * (b[0] - a[0])), round(a[1] + part * (b[1] - a[1])))
                      for part in (0, 0.25, 0.5)]  # fmt: skip
        return list(dict.fromkeys(found))


def longest(ways: Iterable[Way], here: Spot) -> float:
    """The longest of a unit's ways where it stands here."""
    return max(
        (late + tail + (wire(start, here) if start else 0.0) + (wire(here, end) if end else 0.0)
         for late, start, tail, end in ways), default=0.0,
    )  # fmt: skip
