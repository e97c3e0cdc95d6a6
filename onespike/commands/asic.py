# SPDX-License-Identifier: Apache-2.0
"""`onespike asic`: area, clock and energy of an engine in standard cells."""

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

PARTS = {
    "clock": "clock pins of flip-flops, and gating cells",
    "clock_net": "the clock's own load",
    "registers": "flip-flops' data",
    "gates": "all other cells",
    "leakage": "leakage",
}


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    codes = net.image.quantise(load_data(args, net).images)
    mapping = make_mapping(args, net, codes)
    with progress.stage("asic", f"yosys, Verilator and OpenSTA on {len(codes)} images"):
        found = asic(mapping, codes, args.liberty, args.output, mhz=args.frequency,
                     gating=args.clock_gating, node=args.node)  # fmt: skip
    parts = found.logic_parts_uj
    rows = [
        ("library", f"{found.library}, {found.voltage:g} V, memories as of {found.node_nm:g} nm"),
        ("area", f"{found.area_um2 / 1e6:.3f} mm2 of cells, {found.sequential_um2 / found.area_um2:.0%} flip-flops"),
        ("cells", f"{found.cells:,}, of which {found.flip_flops:,} flip-flops; without the large memories"),
        ("clock", clock_sentence(found, args.frequency)),
        ("clock gating", gating_sentence(found)),
        ("power of the logic", f"{found.power_mw['total']:.2f} mW at this clock"),
        ("activity", f"{found.activity:.3f} transitions of a flip-flop per cycle"),
        ("energy per image", f"{found.total_uj:.3f} uJ in {found.cycles_per_image:,.0f} cycles"),
        *((f"  {name.replace('_', ' ')}", f"{parts[name]:.3f} uJ: {what}") for name, what in PARTS.items()),
        ("  memories", f"{found.memory_uj:.3f} uJ: {memory_sentence(found)}"),
        ("of these, arithmetic", f"{found.operations_uj:.3f} uJ by counted events at 45 nm; docs/energy.md says why"),
        ("memory", found.memory_source),
    ]
    tables.facts(console, "Engine in standard cells", rows)
    console.print(tables.units(found.units))
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "engine": dataclasses.asdict(mapping.config),
        "asic": dataclasses.asdict(found) | {"total_uj": found.total_uj},
    }


def clock_sentence(found: Asic, asked: float) -> str:
    """The clock of power and energy, and what it is."""
    if found.clock_mhz < asked:
        return f"{found.clock_mhz:g} MHz, the fastest before layout, slower than the {asked:g} MHz asked for"
    return f"{found.clock_mhz:g} MHz, as asked for; the logic could run at {found.fmax_mhz:g} MHz before layout"


def gating_sentence(found: Asic) -> str:
    """What is gated, and how often a clock ticks."""
    if not found.gating_cells:
        return "none"
    return (
        f"{found.gating_cells:,} cells gate {found.gated_flip_flops / found.flip_flops:.0%} of the flip-flops; the "
        f"mean clock ticks in {found.ticking:.1%} of the cycles"
    )


def memory_sentence(found: Asic) -> str:
    """The large memories and their energy."""
    told = (f"{memory['name']} {memory['uj']:.3f}" for memory in found.memories if memory["reads"] + memory["writes"])
    return ", ".join(told)
