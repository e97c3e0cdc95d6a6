# SPDX-License-Identifier: Apache-2.0
"""`onespike simulate`: the RTL against the golden model, every word and every cycle."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console

from .. import figures, tables
from ..model.network.spec import SpikeNet
from ..model.system.locks import owned
from ..parsers.options import make_mapping, memory_of
from ..progress import Progress
from .labelled import accuracy_or_why, load_data


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..sim.engine import simulate
    from ..sim.shards import Settings, simulate_shards
    from ..sim.verilator import find_verilator

    net = SpikeNet.load(args.net)
    data = load_data(args, net)
    find_verilator()  # complain before anything is written
    codes = net.image.quantise(data.images)
    mapping = make_mapping(args, net, codes)
    run_dir = args.output / "run"
    settings = Settings(
        through_load=args.through_load,
        stall=(args.stall, args.stall),
        seed=args.seed,
        serial=not args.back_to_back,
        gates=args.gates,
        memory=dataclasses.replace(memory_of(args), varied=args.memory_varied),
    )
    text = f"Building and running {len(codes)} images in Verilator"
    if args.waves:  # one run, whose folder keeps them
        with progress.stage("rtl", text) as stage:
            found = simulate(mapping, codes, args.output, run_dir=run_dir, waves=True, **vars(settings))
            stage.note = f"{found.words:,} spike words compared"
    else:
        with progress.jobs("rtl", text) as (stage, done), owned(run_dir):
            found = simulate_shards(mapping, codes, args.output, settings, executor=args.executor,
                                    keep=args.keep or args.output / "jobs", done=done)  # fmt: skip
            stage.note = f"{found.words:,} spike words compared{'; ' * bool(stage.note)}{stage.note}"
    right, sentence = accuracy_or_why(net, data, found.logits)
    result: dict[str, Any] = {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "accuracy": {"rtl": right, "images": len(data)},
        "rtl": figures.rtl(found, mapping),
    }
    console.print(tables.cycles(result["rtl"], mapping.config.banks, mapping.config.lanes))
    if mapping.config.streams_weights:
        console.print(tables.streamed(result["rtl"]))
    rows = [
        ("images", f"{found.images}, of which {sentence}" if right is not None else f"{found.images}. {sentence}"),
        ("mismatches", f"{found.mismatches} in {found.words:,} spike words and {found.logits.size:,} logits"),
        ("cycles", f"{found.cycle_mismatches} counters differ from the prediction"),
    ]
    if args.waves:
        waves = next(map(str, run_dir.glob("dump.*")), "")
        result["waves"] = waves
        rows.append(("waves", waves or "none written"))
    tables.facts(console, "Hardware against golden model", rows)
    return result
