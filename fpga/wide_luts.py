# SPDX-License-Identifier: Apache-2.0
"""Wide LUTs: trees of LUTs of an ECP5 netlist become two LUTs and the multiplexer between them, where that is less.

A slice has a multiplexer (PFUMX) behind its two LUTs of four inputs each. Yosys takes it for functions of five inputs
only; but the two LUTs need not look at the same inputs, so a multiplexer of four bits, say, is two LUTs, not three.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from .connections import PINS, Bit, Connections, binary, nets_of

LUT, MUX = "LUT4", "PFUMX"
MOST_INPUTS = 9  # of two LUTs and the multiplexer
MOST_LUTS = 6  # of the trees that are looked at


class Node(NamedTuple):
    """A cell as a function of nets: bit i of the table is its value where input j is bit j of i."""

    name: str
    inputs: tuple[Bit, ...]
    table: int
    luts: int


class Cone(NamedTuple):
    """A tree of cells as one function of its leaves."""

    cells: tuple[str, ...]
    leaves: tuple[Bit, ...]
    table: int
    luts: int


def merge_wide_luts(netlist: dict[str, Any]) -> int:
    """Do so in every module of Yosys' JSON netlist, in place; how many LUTs are gone."""
    return sum(_Module(module).merge() for module in netlist["modules"].values())


@functools.cache
def variable(number: int, inputs: int) -> int:
    """Truth table of one of so many inputs."""
    period = 1 << number
    return sum(((1 << period) - 1) << at for at in range(period, 1 << inputs, 2 * period))


def compose(table: int, arguments: list[int], inputs: int) -> int:
    """Truth table of table(arguments), each the truth table of a function of the same inputs."""
    full = (1 << (1 << inputs)) - 1
    if not arguments:
        return full if table & 1 else 0
    *rest, last = arguments
    half = 1 << len(rest)
    low = compose(table & ((1 << half) - 1), rest, inputs)
    high = compose(table >> half, rest, inputs)
    return low if low == high else low & ~last & full | high & last


def cofactor(table: int, number: int, value: int, inputs: int) -> int:
    """Truth table with one input fixed, of the same inputs."""
    kept = variable(number, inputs)
    period = 1 << number
    if value:
        part = table & kept
        return part | part >> period
    part = table & ~kept
    return part | part << period


def support(table: int, inputs: int) -> tuple[int, ...]:
    """The inputs that matter."""
    return tuple(i for i in range(inputs) if cofactor(table, i, 0, inputs) != cofactor(table, i, 1, inputs))


def reduce(table: int, inputs: int, kept: tuple[int, ...]) -> int:
    """Truth table of the inputs that are kept; the others must not matter."""
    return sum((table >> sum((at >> j & 1) << i for j, i in enumerate(kept)) & 1) << at for at in range(1 << len(kept)))


