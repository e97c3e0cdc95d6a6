# SPDX-License-Identifier: Apache-2.0
"""What an engine costs: `onespike synth` on an FPGA, `onespike asic` in standard cells; and `onespike project`, scripts
for the vendors' tools."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import tables
from ..fpga import xilinx
from ..fpga.project import write_project
from ..fpga.synth import synthesise
from ..hw.config import EngineConfig
from ..model.network.spec import SpikeNet
from ..model.targets import find_target
from ..parsers.options import engine_config, make_mapping
from ..progress import Progress
from ..sim.asic import Asic, asic
from .commands import load_data


def run_synth(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    part = None if args.target == xilinx.NAME else find_target(args.target)
    if args.net is None:
        config = engine_config(args)
    else:
        net = SpikeNet.load(args.net)
        guide = None if args.data is None else net.image.quantise(load_data(args, net).images)
        config = make_mapping(args, net, guide).config
    if part is None:
        return estimate_xilinx(args, config, console, progress)
    with progress.stage("synth", f"yosys and nextpnr for {part.name}"):
        found = synthesise(config, part.name, args.output, seed=args.seed, frequency=args.frequency)
    rows = [
        ("engine", f"{config.banks} banks x {config.lanes} lanes, {config.fire_lanes} fire lanes"),
        ("LUTs", f"{found.luts:,} of {part.luts:,} (carry cells and LUT RAM included)"),
        ("LUTs per lane", f"{found.luts_per_lane}, everything included"),
        ("flip-flops", f"{found.flip_flops:,}"),
        ("block RAMs", f"{found.block_rams} of {part.block_rams}"),
        ("multipliers", str(found.multipliers)),
        ("clock", f"{found.fmax_mhz} MHz after place and route, seed {found.seed}"),
        ("tools", found.tools),
    ]
    tables.facts(console, f"Engine on {part.name}", rows)
    return {"engine": dataclasses.asdict(config), "synthesis": dataclasses.asdict(found)}


def estimate_xilinx(
    args: argparse.Namespace, config: EngineConfig, console: Console, progress: Progress
) -> dict[str, Any]:
    with progress.stage("synth", "yosys for Xilinx 7-series"):
        found = xilinx.estimate(config, args.output)
    rows = [
        ("engine", f"{config.banks} banks x {config.lanes} lanes, {config.fire_lanes} fire lanes"),
        ("LUTs", f"{found.luts:,}, of six inputs (LUT RAM included)"),
        ("flip-flops", f"{found.flip_flops:,}"),
        ("block RAMs", f"{found.block_rams:g} of 36 kbit"),
        ("multipliers", str(found.multipliers)),
        ("tools", found.tools),
    ]
    tables.facts(console, "Engine on Xilinx 7-series: an estimate, not placed", rows)
    return {"engine": dataclasses.asdict(config), "estimate": dataclasses.asdict(found)}


def run_project(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    files = write_project(args.directory, args.tool, args.part, mhz=args.frequency)
    run = {"vivado": "vivado -mode batch -source", "quartus": "quartus_sh -t"}[args.tool]
    rows = [("script", str(files[0])), ("constraints", str(files[1])), ("run it", f"{run} {files[0]}")]
    tables.facts(console, f"Project for {args.tool}, {args.part} at {args.frequency:g} MHz", rows)
    return {"files": [str(path) for path in files], "part": args.part, "frequency_mhz": args.frequency}


def run_asic(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    codes = net.image.quantise(load_data(args, net).images)
    mapping = make_mapping(args, net, codes)
    with progress.stage("asic", f"yosys, Verilator and OpenSTA on {len(codes)} images"):
        found = asic(mapping, codes, args.liberty, args.output, mhz=args.frequency)
    power = found.power_mw
    rows = [
        ("library", found.library),
        ("area", f"{found.area_um2 / 1e6:.3f} mm2 of cells, {found.sequential_um2 / found.area_um2:.0%} flip-flops"),
        ("cells", f"{found.cells:,}, of which {found.flip_flops:,} flip-flops; without the memories"),
        ("clock", clock_sentence(found, args.frequency)),
        (
            "power at this clock",
            f"{power['total']:.2f} mW: {power['internal']:.2f} inside cells (clock pins included, no clock gating), "
            f"{power['switching']:.2f} in loads, {power['leakage']:.4f} leakage",
        ),
        ("activity", f"{found.activity:.3f} transitions of a flip-flop per cycle"),
        (
            "energy per image",
            f"{found.logic_uj:.3f} uJ of logic in {found.cycles_per_image:,.0f} cycles, "
            f"{found.memory_uj:.3f} uJ of memory",
        ),
        ("memory", found.memory_source),
    ]
    tables.facts(console, "Engine in standard cells", rows)
    return {"engine": dataclasses.asdict(mapping.config), "asic": dataclasses.asdict(found)}


def clock_sentence(found: Asic, asked: float) -> str:
    """The clock of power and energy, and what it is."""
    if found.clock_mhz < asked:
        return f"{found.clock_mhz:g} MHz, the fastest before layout, slower than the {asked:g} MHz asked for"
    return f"{found.clock_mhz:g} MHz, as asked for; the logic could run at {found.fmax_mhz:g} MHz before layout"
