# SPDX-License-Identifier: Apache-2.0
"""Resets of many registers go over a clock network, and logic reads a copy of the register that they come from."""

import json
from pathlib import Path
from typing import Any

import pytest

from onespike.fpga import clock_nets
from onespike.fpga.clock_nets import promote_resets
from onespike.fpga.place_route import NETLIST
from onespike.fpga.synth import run_yosys
from onespike.model.targets import ECP5

WIDTH = 8
TEXT = """module top(input clk, pin, input [7:0] d, input ce, output reg [7:0] q, r, output x);
  reg rst = 1;
  always @(posedge clk) if (ce) rst <= d[0];
  always @(posedge clk) if (SOURCE) q <= 0; else q <= d;
  always @(posedge clk) r <= d ^ {8{LOGIC}};
  assign x = rst & d[1];
endmodule
"""


def netlist(folder: Path, logic: str, source: str) -> dict[str, Any]:
    (folder / "top.v").write_text(TEXT.replace("SOURCE", source).replace("LOGIC", logic))
    run_yosys("read_verilog top.v", ECP5.synthesis("top", NETLIST), folder)
    found: dict[str, Any] = json.loads((folder / NETLIST).read_text())
    return found


def test_a_reset_goes_over_a_clock_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_nets, "MANY", WIDTH)
    found = netlist(tmp_path, "rst", "rst")
    cells = found["modules"]["top"]["cells"]
    before = json.loads(json.dumps(cells))
    assert promote_resets(found) == 1
    added = [cell for name, cell in cells.items() if name not in before]
    buffer, copy = sorted(added, key=lambda cell: cell["type"])
    assert (buffer["type"], copy["type"]) == ("DCCA", "TRELLIS_FF") and buffer["connections"]["CE"] == ["1"]
    (source,) = (c for c in cells.values() if c["connections"].get("Q") == buffer["connections"]["CLKI"])
    assert copy["parameters"] == source["parameters"] and copy["parameters"]["REGSET"] == "SET"
    assert {**copy["connections"], "Q": 0} == {**source["connections"], "Q": 0}
    old, on, read = source["connections"]["Q"], buffer["connections"]["CLKO"], copy["connections"]["Q"]
    assert len({*old, *on, *read}) == 3
    seen = {"reset": 0, "logic": 0}
    for name, cell in before.items():
        for pin, bits in cell["connections"].items():
            if bits == old and cell["port_directions"][pin] == "input":
                kind = "reset" if cell["type"] == "TRELLIS_FF" and pin == "LSR" else "logic"
                seen[kind] += 1
                assert cells[name]["connections"][pin] == (on if kind == "reset" else read)
            else:
                assert cells[name]["connections"][pin] == bits
    assert seen["reset"] == WIDTH and seen["logic"] > WIDTH // 2
    assert promote_resets(found) == 0


@pytest.mark.parametrize(
    ("source", "many"), [("rst", WIDTH + 1), ("pin", WIDTH), ("rst & pin", WIDTH)], ids=["few", "a pin", "a LUT"]
)
def test_what_stays(source: str, many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_nets, "MANY", many)
    found = netlist(tmp_path, "rst", source)
    before = json.dumps(found)
    assert promote_resets(found) == 0 and json.dumps(found) == before
