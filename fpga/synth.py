# SPDX-License-Identifier: Apache-2.0
"""Synthesis with open tools: what an engine costs on a part, and how fast its clock can be, after place and route.

Results are kept under the hash of the Verilog, the part, the seed and the tools' versions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from ..hw.config import EngineConfig
from ..hw.emit.emit import hex_lines
from ..hw.emit.manifest import ports
from ..hw.emit.verilog import BANK, TOP, bank_files, bank_memories, bank_verilog, to_verilog
from ..hw.engine.load import stored_widths
from ..model.errors import OneSpikeError
from ..model.system import bounded, reports
from ..model.system.contents import code
from ..model.system.files import write_atomically
from ..model.system.locks import in_turn
from ..model.targets import Family, Target, find_target
from .place_route import (
    NETLIST,
    count_flip_flops,
    packed_cells,
    pinned,
    place_and_route,
    routing,
    timing,
    used_cells,
    ways,
)
from .repack import repack
from .tools import find_tool, run_tool, tool_versions

STATISTICS = "tee -q -o stat.json stat -json"


@dataclass(frozen=True, kw_only=True)
class Synthesised:
    """Resources of one engine, after place and route: `luts` counts LUT4s with carry cells and LUTs used as RAM.

    On iCE40 `luts` are logic cells, each with a LUT and a register. parts: LUTs before placement by the unit that they
    belong to, all banks together; the placer adds what feeds carry chains.
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


def write_design(config: EngineConfig, directory: Path) -> tuple[str, ...]:
    """Write the engine and its pin wrapper; Yosys' options for reading them.

    A loadable engine's memories stay blank. The others get seeded random contents, or Yosys would find them constant.
    """
    verilog = to_verilog(config)
    write_atomically(directory / "onespike.v", verilog)
    write_atomically(directory / "top.v", pin_wrapper(verilog, config))
    if config.loadable:
        return ("-DONESPIKE_BLANK",)
    widths = stored_widths(config)
    depths = {"program": config.program_depth, "rows": config.walk_depth, "columns": config.walk_depth}
    files = {f"{name}.hex": (widths[name], depth) for name, depth in depths.items()}
    files["channels.hex"] = (widths["channels"], config.channel_depth)
    if config.tables:
        files["tables.hex"] = (widths["tables"], config.table_rows)
    for memory, pages in bank_memories(config).items():
        for bank in range(config.banks):
            named = zip(bank_files(config, memory, bank), pages, strict=True)
            files |= {name: (widths[memory], rows) for name, rows in named}
    for seed, (name, (bits, depth)) in enumerate(files.items()):
        random = Random(seed)
        write_atomically(directory / name, hex_lines([random.getrandbits(bits) for _ in range(depth)], bits))
    return ()


def unit_of(cell: str) -> str:
    """The engine's unit that a cell of the flat netlist belongs to; banks are not told apart."""
    path = re.sub(r"_(LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS)_.*", "", cell).split(".")
    if path[0] != "engine":
        return "shared names" if "engine." in cell else "pins"
    if not path[1].startswith("bank"):
        return path[1] if len(path) > 2 else "shared names"
    return f"bank {path[2]}" if len(path) > 3 else "bank"


def count_parts(netlist: str, cells: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """LUTs of every unit of the netlist that Yosys wrote, the largest first; cells: of a Family."""
    found: Counter[str] = Counter()
    for name, cell in json.loads(netlist)["modules"]["top"]["cells"].items():
        luts = cells.get(cell["type"], (0, 0))[0]
        if luts:
            found[unit_of(name)] += luts
    return dict(found.most_common())


def synthesise(
    config: EngineConfig,
    target: str,
    build_dir: str | Path,
    *,
    seed: int = 1,
    frequency: float = 130.0,
    place: bool = True,
) -> Synthesised:
    """Place and route the engine on the target; minutes the first time, then from the cache.

    frequency: what the router aims for, in MHz; the result says what it reached. place: False stops when the cells are
    packed, which settles the resources but not the clock (`fmax_mhz` is then 0).
    """
    part = find_target(target)
    family = part.family
    find_tool("yosys")
    find_tool(family.router)
    tools = tool_versions("yosys", family.router)
    script = recipe(family, "top")
    key = json.dumps([to_verilog(config), script, part.part, part.pins, ways(family), seed, frequency, place, tools])
    directory = Path(build_dir) / f"{part.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    result = directory / "result.json"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        before = bounded.kept(
            result, lambda kept: Synthesised(**(kept | {"critical_path": tuple(kept["critical_path"])}))
        )
        if before is not None:
            return before
        found = _synthesise(config, part, directory, seed, frequency, place, tools)
        write_atomically(result, json.dumps(asdict(found), indent=1) + "\n")
    return found