class _Module(Connections):
    def __init__(self, module: dict[str, Any]):
        super().__init__(module)
        self.nodes: dict[Bit, Node] = {}  # by the net that they drive
        for name, cell in self.cells.items():
            self._note(name, cell)

    def _note(self, name: str, cell: Any) -> None:
        pins = cell["connections"]
        if cell["type"] == LUT:
            bits, table, luts = [pins[pin][0] for pin in PINS], int(cell["parameters"]["INIT"], 2), 1
        elif cell["type"] == MUX:
            bits, table, luts = [pins[pin][0] for pin in ("BLUT", "ALUT", "C0")], 0b11001010, 0
        else:
            return
        nets = nets_of(bits)
        columns = [variable(nets.index(bit), len(nets)) if bit in nets else -(bit == "1") for bit in bits]
        full = (1 << (1 << len(nets))) - 1
        found = compose(table, [column & full for column in columns], len(nets))
        needs = support(found, len(nets))
        inputs = tuple(nets[i] for i in needs)
        self.nodes[pins["Z"][0]] = Node(name, inputs, reduce(found, len(nets), needs), luts)

    def merge(self) -> int:
        """All trees, those of which most is saved first where they overlap by chance only."""
        saved = 0
        for net in list(self.nodes):
            node = self.nodes.get(net)
            if node is None or any(self._is_slice_input(*reader) for reader in self.readers[net]):
                continue
            saved += self._replace(net)
        return saved

    def _is_slice_input(self, name: str, pin: str) -> bool:
        """Whether a pin must be driven by a LUT, or a multiplexer, of its own slice."""
        kind = self.cells[name]["type"] if name else ""
        return (kind == MUX and pin != "C0") or (kind == "L6MUX21" and pin != "SD")

    def _replace(self, net: Bit) -> int:
        best: tuple[int, Cone, int] | None = None
        for cone in self._cones(net):
            if cone.luts > 2 and (best is None or cone.luts > best[0]):
                choice = self._choice(cone)
                if choice is not None:
                    best = cone.luts, cone, choice
        if best is None:
            return 0
        luts, cone, choice = best
        (name, *_) = cone.cells
        for cell in cone.cells:
            gone = self.cells[cell]["connections"]["Z"][0]
            del self.nodes[gone]
            self.remove(cell)
        inputs = len(cone.leaves)
        halves = {}
        for pin, value in (("BLUT", 0), ("ALUT", 1)):
            table = cofactor(cone.table, choice, value, inputs)
            needs = support(table, inputs)
            spread = reduce(table, inputs, needs)
            for have in range(len(needs), 4):
                spread |= spread << (1 << have)
            pins = [cone.leaves[i] for i in needs] + ["0"] * (4 - len(needs))
            halves[pin] = self.new_net()
            own = f"{name}_{pin}_LUT4_Z"
            self.add(own, LUT, {"INIT": binary(spread, 16)}, dict(zip(PINS, pins, strict=True)), {"Z": halves[pin]})
            self._note(own, self.cells[own])
        self.add(name, MUX, {}, {**halves, "C0": cone.leaves[choice]}, {"Z": net})
        self._note(name, self.cells[name])
        return luts - 2

    def _choice(self, cone: Cone) -> int | None:
        """The leaf that can choose between two LUTs."""
        inputs = len(cone.leaves)
        for number in range(inputs):
            if all(len(support(cofactor(cone.table, number, value, inputs), inputs)) <= 4 for value in (0, 1)):
                return number
        return None

    def _cones(self, net: Bit) -> list[Cone]:
        """All trees whose root drives the net, and of which nobody else reads anything."""
        root = self.nodes[net]
        found: dict[frozenset[Bit], Cone] = {}
        todo = [frozenset([net])]
        while todo:
            inside = todo.pop()
            if inside in found:
                continue
            leaves = nets_of([bit for own in inside for bit in self.nodes[own].inputs if bit not in inside])
            luts = sum(self.nodes[own].luts for own in inside)
            if luts > MOST_LUTS or len(leaves) > MOST_INPUTS + 3:
                continue
            table = self._table(net, inside, leaves) if luts > 2 and len(leaves) <= MOST_INPUTS else 0
            cells = (root.name, *(self.nodes[own].name for own in inside if own != net))
            found[inside] = Cone(cells, tuple(leaves), table, luts if len(leaves) <= MOST_INPUTS else 0)
            for leaf in leaves:
                if leaf in self.nodes and len(self.readers[leaf]) == 1:
                    todo.append(inside | {leaf})
        # A multiplexer does not stay without its LUTs.
        return [cone for cone in found.values() if self._whole(cone)]

    def _whole(self, cone: Cone) -> bool:
        drivers = {self.cells[name]["connections"]["Z"][0] for name in cone.cells}
        for name in cone.cells:
            cell = self.cells[name]
            if cell["type"] == MUX and not {cell["connections"][pin][0] for pin in ("ALUT", "BLUT")} <= drivers:
                return False
        return True

    def _table(self, net: Bit, inside: frozenset[Bit], leaves: list[Bit]) -> int:
        node = self.nodes[net]
        columns = [
            self._table(bit, inside, leaves) if bit in inside else variable(leaves.index(bit), len(leaves))
            for bit in node.inputs
        ]
        return compose(node.table, columns, len(leaves))
