# SPDX-License-Identifier: Apache-2.0
"""Readers of what our own commands and the tools they call have written: manifests, figures, kept results, reports."""

import gzip
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring

from command_line import small_net
from onespike import readme
from onespike.fpga import place_route, refine, repack, synth
from onespike.fpga.clocks import Clock
from onespike.fpga.project import write_project
from onespike.fpga.retune import RETUNE
from onespike.hw.config import EngineConfig
from onespike.hw.emit import emit
from onespike.labels import class_names
from onespike.model.cost import area
from onespike.model.network.shards import golden_shards
from onespike.model.system import reports
from onespike.model.system.campaign import Store
from onespike.model.targets import find_target
from onespike.page import measured
from onespike.sim import formal
from onespike.sim.cells import activities, netlist
from onespike.sim.liberty import library, read_liberty
from onespike.versions import environment

from .formats import gzip_damaged, json_damaged
from .mutations import text_damaged
from .reader import Make, Reader, saved

KEY = "ab" * 32
SAIF = "".join(
    f"(INSTANCE harness\n(INSTANCE dut\n(NET\n (acc\\[{i}\\] (T0 500) (T1 500) (TZ 0) (TX 0) (TB 0) (TC 40))\n)\n)\n)\n"
    for i in range(3)
)
LIBERTY = """library ("small_sky130") {
    capacitive_load_unit(1.0, "pf"); /* a comment */
    nom_voltage : 2.0;
    cell ("gate") {
        clock_gating_integrated_cell : "latch_posedge";
        pin ("CK") { clock : "true"; capacitance : 0.004; }
    }
    cell ("flop") {
        pin ("CLK") { capacitance : 0.002; clock : "true"; }
        pin ("D") { capacitance : 0.001; }
    }
}
"""
STATISTICS = "   4 90.0 cells\nChip area for module '\\onespike': 90.0\n used for sequential elements: 40.0 (44%)\n"
LOG = "Info: Device utilisation:\nInfo: \tDP16KD:   5/   56  8%\nInfo: \tTRELLIS_COMB:   57/   24288  1%\n"
MODULE = {
    "ports": {"clk": {"direction": "input", "bits": [2]}},
    "netnames": {"clk": {"bits": [2]}, "acc": {"bits": [6, 7]}},
    "cells": {
        "g0": {"type": "flop", "connections": {"D": [3], "CLK": [2], "Q": [6]}},
        "g3": {"type": "gate", "connections": {"CK": [2], "EN": [3], "GCK": [10]}},
    },
}  # fmt: skip
REGISTERS = {
    "netnames": {"acc": {"bits": [6, 7]}, "enable": {"bits": [3]}},
    "cells": {"r1": {"type": "$dffe", "parameters": {"EN_POLARITY": "1"}, "connections": {"Q": [7], "EN": [3]}}},
}
ROUTED = {
    "fmax": {"clk": {"achieved": 91.5, "constraint": 60.0}},
    "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [
        {"delay": 0.5, "type": "logic", "from": {"cell": "a", "loc": [1, 2], "port": "Q"}, "to": {"cell": "b"}}]}],
}  # fmt: skip
CELLS = {"modules": {"top": {"ports": {}, "netnames": {}, "cells": {
    "a": {"type": "LUT4", "parameters": {"INIT": "1" * 16}, "connections": {"A": [1], "B": [2], "Z": [4]}},
    "b": {"type": "TRELLIS_FF", "parameters": {}, "connections": {"DI": [4], "Q": [5], "CLK": [6]}}}}}}  # fmt: skip
PLACED = {"modules": {"top": {"ports": {}, "cells": {
    name: {"type": "TRELLIS_FF", "parameters": {"CLKMUX": "CLK"}, "attributes": {"NEXTPNR_BEL": f"X{at}/Y5/SLICEA.FF0"},
           "port_directions": {"M": "input", "CLK": "input", "Q": "output"},
           "connections": {"M": [at], "CLK": [1], "Q": [at + 20]}}
    for name, at in (("a", 2), ("b", 22), ("c", 42), ("d", 62))}}}}  # fmt: skip
