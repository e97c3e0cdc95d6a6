# SPDX-License-Identifier: Apache-2.0
"""Registers that move into block RAMs: those that may, those that must not, and what is left of the netlist."""

import json
from typing import Any

import pytest

from onespike.fpga.output_registers import merge_output_registers
from onespike.fpga.place_route import NETLIST
from onespike.fpga.synth import run_yosys
from onespike.model.targets import ECP5

# What reads the word `r` of a memory of `rows` x 18 or 36 bits: -> whether the register moves.
READERS = {
    "register": ("always @(posedge clk) q <= r;", 18, True),
    "wide": ("always @(posedge clk) q <= r;", 36, True),
    "read only": ('initial $readmemh("rows.hex", memory); always @(posedge clk) q <= r;', 36, True),
    "enable": ("always @(posedge clk) if (enable) q <= r;", 18, True),
    "reset": ("always @(posedge clk) if (enable) q <= 0; else q <= r;", 18, False),
    "two readers": ("always @(posedge clk) q <= r ^ r >> 1;", 18, False),
    "seen outside": ("always @(posedge clk) q <= r; assign seen = r[3];", 18, False),
    "other clock": ("always @(posedge other) q <= r;", 18, False),
    "falling edge": ("always @(negedge clk) q <= r;", 18, False),
    "begins at one": ("initial q = 1; always @(posedge clk) q <= r;", 18, False),
    "two enables": (
        "always @(posedge clk) begin if (enable) q[8:0] <= r[8:0]; if (read) q[17:9] <= r[17:9]; end", 18, False,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def netlist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A module for every reader."""
    folder = tmp_path_factory.mktemp("readers")
    text, names = [], []
    (folder / "rows.hex").write_text("".join(f"{row * 0x9E3779B97 % (1 << 36):09x}\n" for row in range(512)))
    for index, (name, (reader, width, _)) in enumerate(READERS.items()):
        write = "" if name == "read only" else "if (write) memory[a] <= d;"
        text.append(
            f"(* keep_hierarchy *) module m{index}(input clk, other, enable, read, write, input [8:0] a, b,"
            f" input [{width - 1}:0] d, output reg [{width - 1}:0] q, output seen);\n"
            f"(* no_rw_check *) reg [{width - 1}:0] memory [511:0]; reg [{width - 1}:0] r;\n"
            f"always @(posedge clk) begin {write} if (read) r <= memory[b]; end\n{reader}\nendmodule"
        )
        same = ", ".join(f".{name}({name})" for name in ("clk", "other", "enable", "read", "write", "a", "b"))
        names.append(f"(* keep *) m{index} i{index}({same}, .d(d[{width - 1}:0]));")
    text.append("module top(input clk, other, enable, read, write, input [8:0] a, b, input [35:0] d);")
    (folder / "top.v").write_text("\n".join([*text, *names, "endmodule"]))
    run_yosys("read_verilog top.v", ECP5.synthesis("top", NETLIST), folder)
    return json.loads((folder / NETLIST).read_text())["modules"]


def registers(module: dict[str, Any]) -> int:
    return sum(cell["type"] == "TRELLIS_FF" for cell in module["cells"].values())


@pytest.mark.parametrize(("index", "name"), list(enumerate(READERS)), ids=list(READERS))
def test_register_moves(netlist: dict[str, Any], index: int, name: str) -> None:
    _, width, moves = READERS[name]
    module = json.loads(json.dumps(netlist[f"m{index}"]))
    (ram,) = (cell for cell in module["cells"].values() if cell["type"] == "DP16KD")
    outputs = module["ports"]["q"]["bits"]
    before = registers(module)
    assert before >= width
    assert merge_output_registers({"modules": {"m": module}}) == (width if moves else 0)
    assert registers(module) == before - (width if moves else 0)
    modes = {ram["parameters"][f"REGMODE_{port}"] for port in "AB"}
    assert ("OUTREG" in modes) == moves
    if not moves:
        return
    driven = {bits[0] for pin, bits in ram["connections"].items() if pin.startswith("DO")}
    assert set(outputs) <= driven
    enable = module["ports"]["enable"]["bits"] if name == "enable" else ["1"]
    ports = [port for port in "AB" if ram["parameters"][f"REGMODE_{port}"] == "OUTREG"]
    assert all(ram["connections"][f"OCE{port}"] == enable for port in ports)
    assert len(ports) == (2 if width == 36 else 1)
    # Nothing is left to move.
    assert merge_output_registers({"modules": {"m": module}}) == 0
