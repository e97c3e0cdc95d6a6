# SPDX-License-Identifier: Apache-2.0
"""`onespike asic`: area, clock and power of an engine in standard cells."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import figures, tables
from ..model.network.spec import SpikeNet
from ..parsers.options import make_mapping
from ..progress import Progress
from ..sim.asic import Asic, asic
from .labelled import load_data


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
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
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "engine": dataclasses.asdict(mapping.config),
        "asic": dataclasses.asdict(found),
    }


def clock_sentence(found: Asic, asked: float) -> str:
    """The clock of power and energy, and what it is."""
    if found.clock_mhz < asked:
        return f"{found.clock_mhz:g} MHz, the fastest before layout, slower than the {asked:g} MHz asked for"
    return f"{found.clock_mhz:g} MHz, as asked for; the logic could run at {found.fmax_mhz:g} MHz before layout"