PLL = {"modules": {"top": {"cells": {"pll": {"type": "rPLL", "parameters": {"FCLKIN": "27"}}}}}}
VCD = """$scope module top $end
$var wire 1 ! a $end
$var wire 8 # count $end
$upscope $end
$enddefinitions $end
#0
b00000011 #
1!
"""
PAGE = f"# a\n{readme.BEGIN}\nold\n{readme.END}\nrest\n"
FIGURES = {
    "made_by": {"command": "onespike eval x", "versions": {"onespike": "0.1.0"}},
    "network": {"hash": small_net().hash, "name": "net"},
    "hardware": {"banks": 2, "lanes": 4, "slices": {"conv": 1}},
    "accuracy": {"golden": 0.5, "images": 5},
    "rtl": {"images": 1, "mismatches": 0, "cycles_per_image": 3.0, "layers": []},
    "synthesis": dict.fromkeys(measured.SHOWN, 1) | {"target": "ecp5-25k", "critical_path": ["a"]},
}
SUMMARY: dict[str, Any] = {
    "accuracy": {"float": 0.99, "quantised": 0.98, "golden": 0.98, "images": 1000}, "groups": 8, "weight_bits": 4,
    "rtl": {"images": 2, "mismatches": 0, "words_compared": 9, "cycles_per_image": 3.5, "utilisation": 0.5,
            "predicted_cycles_per_image": 3.5},
    "hardware": {"banks": 4, "lanes": 16}, "seconds": {"total": 90.5}, "trained": True, "versions": environment(),
    "operations": dict.fromkeys(("dense_macs", "events_radix", "additions_radix", "additions_unary"), 5.0),
    "energy": {"sentences": ["It is less."], "tables": {"45": "Horowitz"}, "systems": [
        {"label": "a", "operations": 5.0, "operations_fp32_uj": None, "operations_int8_uj": 0.5, "memory_uj": 1.5}]},
}  # fmt: skip


