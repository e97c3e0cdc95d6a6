# SPDX-License-Identifier: Apache-2.0
"""Slices: where the LUTs and registers of a placed ECP5 netlist stand, and where they could.

A tile of logic has four slices A to D, a slice two LUTs K0 and K1 with a register FF0 and FF1 behind each (Lattice
FPGA-TN-02218). A slice's registers share clock, enable and reset. Tiles have room for two clocks and resets; here, as
where nextpnr places, all registers of a tile have one clock and at most one reset.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from .connections import FF, Bit, Cell

LUT = "TRELLIS_COMB"
PLACE = "NEXTPNR_BEL"
ANYWHERE = re.compile(r"X(\d+)/Y(\d+)/")
SITE = re.compile(r"X(\d+)/Y(\d+)/SLICE([A-D])\.(FF|K)([01])")
REACH = 10  # columns and rows from a spot, within which a free place is looked for
NEAR = sorted(itertools.product(range(-REACH, REACH + 1), repeat=2), key=lambda at: (abs(at[0]) + abs(at[1]), at))
NUMBERS = tuple(itertools.product("ABCD", "01"))

Spot = tuple[int, int]  # column, row
Slice = tuple[int, int, str]


def net(cell: Cell, pin: str) -> list[Bit]:
    """What a pin is connected to; nextpnr lists pins that are not."""
    return list(cell["connections"].get(pin, []))


def spot_of(cell: Cell) -> Spot | None:
    found = ANYWHERE.match(cell["attributes"].get(PLACE, ""))
    return None if found is None else (int(found[1]), int(found[2]))


class Slices:
    """The slices of a module's cells, whose places it changes."""

    def __init__(self, cells: Mapping[str, Cell]):
        self.cells = cells
        self.at: dict[str, Spot] = {}  # of every cell
        self.slices: dict[Slice, dict[str, str]] = defaultdict(dict)  # what stands in FF0, FF1, K0 and K1
        self.barred: set[Spot] = set()  # tiles with memory in LUTs, whose slices share more
        self.tiles: set[Spot] = set()  # tiles that have slices
        for name, cell in cells.items():
            if (spot := spot_of(cell)) is None:
                continue
            self.at[name] = spot
            if SITE.fullmatch(cell["attributes"][PLACE]):
                where, part = self.site(name)
                self.slices[where][part] = name
                self.tiles.add(spot)
            if cell["parameters"].get("MODE") in ("DPRAM", "RAMW_BLOCK") or cell["type"] not in (FF, LUT):
                self.barred.add(spot)

    def site(self, name: str) -> tuple[Slice, str]:
        """The slice of a cell, and which register or LUT of it."""
        found = SITE.fullmatch(self.cells[name]["attributes"][PLACE])
        assert found is not None, "a LUT or register"
        return (int(found[1]), int(found[2]), found[3]), found[4] + found[5]

    def free(self, spot: Spot, lut: str | None, register: str | None) -> tuple[Slice, str] | None:
        """The nearest slice and number with room for a LUT, a register, or a LUT with the register behind it."""
        for x, y in NEAR:
            tile = (spot[0] + x, spot[1] + y)
            if tile not in self.tiles or tile in self.barred or not self._suits(tile, register):
                continue
            for letter, number in NUMBERS:
                there = self.slices.get((*tile, letter), {})
                if lut is not None and f"K{number}" in there:
                    continue
                if register is None or self._fits(register, there, number):
                    return (*tile, letter), number
        return None

    def move(self, name: str, where: Slice, number: str) -> None:
        """Put a LUT or register into a free place."""
        old, part = self.site(name)
        del self.slices[old][part]
        new = part[:-1] + number
        self.slices[where][new] = name
        self.at[name] = where[:2]
        column, row, letter = where
        self.cells[name]["attributes"][PLACE] = f"X{column}/Y{row}/SLICE{letter}.{new}"

    def _suits(self, tile: Spot, register: str | None) -> bool:
        """Whether a tile's clock and resets are those of a register, too."""
        if register is None:
            return True
        there = [self.cells[name] for letter in "ABCD" for part, name in self.slices.get((*tile, letter), {}).items()
                 if part.startswith("FF")] + [self.cells[register]]  # fmt: skip
        clocks = {(*net(cell, "CLK"), cell["parameters"].get("CLKMUX")) for cell in there}
        resets = {(*net(cell, "LSR"), *_reset(cell)) for cell in there if net(cell, "LSR")}
        return len(clocks) == 1 and len(resets) <= 1

    def _fits(self, register: str, there: Mapping[str, str], number: str) -> bool:
        cell = self.cells[register]
        if f"FF{number}" in there:
            return False
        # A multiplexer behind two LUTs is chosen by the pin that a register without a LUT needs.
        if net(cell, "M") and any(net(self.cells[there[lut]], "M") for lut in ("K0", "K1") if lut in there):
            return False
        other = there.get(f"FF{1 - int(number)}")
        return other is None or _controls(self.cells[other]) == _controls(cell)


def _reset(cell: Cell) -> list[Any]:
    return [cell["parameters"].get(key) for key in ("LSRMUX", "SRMODE", "GSR")]


def _controls(cell: Cell) -> Any:
    """What both registers of a slice share."""
    nets = [net(cell, pin) for pin in ("CLK", "CE", "LSR")]
    return nets, [cell["parameters"].get(key) for key in ("CLKMUX", "CEMUX")], _reset(cell)
