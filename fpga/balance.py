# SPDX-License-Identifier: Apache-2.0
"""Balance: registers on a long way move to its middle, in an ECP5 netlist that is placed and not yet routed.

nextpnr's static placer, which large designs need, knows lengths of wires but no timing. To it a register on the way
from one register to another is as good at either end as in the middle, so that a hop of two cycles often becomes one
wire across the chip and one of no length. What it leaves is put right here: the longer of the two wires gets shorter.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..model.system import reports
from ..model.system.files import write_atomically
from .connections import Bit, Cell

FF, LUT = "TRELLIS_FF", "TRELLIS_COMB"
PLACE = "NEXTPNR_BEL"
SITE = re.compile(r"X(\d+)/Y(\d+)/SLICE([A-D])\.(FF|K)([01])")
LONG = 16  # columns and rows: shorter ways stay as they are
REACH = 12  # from the middle, within which a free place is looked for
SWEEPS = 4  # a register's neighbours may move, too
FREE_PINS = {"CLK", "M", "Q"}  # of a register without enable or reset that does not stand behind a LUT

Spot = tuple[int, int]  # column, row
Slice = tuple[int, int, str]


def balance(path: Path) -> int:
    """Move registers in the netlist that nextpnr has placed, in a file that is replaced; how many have moved."""

    def moves(text: str) -> tuple[int, str]:
        netlist = json.loads(text)
        (module,) = netlist["modules"].values()
        moved = _Placed(module["cells"]).balance()
        return moved, json.dumps(netlist) if moved else ""

    moved, text = reports.read(path, "the router", moves)
    if text:
        write_atomically(path, text)
    return moved


class _Placed:
    def __init__(self, cells: dict[str, Cell]):
        self.cells = cells
        self.at: dict[str, Spot] = {}
        self.driver: dict[Bit, str] = {}
        self.readers: dict[Bit, list[tuple[str, str]]] = defaultdict(list)
        self.slices: dict[Slice, dict[str, str]] = defaultdict(dict)  # what stands in FF0, FF1, K0 and K1
        self.tiles: dict[Spot, set[Bit]] = defaultdict(set)  # the clocks of every tile that holds logic
        self.barred: set[Spot] = set()  # tiles with memory in LUTs, whose slices share more
        for name, cell in cells.items():
            place = cell["attributes"].get(PLACE, "")
            if found := re.match(r"X(\d+)/Y(\d+)/", place):
                self.at[name] = spot = (int(found[1]), int(found[2]))
                if site := SITE.fullmatch(place):
                    self.slices[*spot, site[3]][site[4] + site[5]] = name
                    self.tiles[spot].update(_net(cell, "CLK"))
                if cell["type"] not in (FF, LUT) or cell["parameters"].get("MODE", "LOGIC") in ("DPRAM", "RAMW_BLOCK"):
                    self.barred.add(spot)
            for pin, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][pin] == "output":
                        self.driver[bit] = name
                    else:
                        self.readers[bit].append((name, pin))

    def balance(self) -> int:
        ways = {name: way for name in self.cells if (way := self._way(name))}
        moved = set()
        for _ in range(SWEEPS):
            for name, ends in ways.items():
                if self._move(name, ends):
                    moved.add(name)
        return len(moved)

    def _way(self, name: str) -> list[str]:
        """The registers before and behind one that may move; none where it may not."""
        cell = self.cells[name]
        if cell["type"] != FF or name not in self.at or set(cell["connections"]) != FREE_PINS:
            return []
        (bit,), (out,) = cell["connections"]["M"], cell["connections"]["Q"]
        source, readers = self.driver.get(bit, ""), self.readers[out]
        ends = [source, *(reader for reader, _ in readers)]
        registers = all(end in self.at and self.cells[end]["type"] == FF for end in ends)
        return ends if readers and registers and all(pin == "M" for _, pin in readers) else []

    def _move(self, name: str, ends: list[str]) -> bool:
        spots = [self.at[end] for end in ends]
        now = _longest(self.at[name], spots)
        if now <= LONG:
            return False
        best = min(self._free(name, spots), default=(now, ""))
        if best[0] >= now - 1:
            return False
        self._put(name, best[1])
        return True

    def _free(self, name: str, spots: list[Spot]) -> Iterator[tuple[int, str]]:
        """Longest way and place of every free site near the middle of a register's ends."""
        clocks = set(_net(self.cells[name], "CLK"))
        first, *others = spots
        middle = [(first[axis] + (min(s[axis] for s in others) + max(s[axis] for s in others)) // 2) // 2
                  for axis in (0, 1)]  # fmt: skip
        for x in range(middle[0] - REACH, middle[0] + REACH + 1):
            for y in range(middle[1] - REACH, middle[1] + REACH + 1):
                if (x, y) in self.barred or self.tiles.get((x, y)) not in (set(), clocks):
                    continue
                for letter, number in itertools.product("ABCD", "01"):
                    if self._fits(name, (x, y, letter), number):
                        yield _longest((x, y), spots), f"X{x}/Y{y}/SLICE{letter}.FF{number}"

    def _fits(self, name: str, where: Slice, number: str) -> bool:
        there = self.slices.get(where, {})
        # A multiplexer behind two LUTs is chosen by the pin that the register needs.
        luts = (there[k] for k in ("K0", "K1") if k in there)
        if f"FF{number}" in there or any("M" in self.cells[lut]["connections"] for lut in luts):
            return False
        other = there.get(f"FF{1 - int(number)}")
        return other is None or _controls(self.cells[other]) == _controls(self.cells[name])

    def _put(self, name: str, place: str) -> None:
        cell = self.cells[name]
        old, new = SITE.fullmatch(cell["attributes"][PLACE]), SITE.fullmatch(place)
        assert old is not None and new is not None, "both are sites of slices"
        del self.slices[int(old[1]), int(old[2]), old[3]][old[4] + old[5]]
        self.at[name] = spot = (int(new[1]), int(new[2]))
        self.slices[*spot, new[3]][new[4] + new[5]] = name
        self.tiles[spot].update(_net(cell, "CLK"))
        cell["attributes"][PLACE] = place


def _net(cell: Cell, pin: str) -> list[Bit]:
    return list(cell["connections"].get(pin, []))


def _controls(cell: Cell) -> Any:
    """What both registers of a slice share."""
    nets = [_net(cell, pin) for pin in ("CLK", "CE", "LSR")]
    return nets, {key: cell["parameters"].get(key) for key in ("CLKMUX", "CEMUX", "LSRMUX", "GSR", "SRMODE")}


def _longest(spot: Spot, ends: list[Spot]) -> int:
    return max(abs(spot[0] - x) + abs(spot[1] - y) for x, y in ends)