def _json(tree: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_text(json.dumps(tree))


def manifest(path: Path) -> None:
    contents = {"format": "onespike-verilog", "top": "onespike", "files": {"onespike.v": "0", "rows.hex": "1"}}
    path.write_text(json.dumps(contents | {"ports": [{"name": "clk", "bits": 1}, {"name": "rst", "bits": 1}]}))


def project(path: Path) -> str:
    files = write_project(path.parent, "vivado", "xc7a35tcpg236-1", mhz=100)
    files += write_project(path.parent, "quartus", "10CX085YU484I6G", mhz=100)
    return "".join(file.read_text() for file in files)


def estimated(path: Path) -> int:
    """The area of an engine by the coefficients in the file, wherever ours lie."""
    kept = area.FIT
    try:
        area.FIT = path
        return area.estimate(EngineConfig(), find_target("ecp5-25k"), area.fitted.__wrapped__()).luts
    finally:
        area.FIT = kept


def _kept_result(folder: Path) -> Path:
    Store(folder).write(KEY, "a", [1, 2.5])
    return folder / KEY[:2] / f"{KEY}.json"


def _shard(path: Path) -> Path:
    net = small_net()
    golden_shards(net, np.zeros((2, 1, 6, 6), np.uint8), keep=path, shard=2)
    return next(path.rglob("*.json"))


def shards(path: Path) -> Any:
    """Whatever is kept: the same logits."""
    net, codes = small_net(), np.zeros((2, 1, 6, 6), np.uint8)
    np.testing.assert_array_equal(golden_shards(net, codes, keep=path.parents[1], shard=2), net.golden(codes))


def _netlist(folder: Path, damaged: str) -> Path:
    (folder / "netlist.json").write_text(json.dumps({"modules": {"onespike": MODULE}}))
    (folder / "enables.json").write_text(json.dumps({"modules": {"onespike": REGISTERS}}))
    (folder / "stat.txt").write_text(STATISTICS)
    return folder / damaged


def read_netlist(path: Path) -> Any:
    return netlist(path.parent, library(LIBERTY), {"acc[0]": (0.1, 0.5)})


def page_figures(path: Path) -> Any:
    return measured.read([path], small_net(), Path("net.spike"))


def into_readme(path: Path) -> int:
    """The block of figures in a page of its own beside the file."""
    page = path.parent / "page.md"
    page.write_text(f"# a\n{readme.BEGIN}\n{readme.END}\n")
    return readme.update(page, readme.text_of(path, None))


def parts(path: Path) -> Any:
    return reports.read(path, "Yosys", lambda text: synth.count_parts(text, find_target("ecp5-25k").family.cells))


def retuned(path: Path) -> Any:
    clock = Clock(mhz=Fraction(30), parameters={"IDIV_SEL": 8, "FBDIV_SEL": 9, "ODIV_SEL": 16, "DEVICE": "x"})
    return reports.read(path, "the router", lambda text: RETUNE["gowin"](text, clock))


NET, NAMES = small_net(), ("cat", "dog", "eel")


class Traced(wiring.Component):
    _MustUse__silence = True  # its ports are read, nothing else

    def __init__(self) -> None:
        super().__init__({"a": wiring.In(1), "count": wiring.Out(8)})


def traced(path: Path) -> str:
    return formal._example(Traced(), path)


def _files(name: str) -> Make:
    return lambda folder: _netlist(folder, name)


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


READERS = [
    Reader(name="manifest", make=saved("manifest.json", manifest), read=project, damage=json_damaged),
    Reader(name="earlier manifest", make=saved("manifest.json", manifest), read=emit._listed, damage=json_damaged),
    Reader(name="area", make=saved("area.json", lambda path: path.write_bytes(area.FIT.read_bytes())), read=estimated,
           damage=json_damaged),
    Reader(name="figures", make=saved("figures.json", _json(FIGURES)), read=page_figures, damage=json_damaged),
    Reader(name="summary", make=saved("summary.json", _json(SUMMARY)), read=into_readme, damage=json_damaged),
    Reader(name="kept result", make=_kept_result,
           read=lambda path: Store(path.parents[1]).read(KEY), damage=json_damaged),
    Reader(name="shard", make=_shard, read=shards, damage=json_damaged),
    Reader(name="liberty", make=saved("a.lib", lambda path: path.write_text(LIBERTY)),
           read=lambda path: library(read_liberty(path), path), damage=text_damaged),
    Reader(name="liberty.gz", make=saved("a.lib.gz", lambda path: path.write_bytes(_packed(LIBERTY))),
           read=lambda path: library(read_liberty(path), path), damage=gzip_damaged(text_damaged)),
    Reader(name="saif", make=saved("dump.saif", lambda path: path.write_text(SAIF)),
           read=lambda path: activities(path, 1000), damage=text_damaged),
    Reader(name="netlist.json", make=_files("netlist.json"), read=read_netlist, damage=json_damaged),
    Reader(name="enables.json", make=_files("enables.json"), read=read_netlist, damage=json_damaged),
    Reader(name="stat.txt", make=_files("stat.txt"), read=read_netlist, damage=text_damaged),
    Reader(name="timing", make=saved("report.json", _json(ROUTED)), read=place_route.timing, damage=json_damaged),
    Reader(name="utilisation", make=saved("nextpnr.log", lambda path: path.write_text(LOG)),
           read=place_route.used_cells, damage=text_damaged),
    Reader(name="cells", make=saved("stat.json", _json({"design": {"num_cells_by_type": {"LUT4": 3}}})),
           read=lambda path: place_route.cells(path.parent), damage=json_damaged),
    Reader(name="parts", make=saved("top.json", _json(CELLS)), read=parts, damage=json_damaged),
    Reader(name="pll", make=saved("routed.json", _json(PLL)), read=retuned, damage=json_damaged, named=False),
    Reader(name="vcd", make=saved("trace.vcd", lambda path: path.write_text(VCD)), read=traced, damage=text_damaged),
    Reader(name="page of figures", make=saved("page.md", lambda path: path.write_text(PAGE)),
           read=lambda path: readme.update(path, "figures"), damage=text_damaged),
    Reader(name="labels", make=saved("names.txt", lambda path: path.write_text("\n".join(NAMES) + "\n")),
           read=lambda path: class_names(NET, path), damage=text_damaged),
    Reader(name="repack", make=saved("top.json", _json(CELLS)), read=repack.repack, damage=json_damaged),
    Reader(name="placed", make=saved("placed.json", _json(PLACED)), read=refine.refine, damage=json_damaged),
]  # fmt: skip
