# SPDX-License-Identifier: Apache-2.0
"""Liberty: what the flow itself must know of a library of standard cells; yosys and OpenSTA read the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..model.errors import OneSpikeError
from ..model.system import bounded

FARADS = {"ff": 1e-15, "pf": 1e-12}
GATING = "latch_posedge"  # a latch that is open while the clock is low, and an AND behind it; no pins for tests
NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?(?![\w.])"
NODES = {"sky130": 130, "gf180": 180, "sg13g2": 130, "nangate": 45, "freepdk45": 45, "asap7": 7}


@dataclass(frozen=True, kw_only=True)
class Library:
    """name; voltage in V, node in nm (None where neither the file nor its name says); gating: names of the plain
    clock-gating cells; clocks: the clock pin of every cell that has one, and its capacitance in F.
    """

    name: str
    voltage: float
    node: float | None
    gating: tuple[str, ...]
    clocks: dict[str, tuple[str, float]]


def read_liberty(path: str | Path) -> str:
    """Text of a Liberty file, compressed with gzip or not."""
    try:
        text = bounded.text(Path(path))
    except bounded.Damaged:
        text = ""
    if not re.match(r"(?>\s|/\*.*?\*/)*+library\s*\(", text, re.DOTALL):
        raise OneSpikeError(f"{path} is not a Liberty file; name one such as sky130_fd_sc_hd__tt_025C_1v80.lib.")
    return text


def library(text: str, path: str | Path = "The Liberty file") -> Library:
    """What the text of a Liberty file says. OneSpikeError where it names no voltage or unit of capacitance."""
    name = re.search(r"library\s*\(\s*\"?([^\")]+)", text)
    unit = re.search(rf"capacitive_load_unit\s*\(\s*\"?({NUMBER})\"?\s*,\s*\"?(\w+)", text)
    voltage = re.search(rf"\b(?:nom_voltage|voltage)\s*:\s*\"?({NUMBER})", text)
    if name is None or voltage is None or unit is None or unit[2].lower() not in FARADS:
        what = "voltage" if voltage is None else "capacitive_load_unit in fF or pF"
        raise OneSpikeError(f"{path} names no {what}; take the library's whole file of one corner.")
    farads = float(unit[1]) * FARADS[unit[2].lower()]
    gating, clocks = [], {}
    for cell, attributes in _cells(text):
        if attributes.get("clock_gating_integrated_cell") == GATING:
            gating.append(cell)
        if "clock_pin" in attributes:
            clocks[cell] = (attributes["clock_pin"], float(attributes["clock_pin_capacitance"]) * farads)
    found = next((node for word, node in NODES.items() if word in name[1].lower()), None)
    return Library(name=name[1], voltage=float(voltage[1]), node=found, gating=tuple(gating), clocks=clocks)


def _number(text: str | None) -> bool:
    return text is not None and re.fullmatch(NUMBER, text) is not None


def _cells(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and attributes of every cell; "clock_pin" and its capacitance: of its clock pin."""
    event = re.compile(r"(\w+)\s*\(([^()]*)\)\s*\{|(\w+)\s*:\s*\"?([^\";{}]*?)\"?\s*;|([{}])")
    path: list[tuple[str, str]] = []
    cell: dict[str, str] = {}
    pin: dict[str, str] = {}
    for line in text.splitlines():
        if "{" not in line and "}" not in line and ":" not in line:  # most lines are values of tables
            continue
        for group, arguments, attribute, value, brace in event.findall(line):
            if group or brace == "{":
                path.append((group, arguments.strip(' "')))
                cell = {} if len(path) == 2 else cell
                pin = {} if len(path) == 3 else pin
            elif attribute and [kind for kind, _ in path[1:]] == ["cell"]:
                cell[attribute] = value
            elif attribute and [kind for kind, _ in path[1:]] == ["cell", "pin"]:
                pin[attribute] = value
            elif brace and path:
                kind, name = path.pop()
                if kind == "pin" and len(path) == 2 and pin.get("clock") == "true" and _number(pin.get("capacitance")):
                    cell |= {"clock_pin": name, "clock_pin_capacitance": pin["capacitance"]}
                if kind == "cell" and len(path) == 1:
                    yield name, cell
