# SPDX-License-Identifier: Apache-2.0
"""Output registers: registers behind the block RAMs of an ECP5 netlist move into the block RAMs.

Every block RAM has a register behind each read port (Lattice FPGA-TN-02204, "output register"), with which its data
leave 1.0 ns after the clock edge; without, 5.8 ns after it (speed grade 6). Yosys does not use it. A register can move
where it does nothing but follow the memory: same clock, no reset, zero at power-up; its enable moves with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

WIDE = 36  # at this width port A writes and port B reads, with the outputs of both

# What a TRELLIS_FF is that follows its input: parameter -> values; it may have an enable.
FOLLOWS = {
    "CLKMUX": ("CLK",),
    "CEMUX": ("1 ", "1", "CE"),
    "REGSET": ("RESET",),
    "LSRMUX": ("LSR",),
    "GSR": ("DISABLED",),
}


def merge_output_registers(netlist: dict[str, Any]) -> int:
    """Move registers into block RAMs in every module of Yosys' JSON netlist, in place; how many registers are gone.

    A read port's registers move together, or not at all: all its outputs in use must end in such registers, and
    nowhere else.
    """
    return sum(_merge(module) for module in netlist["modules"].values())


def _merge(module: dict[str, Any]) -> int:
    cells: dict[str, Any] = module["cells"]
    readers: dict[Any, list[str]] = defaultdict(list)  # bit -> cells that read it, "" for a port of the module
    for name, cell in cells.items():
        outputs = {pin for pin, direction in cell["port_directions"].items() if direction == "output"}
        for pin, bits in cell["connections"].items():
            if pin not in outputs:
                for bit in bits:
                    readers[bit].append(name)
    for port in module["ports"].values():
        for bit in port["bits"]:
            readers[bit].append("")
    merged = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        pins, parameters = ram["connections"], ram["parameters"]
        wide = int(parameters["DATA_WIDTH_B"], 2) == WIDE
        for ports in ("AB",) if wide else ("A", "B"):
            used = {
                f"DO{port}{i}": readers[pins[f"DO{port}{i}"][0]]
                for port in ports
                for i in range(18)
                if readers.get(pins.get(f"DO{port}{i}", [None])[0])
            }
            clock = f"CLK{ports[-1]}"
            plain = parameters[f"{clock}MUX"] == clock and all(
                parameters[f"REGMODE_{port}"] == "NOREG" and pins[f"RST{port}"] == ["0"] for port in ports
            )
            if not used or not plain or any(len(by) > 1 or by == [""] for by in used.values()):
                continue
            enables = {_enable(cells[by[0]], pins[clock]) for by in used.values()}
            if len(enables) > 1 or None in enables:
                continue
            (enable,) = enables
            for pin, (register,) in used.items():
                pins[pin] = cells.pop(register)["connections"]["Q"]
            for port in ports:
                parameters[f"REGMODE_{port}"] = "OUTREG"
                pins[f"OCE{port}"] = [enable]
            merged += len(used)
    return merged


def _enable(cell: Mapping[str, Any], clock: list[Any]) -> Any:
    """What lets a register take its input at the clock's edge, "1" for always; None if it is no such register."""
    pins, parameters = cell["connections"], cell["parameters"]
    if cell["type"] != "TRELLIS_FF" or pins["CLK"] != clock or pins.get("LSR", ["0"]) != ["0"]:
        return None
    if any(parameters.get(name, values[0]) not in values for name, values in FOLLOWS.items()):
        return None
    return pins["CE"][0] if parameters.get("CEMUX") == "CE" else "1"
