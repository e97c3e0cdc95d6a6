# SPDX-License-Identifier: Apache-2.0
"""Carry chains: LUTs in front of the adders of an ECP5 netlist move into them, and chains begin and end without cells.

A carry cell (CCU2C, Lattice FPGA-TN-02218) is two halves. Each passes the carry on where P is 1, a function of its
inputs A, B, C and D, and makes it G(A, B) elsewhere, which is P where C and D are 0; its sum is P xor carry. Yosys uses
two inputs; a multiplexer, an inverter or a gate in front of an adder fits into the others. Where a chain begins with a
constant carry, or ends in one that nobody reads, nextpnr adds a cell of two LUTs; but the first half can make the carry
itself, and an end that is not connected needs nothing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .connections import PINS, Bit, Cell, Connections, binary, nets_of

LUT, CARRY = "LUT4", "CCU2C"
OPEN = ["x"]  # a pin that is connected to nothing

Table = tuple[bool, ...]  # a function of some nets, the first one the lowest bit of the index
Values = Mapping[Bit, bool]


def pack_carry_chains(netlist: dict[str, Any]) -> int:
    """Simplify the carry chains of every module of Yosys' JSON netlist, in place; how many LUTs are gone."""
    return sum(_Module(module).pack() for module in netlist["modules"].values())


class Half:
    """One half of a carry cell: its pins, what it computes, and where its sum goes."""

    def __init__(self, cell: Cell, number: int):
        bits = int(cell["parameters"][f"INIT{number}"], 2)
        self.init: Table = tuple(bool(bits >> i & 1) for i in range(16))
        self.pins: list[Bit] = [cell["connections"].get(f"{pin}{number}", ["1"])[0] for pin in PINS]
        self.sum: list[Bit] = cell["connections"].get(f"S{number}", OPEN)
        self.plain = cell["parameters"][f"INJECT1_{number}"] == "NO"

    def tables(self, nets: list[Bit], driver: Callable[[Values], bool], driven: Bit = None) -> tuple[Table, Table]:
        """P and G as functions of the nets, and of one more that a driver computes from them."""
        propagate, generate = [], []
        for values in _values(nets):
            at = [driver(values) if pin == driven else values[pin] for pin in self.pins]
            propagate.append(self.init[sum(value << i for i, value in enumerate(at))])
            generate.append(self.init[at[0] + 2 * at[1]])
        return tuple(propagate), tuple(generate)


