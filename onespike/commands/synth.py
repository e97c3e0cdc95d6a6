# SPDX-License-Identifier: Apache-2.0
"""`onespike synth`: LUTs, block RAMs and clock of an engine on a part; Xilinx parts by synthesis alone."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import tables
from ..fpga import xilinx
from ..fpga.synth import synthesise
from ..hw.config import EngineConfig
from ..model.network.spec import SpikeNet
from ..model.targets import find_target
from ..parsers.options import engine_config, make_mapping
from ..progress import Progress
from .labelled import load_data


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    part = None if args.target == xilinx.NAME else find_target(args.target)
    network: dict[str, Any] = {}
    if args.net is None:
        config = engine_config(args)
    else:
        net = SpikeNet.load(args.net)
        network = {"network": {"hash": net.hash}}
        guide = None if args.data is None else net.image.quantise(load_data(args, net).images)
        config = make_mapping(args, net, guide, part).config
    if part is None:
        return network | estimate_xilinx(args, config, console, progress)
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
    made = {"engine": dataclasses.asdict(config), "synthesis": dataclasses.asdict(found), "asked_mhz": args.frequency}
    return network | made


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
