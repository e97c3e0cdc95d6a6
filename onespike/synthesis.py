# SPDX-License-Identifier: Apache-2.0
"""`onespike synth`: what an engine costs on a part."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from . import tables
from .commands import load_data
from .fpga.synth import synthesise
from .fpga.targets import find_target
from .model.spec import SpikeNet
from .options import engine_config, make_mapping
from .progress import Progress


def run_synth(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    part = find_target(args.target)
    if args.net is None:
        config = engine_config(args)
    else:
        net = SpikeNet.load(args.net)
        guide = None if args.data is None else net.image.quantise(load_data(args, net).images)
        config = make_mapping(args, net, guide).config
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