class _Module(Connections):
    def pack(self) -> int:
        luts = [name for name, cell in self.cells.items() if cell["type"] == LUT]
        gone = sum(self._absorb(name) for name in luts)
        chains = list(self._chains())
        return gone + sum(self._begin(chain) for chain in chains) + sum(self._end(chain[-1]) for chain in chains)

    def _absorb(self, name: str) -> int:
        """Move a LUT into all that read it, if these are halves of carry cells with enough inputs."""
        pins = self.cells[name]["connections"]
        output, inputs = pins["Z"][0], [pins[pin][0] for pin in PINS]
        init = int(self.cells[name]["parameters"]["INIT"], 2)

        def lut(values: Values) -> bool:
            return bool(init >> sum(values[bit] << i for i, bit in enumerate(inputs)) & 1)

        moved = {}
        for reader, pin in self.readers[output]:
            if not reader or self.cells[reader]["type"] != CARRY or pin[0] not in PINS:
                return 0
            half = Half(self.cells[reader], int(pin[1]))
            nets = nets_of([bit for bit in half.pins if bit != output] + inputs)
            placed = place(len(nets), *half.tables(nets, lut, output)) if half.plain and len(nets) <= 4 else None
            if placed is None:
                return 0
            order, half.init = placed
            half.pins = [nets[i] if isinstance(i, int) else i for i in order]
            moved[reader, int(pin[1])] = half
        if moved:
            self.remove(name)
        for (reader, number), half in moved.items():
            self._put(half, reader, number)
        return bool(moved)

    def _put(self, half: Half, name: str, number: int) -> None:
        """Write a half into a cell."""
        self.cells[name]["parameters"][f"INIT{number}"] = "".join(str(int(bit)) for bit in reversed(half.init))
        for pin, bit in zip(PINS, half.pins, strict=True):
            self.connect(name, f"{pin}{number}", [bit])
        self.connect(name, f"S{number}", half.sum)

    def _chains(self) -> Iterator[list[str]]:
        """The carry cells of every chain that begins with a constant, in their order."""
        pins = {name: cell["connections"] for name, cell in self.cells.items() if cell["type"] == CARRY}
        after = {own["CIN"][0]: name for name, own in pins.items() if "CIN" in own}
        for name, own in pins.items():
            if own.get("CIN", OPEN)[0] in ("0", "1"):
                chain = [name]
                while follows := after.get(pins[chain[-1]].get("COUT", [None])[0]):
                    chain.append(follows)
                yield chain

    def _begin(self, chain: list[str]) -> int:
        """Let the first half make the constant carry, so that nothing need come in; how many LUTs that saves."""
        cells = [self.cells[name] for name in chain]
        carry = cells[0]["connections"]["CIN"][0] == "1"
        halves = [Half(cell, number) for cell in cells for number in (0, 1)]
        first, last = halves[0], halves[-1]
        used = self.is_read(first.sum)
        odd = not self.is_read(last.sum) and not self.is_read(cells[-1]["connections"].get("COUT", OPEN))
        inside = [cell["connections"]["COUT"][0] for cell in cells[:-1]]
        nets = nets_of(first.pins)
        propagate, generate = first.tables(nets, lambda values: False)
        out = tuple(carry if p else g for p, g in zip(propagate, generate, strict=True))
        needs = [i for i in range(len(nets)) if any(value != out[at ^ 1 << i] for at, value in enumerate(out))]
        saved = 2
        if not all(half.plain for half in halves):
            return 0
        if used and odd and all(len(self.readers[bit]) == 1 for bit in inside):
            # The last half of a chain is free: all others move up by one.
            self._generate(chain[0], [], (carry,))
            for at, half in enumerate(halves[:-1], 1):
                self._put(half, chain[at // 2], at % 2)
        elif len(needs) <= 2:
            if used:  # the sum becomes a LUT of its own
                pins = dict(zip(PINS, [*nets, *["0"] * (4 - len(nets))], strict=True))
                init = sum((propagate[i % len(propagate)] != carry) << i for i in range(16))
                self.connect(chain[0], "S0", OPEN)
                self.add(f"{chain[0]}_S0_LUT4_Z", LUT, {"INIT": binary(init, 16)}, pins, {"Z": first.sum[0]})
                saved = 1
            small = [out[sum((at >> j & 1) << i for j, i in enumerate(needs))] for at in range(1 << len(needs))]
            self._generate(chain[0], [nets[i] for i in needs], tuple(small))
        else:
            return 0
        self.connect(chain[0], "CIN", OPEN)
        return saved

    def _generate(self, name: str, nets: list[Bit], table: Table) -> None:
        """Make the first half of a cell one whose carry is a function of two nets, whatever comes in."""
        half = Half(self.cells[name], 0)
        half.init = (*(table[i % len(table)] for i in range(4)), *[False] * 12)
        half.pins, half.sum = [*nets, *["1"] * (4 - len(nets))], OPEN
        self._put(half, name, 0)

    def _end(self, name: str) -> int:
        """Leave the last carry unconnected if nobody reads it; how many LUTs that saves."""
        carry = self.cells[name]["connections"].get("COUT", OPEN)
        if carry == OPEN or self.is_read(carry):
            return 0
        self.connect(name, "COUT", OPEN)
        return 2


def _values(nets: list[Bit]) -> Iterator[Values]:
    """All values of the nets, with those of the constants."""
    for values in itertools.product((False, True), repeat=len(nets)):
        yield {"0": False, "1": True, "x": False, **dict(zip(nets, reversed(values), strict=True))}


@functools.cache
def place(number: int, propagate: Table, generate: Table) -> tuple[tuple[int | str, ...], Table] | None:
    """What to connect to A, B, C and D, nets by their number or constants, and INIT; None if it does not fit.

    G matters only where P is 0.
    """
    for order, places in _orders(number):
        init = dict(zip(places, propagate, strict=True))
        stops = [(at & 3, g) for at, p, g in zip(places, propagate, generate, strict=True) if not p]
        if all(init.setdefault(at, g) == g for at, g in stops):
            return order, tuple(init.get(i, False) for i in range(16))
    return None


@functools.cache
def _orders(number: int) -> list[tuple[tuple[int | str, ...], list[int]]]:
    """All ways to connect so many nets, and constants: which pins, and the index of each of the nets' values."""
    found = []
    for pins in itertools.permutations(range(4), number):
        for constants in itertools.product("10", repeat=4 - number):
            left = iter(constants)
            order = tuple(pins.index(pin) if pin in pins else next(left) for pin in range(4))
            places = [
                sum((at >> i & 1 if isinstance(i, int) else i == "1") << pin for pin, i in enumerate(order))
                for at in range(1 << number)
            ]
            found.append((order, places))
    return found
