# SPDX-License-Identifier: Apache-2.0
"""What logic reads of a net on the clock network, it reads from a copy of the register that the net comes from."""

import json
from typing import Any

import pytest

from onespike.fpga.clock_nets import copy_for_logic
from onespike.fpga.place_route import NETLIST
from onespike.fpga.synth import run_yosys
from onespike.model.targets import ECP5

TEXT = """module top(input clk, input [3:0] d, input ce, output reg [3:0] q, r, output x);
  reg SOURCE = 1; wire rst;
  always @(posedge clk) if (ce) SOURCE <= d[0];
  DCCA buffer(.CLKI(SOURCE), .CE(1'b1), .CLKO(rst));
  always @(posedge clk) if (rst) q <= 0; else q <= d;
  always @(posedge clk) r <= d ^ {4{LOGIC}};
  assign x = SOURCE & d[1];
endmodule
"""


def netlist(tmp_path: Any, logic: str, source: str = "source") -> dict[str, Any]:
    text = TEXT.replace("LOGIC", logic)
    if source != "source":  # a pin in place of the register
        text = text.replace("reg SOURCE = 1; ", "").replace("always @(posedge clk) if (ce) SOURCE <= d[0];", "")
    (tmp_path / "top.v").write_text(text.replace("SOURCE", source))
    run_yosys("read_verilog top.v", ECP5.synthesis("top", NETLIST), tmp_path)
    return json.loads((tmp_path / NETLIST).read_text())


def test_logic_reads_a_copy(tmp_path: Any) -> None:
    found = netlist(tmp_path, "rst")
    cells = found["modules"]["top"]["cells"]
    (buffer,) = (cell for cell in cells.values() if cell["type"] == "DCCA")
    before = json.loads(json.dumps(cells))
    moved = copy_for_logic(found)
    (copy,) = (cell for name, cell in cells.items() if name not in before)
    (source,) = (c for c in cells.values() if c["connections"].get("Q") == buffer["connections"]["CLKI"])
    assert moved >= 4 and copy["type"] == "TRELLIS_FF" and copy["parameters"] == source["parameters"]
    assert copy["parameters"]["REGSET"] == "SET"
    assert {**copy["connections"], "Q": 0} == {**source["connections"], "Q": 0}
    (new,), (on,) = copy["connections"]["Q"], buffer["connections"]["CLKO"]
    changed = 0
    for name, cell in before.items():
        for pin, (bit,) in cell["connections"].items():
            (after,) = cells[name]["connections"][pin]
            moves = bit == on and cell["port_directions"][pin] == "input" and pin != "LSR"
            assert after == (new if moves else bit)
            changed += moves
    assert changed == moved and copy_for_logic(found) == 0


@pytest.mark.parametrize(("logic", "source"), [("d[2]", "source"), ("rst", "ce")], ids=["no logic", "from a pin"])
def test_what_stays(logic: str, source: str, tmp_path: Any) -> None:
    found = netlist(tmp_path, logic, source)
    before = json.dumps(found)
    assert copy_for_logic(found) == 0 and json.dumps(found) == before
