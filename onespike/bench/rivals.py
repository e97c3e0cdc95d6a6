# SPDX-License-Identifier: Apache-2.0
"""The engine and its rivals in RTL: the same hardware with other lanes, through the same tools, on the same images.

In LUTs a rival's lanes multiply by four bits of a value at a time, in DSP blocks by eight: what each does best. Lanes
for eight bits take half as many LUTs again, and save the cycles of eight-bit pixels alone (docs/results.md).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from .. import tables, versions
from ..fpga.synth import bank_luts, synthesise
from ..hw.config import EngineConfig
from ..model.cost import energy
from ..model.cost.choose import choose_mapping
from ..model.cost.cycles import predict_all, utilisation
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..parsers.options import CHOOSING
from ..progress import Progress
from ..sim.engine import simulate
from . import workloads
from .workloads import Workload

ENGINES: dict[str, dict[str, Any]] = {
    "spikes": {},
    "zero-skip": {"arithmetic": "zero-skip", "product_bits": 4},
    "dense": {"arithmetic": "dense", "product_bits": 4},
    "zero-skip, DSP": {"arithmetic": "zero-skip", "product_bits": 8, "dsp": True},
    "dense, DSP": {"arithmetic": "dense", "product_bits": 8, "dsp": True},
}
USUAL = ("digits", "mlp64")  # workloads


def run(args: argparse.Namespace, sources: workloads.Sources, console: Console, progress: Progress) -> dict[str, Any]:
    """All engines on all workloads; each kind is one engine that holds every network, placed and routed once."""
    made = []
    for name in args.workloads or USUAL:
        with progress.stage(f"{name}: network", f"{name}: network and images", spinner=False):
            made.append(workloads.build(name, sources, args.banks or 4, args.lanes or 16))
    result: dict[str, Any] = {"versions": versions.environment(), "groups": args.groups, "target": args.target}
    result["networks"] = [
        {"name": w.name, "network": w.text, "weights": w.weights, "data": w.data, "hash": w.net.hash,
         "images": min(args.images, len(w.images))}
        for w in made
    ]  # fmt: skip
    result["rivals"] = [measure(name, made, args, progress) for name in ENGINES]
    show(result, console)
    return result


def measure(kind: str, made: Sequence[Workload], args: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """All figures of one kind of engine."""
    codes = [w.net.image.quantise(w.images[: args.images]) for w in made]
    with progress.stage(f"{kind}: engine", f"{kind}: an engine for every network"):
        config = shared([
            choose_mapping(w.net, dataclasses.replace(w.config, **ENGINES[kind]), images[:CHOOSING]).config
            for w, images in zip(made, codes, strict=True)
        ])  # fmt: skip
    found: dict[str, Any] = {"name": kind, "engine": dataclasses.asdict(config), "synthesis": None, "workloads": []}
    for w, images in zip(made, codes, strict=True):
        mapping = choose_mapping(w.net, config, images[:CHOOSING], fit=False)
        found["workloads"].append({"name": w.name, **cycles(kind, mapping, images, args, progress)})
    with progress.stage(f"{kind}: bank", f"{kind}: yosys on one bank"):
        found["bank_luts"] = bank_luts(config, args.target, args.output / "synth")
    if args.synth is not False:
        with progress.stage(f"{kind}: synth", f"{kind}: yosys and nextpnr for {args.target}"):
            placed = synthesise(config, args.target, args.output / "synth")
        found["synthesis"] = dataclasses.asdict(placed)
        for each in found["workloads"]:
            each["images_per_second"] = placed.fmax_mhz * 1e6 / each["cycles"]
            each["images_per_second_per_lut"] = each["images_per_second"] / placed.luts
    return found


def cycles(
    kind: str, mapping: Mapping, codes: Any, args: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    """Cycles, counted in RTL where it is simulated, and energy, of one network on an engine."""
    config, name = mapping.config, f"{kind}: {mapping.net.hash[:6]}"
    rtl = None
    if args.rtl is not False:
        with progress.stage(name, f"{kind}: {len(codes)} images in Verilator") as stage:
            done = simulate(mapping, codes, args.output / "simulation", seed=args.seed)
            stage.note = f"{done.words:,} spike words compared"
        predicted = done.predicted
        rtl = {key: getattr(done, key) for key in ("mismatches", "cycle_mismatches", "words", "cycles_per_image")}
    else:
        predicted = predict_all(mapping, golden.run(mapping.net, codes, layers=True))
    ours = energy.estimate(mapping, codes)["onespike"]
    layers = [layer for image in predicted for layer in image]
    return {
        "cycles": sum(layer.total for layer in layers) / len(predicted),
        "events": sum(layer.event for layer in layers) / len(predicted),
        "utilisation": utilisation(layers, config.banks, config.lanes),
        "rtl": rtl,
        "operations": ours.operations,
        "operations_uj": ours.int8_uj,
        "memory_uj": ours.total_uj,
    }


def shared(configs: Sequence[EngineConfig]) -> EngineConfig:
    """An engine that holds what each of these does; they differ in what was fitted to a network."""
    first = configs[0]
    fitted: dict[str, Any] = {}
    for field in dataclasses.fields(EngineConfig):
        values = [getattr(config, field.name) for config in configs]
        if field.type in ("int", "bool"):
            fitted[field.name] = max(values)
    if first.multiplies:  # two steps of shifts
        shifts = [config.max_shift for config in configs]
        fitted["max_shift"] = max(s // 4 for s in shifts) * 4 + max(s % 4 for s in shifts)
    return dataclasses.replace(first, **fitted)


def show(result: Map[str, Any], console: Console) -> None:
    """The tables, and what they say in words."""
    placed = tables.titled(
        f"The same engine with other lanes, on {result['target']}",
        "engine, a lane, bank, LUTs, registers, DSPs, block RAMs, MHz",
        "Bank: LUTs of one bank after synthesis. The others: of the whole engine after place and route, one seed. In "
        "LUTs a rival multiplies by four bits a cycle, in DSP blocks by eight.",
    )
    for rival in result["rivals"]:
        made, config = rival["synthesis"], rival["engine"]
        lane = "adds 1, 3, 5 x weight" if config["arithmetic"] == "spikes" else f"{config['product_bits']}-bit product"
        keys = ("luts", "flip_flops", "multipliers", "block_rams", "fmax_mhz")
        bank = tables.big(rival["bank_luts"])
        placed.add_row(rival["name"], lane, bank, *("-" if made is None else tables.big(made[key]) for key in keys))
    console.print(placed)
    for number, network in enumerate(result["networks"]):
        table = tables.titled(
            f"{network['network']}: {network['weights']} weights, {network['images']} images of {network['data']}",
            "engine, cycles, events, use, images/s, /s/LUT, op nJ, mem nJ",
            "Cycles per image, counted in RTL and as predicted. Events: additions of multiples, or products, a lane's "
            "row of them each. Use: of the lanes' cycles. Energy: operations only, and with memory; cost tables and "
            "conventions of `onespike report`. Words and counters that differ from the model are in red.",
        )
        for rival in result["rivals"]:
            w = rival["workloads"][number]
            wrong = w["rtl"] is not None and w["rtl"]["mismatches"] + w["rtl"]["cycle_mismatches"]
            speed = (w.get("images_per_second"), w.get("images_per_second_per_lut"))
            table.add_row(
                rival["name"],
                tables.big(w["cycles"]) + ("" if w["rtl"] else " (m)"),
                tables.big(w["events"]),
                f"{w['utilisation']:.3f}",
                *("-" if v is None else form.format(v) for v, form in zip(speed, ("{:,.0f}", "{:.3f}"), strict=True)),
                f"{1000 * w['operations_uj']:,.2f}",
                f"{1000 * w['memory_uj']:,.2f}",
                style="red" if wrong else "",
            )
        console.print(table)
    for sentence in sentences(result):
        console.print(f"* {sentence}", soft_wrap=True)
    console.print(f"\nMeasured {versions.sentence(result['versions'])}.", soft_wrap=True)


def sentences(result: Map[str, Any]) -> list[str]:
    """Spikes against each rival, from these figures only; above 1 the rival's figure is the larger one."""
    ours, found = result["rivals"][0], []
    for rival in result["rivals"][1:]:
        made, theirs = ours["synthesis"], rival["synthesis"]
        for number, network in enumerate(result["networks"]):
            a, b = ours["workloads"][number], rival["workloads"][number]
            text = f"{network['network']}, {rival['name']} against spikes: "
            text += f"{b['cycles'] / a['cycles']:.2f} times the cycles"
            if made is not None:
                text += (
                    f", {theirs['luts'] / made['luts']:.2f} times the LUTs, "
                    f"{theirs['fmax_mhz'] / made['fmax_mhz']:.2f} times the clock, "
                    f"{b['images_per_second'] / a['images_per_second']:.2f} times the images a second, "
                    f"{b['images_per_second_per_lut'] / a['images_per_second_per_lut']:.2f} times those a LUT"
                )
            text += (
                f", {b['operations_uj'] / a['operations_uj']:.2f} times the energy of operations, "
                f"{b['memory_uj'] / a['memory_uj']:.2f} times that with memory"
            )
            if theirs is not None and theirs["multipliers"]:
                text += f"; and {theirs['multipliers']} DSP blocks"
            found.append(f"{text}.")
    return found