def netlist_of(config: EngineConfig, part: Target, build_dir: Path) -> Path:
    """The folder of the engine's netlist behind its pin wrapper, which all seeds and clocks of a part share."""
    tools = tool_versions("yosys", part.family.router)
    key = json.dumps([to_verilog(config), recipe(part.family, "top"), tools])
    directory = build_dir / f"netlist-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        if not (directory / "done").is_file():
            defines = write_design(config, directory)
            write_netlist(f"read_verilog {' '.join(defines)} onespike.v top.v", part.family, "top", directory)
            write_atomically(directory / "done", "")
    return directory


def bank_luts(config: EngineConfig, target: str, build_dir: str | Path) -> int:
    """LUTs of one bank of the engine after synthesis alone, by the same steps, and without what the placer adds.

    A minute the first time, then from the cache.
    """
    family = find_target(target).family
    text = bank_verilog(config)
    key = json.dumps([text, recipe(family, BANK), tool_versions("yosys")])
    directory = Path(build_dir) / f"bank-{family.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    result = directory / "result.json"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        before = bounded.kept(result, lambda kept: int(kept["luts"]))
        if before is not None:
            return before
        write_atomically(directory / "bank.v", text)
        write_netlist("read_verilog -DONESPIKE_BLANK bank.v", family, BANK, directory)
        luts = reports.read(directory / NETLIST, "Yosys", lambda text: sum(
            family.cells.get(cell["type"], (0, 0))[0] for cell in json.loads(text)["modules"][BANK]["cells"].values()
        ))  # fmt: skip
        write_atomically(result, json.dumps({"luts": luts}) + "\n")
    return luts


def _synthesise(
    config: EngineConfig, part: Target, directory: Path, seed: int, frequency: float, place: bool, tools: str
) -> Synthesised:
    """`synthesise` in a folder that nobody else works in."""
    family = part.family
    made = netlist_of(config, part, directory.parent)
    for name in (NETLIST, "stat.json"):
        write_atomically(directory / name, (made / name).read_bytes())
    command = routing(part, directory, frequency, seed)
    command += pinned(part, directory, command)
    for name, (needed, available) in packed_cells(command, directory).items():
        if needed > available:
            raise OneSpikeError(
                f"The engine needs {needed:,} {name}, {needed - available:,} more than the {available:,} of "
                f"{part.name}; take fewer banks or lanes, shallower memories, or a larger part."
            )
    if place:
        place_and_route(command, directory)
    else:
        run_tool([*command, "--pack-only"], directory, "nextpnr.log")
    used = {name: number for name, (number, _) in used_cells(directory / "nextpnr.log").items()}
    clock, path = timing(directory / "report.json") if place else (0.0, ())
    flip_flops = used.get(family.flip_flops) or count_flip_flops(directory, family)
    return Synthesised(
        target=part.name,
        luts=used[family.luts],
        flip_flops=flip_flops,
        block_rams=used[family.block_rams],
        multipliers=used.get(family.multipliers, 0),
        fmax_mhz=clock,
        luts_per_lane=round(used[family.luts] / (config.banks * config.lanes), 1),
        seed=seed,
        tools=tools,
        critical_path=path,
        parts=reports.read(directory / NETLIST, "Yosys", lambda text: count_parts(text, family.cells)),
    )


CONFLICT = "multiple conflicting drivers"


def run_yosys(read: str, synthesis: str, directory: Path, *, after: str = STATISTICS) -> None:
    """Run the commands `read`, `synthesis` and `after` in the directory; the log is yosys.log.

    The pinned Yosys stops at an assertion over the names of wires in some designs, and takes two registers' outputs for
    one in others (its own check then says so): then once more without names.
    """
    for names in ("", "proc; rename -hide w:*; "):
        command = [find_tool("yosys"), "-q", "-l", "yosys.log", "-p", f"{read}; {names}{synthesis}; {after}"]
        try:
            run_tool(command, directory, "yosys.log")
        except OneSpikeError:
            if names:
                raise
            continue
        log = directory / "yosys.log"
        if not log.is_file() or CONFLICT not in log.read_text():
            return
    raise OneSpikeError(
        f"yosys gave one wire two drivers (log: {directory / 'yosys.log'}); take another size, say a wider accumulator "
        f"with --set acc_bits=N."
    )


def recipe(family: Family, top: str) -> str:
    """What `write_netlist` does, as a text for the keys of caches."""
    return "; ".join([family.synthesis(top, NETLIST), *([code(repack.__module__)] if family.repacked else [])])


def write_netlist(read: str, family: Family, top: str, directory: Path) -> None:
    """Synthesise what the command `read` reads to the netlist that the router takes, NETLIST in the directory."""
    run_yosys(read, family.synthesis(top, NETLIST), directory)
    if family.repacked:
        repack(directory / NETLIST)
