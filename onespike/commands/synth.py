# SPDX-License-Identifier: Apache-2.0
"""`onespike synth`: LUTs, block RAMs and clock of an engine on a part; Xilinx parts by synthesis alone."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import tables
from ..fpga import xilinx
from ..fpga.seeds import synthesise_all
from ..fpga.sweep import spread
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
    seeds = range(args.seed, args.seed + args.seeds)
    with progress.jobs("synth", f"yosys and nextpnr for {part.name}") as (_, done):
        every = synthesise_all([(config, seed) for seed in seeds], part.name, args.output, frequency=args.frequency,
                               executor=args.executor, keep=args.keep or args.output / "jobs", done=done)  # fmt: skip
    found = max(every, key=lambda each: each.fmax_mhz)  # of equal ones, the first
    rows = [
        ("engine", f"{config.banks} banks x {config.lanes} lanes, {config.fire_lanes} fire lanes"),
        ("LUTs", f"{found.luts:,} of {part.luts:,} (carry cells and LUT RAM included)"),
        ("LUTs per lane", f"{found.luts_per_lane}, everything included"),
        ("flip-flops", f"{found.flip_flops:,}"),
        ("block RAMs", f"{found.block_rams} of {part.block_rams}"),
        ("multipliers", str(found.multipliers)),
        ("clock", f"{found.fmax_mhz} MHz after place and route, seed {found.seed}"),
        *([("clocks", spread_of([each.fmax_mhz for each in every]))] if args.seeds > 1 else []),
        ("tools", found.tools),
    ]
    tables.facts(console, f"Engine on {part.name}", rows)
    made = {"engine": dataclasses.asdict(config), "synthesis": dataclasses.asdict(found), "asked_mhz": args.frequency}
    if args.seeds > 1:
        made["seeds"] = {str(each.seed): each.fmax_mhz for each in every}
    return network | made


def spread_of(clocks: list[float]) -> str:
    """What the clocks of several seeds are, in one line."""
    least, first, middle, third, most = spread(clocks)
    return (
        f"{len(clocks)} seeds: {least:.1f} to {most:.1f} MHz, median {middle:.1f}, half of them in {first:.1f} to "
        f"{third:.1f}"
    )


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
