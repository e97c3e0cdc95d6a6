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
from pathlib import Path
from typing import Any

from ..model.system import reports
from ..model.system.files import write_atomically
from .connections import Bit, Cell

FF, LUT = "TRELLIS_FF", "TRELLIS_COMB"
PLACE = "NEXTPNR_BEL"
ANY = re.compile(r"X(\d+)/Y(\d+)/")
SITE = re.compile(r"X(\d+)/Y(\d+)/SLICE([A-D])\.(FF|K)([01])")
LONG = 16  # columns and rows: shorter ways stay as they are
REACH = 12  # from the middle, within which a free place is looked for
NEAR = sorted(itertools.product(range(-REACH, REACH + 1), repeat=2), key=lambda at: (abs(at[0]) + abs(at[1]), at))
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
            if ANY.match(place):
                self.at[name] = spot = _spot(place)
                if SITE.fullmatch(place):
                    where, part = _site(place)
                    self.slices[where][part] = name
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
        used = {pin for pin in cell["connections"] if _net(cell, pin)}
        if cell["type"] != FF or name not in self.at or used != FREE_PINS:
            return []
        (bit,), (out,) = cell["connections"]["M"], cell["connections"]["Q"]
        source, readers = self.driver.get(bit, ""), self.readers[out]
        ends = [source, *(reader for reader, _ in readers)]
        known = all(end in self.at for end in ends) and self.cells[source]["type"] == FF
        return ends if known and readers and all(pin in ("M", "CLKI") for _, pin in readers) else []

    def _move(self, name: str, ends: list[str]) -> bool:
        spots = [self.at[end] for end in ends]
        now = _longest(self.at[name], spots)
        if now <= LONG:
            return False
        place = self._free(name, _middle(spots))
        if place is None or _longest(_spot(place), spots) >= now - 1:
            return False
        self._put(name, place)
        return True

    def _free(self, name: str, middle: Spot) -> str | None:
        """The free site that is nearest to a spot."""
        clocks = set(_net(self.cells[name], "CLK"))
        for x, y in NEAR:
            spot = (middle[0] + x, middle[1] + y)
            if spot in self.barred or self.tiles.get(spot) not in (set(), clocks):
                continue
            for letter, number in itertools.product("ABCD", "01"):
                if self._fits(name, (*spot, letter), number):
                    return f"X{spot[0]}/Y{spot[1]}/SLICE{letter}.FF{number}"
        return None

    def _fits(self, name: str, where: Slice, number: str) -> bool:
        there = self.slices.get(where, {})
        # A multiplexer behind two LUTs is chosen by the pin that the register needs.
        luts = (there[k] for k in ("K0", "K1") if k in there)
        if f"FF{number}" in there or any(_net(self.cells[lut], "M") for lut in luts):
            return False
        other = there.get(f"FF{1 - int(number)}")
        return other is None or _controls(self.cells[other]) == _controls(self.cells[name])

    def _put(self, name: str, place: str) -> None:
        cell = self.cells[name]
        where, register = _site(cell["attributes"][PLACE])
        del self.slices[where][register]
        where, register = _site(place)
        self.slices[where][register] = name
        self.at[name] = where[:2]
        self.tiles[where[:2]].update(_net(cell, "CLK"))
        cell["attributes"][PLACE] = place


def _spot(place: str) -> Spot:
    column, row = ANY.match(place).groups()  # type: ignore[union-attr]  # a place in the fabric
    return int(column), int(row)


def _site(place: str) -> tuple[Slice, str]:
    """The slice, and which register or LUT of it."""
    column, row, letter, *part = SITE.fullmatch(place).groups()  # type: ignore[union-attr]
    return (int(column), int(row), letter), "".join(part)


def _middle(spots: list[Spot]) -> Spot:
    """Half way from the first spot to the middle of the others."""
    (x, y), others = spots[0], spots[1:]
    columns, rows = ([spot[axis] for spot in others] for axis in (0, 1))
    return (2 * x + min(columns) + max(columns)) // 4, (2 * y + min(rows) + max(rows)) // 4


def _net(cell: Cell, pin: str) -> list[Bit]:
    return list(cell["connections"].get(pin, []))


def _controls(cell: Cell) -> Any:
    """What both registers of a slice share."""
    nets = [_net(cell, pin) for pin in ("CLK", "CE", "LSR")]
    return nets, {key: cell["parameters"].get(key) for key in ("CLKMUX", "CEMUX", "LSRMUX", "GSR", "SRMODE")}


def _longest(spot: Spot, ends: list[Spot]) -> int:
    return max(abs(spot[0] - x) + abs(spot[1] - y) for x, y in ends)
