# SPDX-License-Identifier: Apache-2.0
"""The commands that start from a .spike file: each prints its tables and returns its figures."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..hw.emit.emit import emit
from ..model.convert.layerwise import layer_losses, occupancy, rounder
from ..model.cost import energy as energy_model
from ..model.cost.cycles import predict_all
from ..model.cost.external import ExternalMemory, with_memory
from ..model.errors import OneSpikeError
from ..model.frontend.graph import activate
from ..model.mapping.mapping import Mapping
from ..model.mapping.prefetch import block_beats, blocks
from ..model.network import golden
from ..model.network.judge import judge
from ..model.network.operations import count
from ..model.network.spec import INPUT, SpikeNet
from ..model.training.data import Dataset, in_scale, load
from ..parsers.options import make_front, make_mapping, memory_of
from ..progress import Progress

LAYER_IMAGES = 1000  # that `eval` follows through every layer


def load_data(args: argparse.Namespace, net: SpikeNet) -> Dataset:
    """The first --images of the data, whose shape the network must take, in its scale."""
    data = load(args.data, args.split)
    if data.images.shape[1:] != net.image.shape:
        raise OneSpikeError(
            f"The images of {data.name!r} have the shape {data.images.shape[1:]}, but the network takes "
            f"{net.image.shape}; give it the data that it was trained on."
        )
    if args.images is not None and args.images > len(data):
        raise OneSpikeError(
            f"{data.name!r} has {len(data)} images in its {args.split} split, fewer than {args.images}."
        )
    return in_scale(data[: args.images], net.image)


def accuracy(net: SpikeNet, data: Dataset) -> float:
    """Share of right answers of the golden model; OneSpikeError where the labels are about other outputs."""
    return judge(net.output, data.labels, repr(data.name)).share(net.golden(data.images))


def accuracy_or_why(net: SpikeNet, data: Dataset, logits: np.ndarray) -> tuple[float | None, str]:
    """Share of right answers of logits, where it is not the point of a command; or None and why there is none."""
    try:
        share = judge(net.output, data.labels, repr(data.name)).share(logits)
    except OneSpikeError as error:
        return None, str(error)
    return share, f"{tables.percent(share)} classified rightly"


def run_eval(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    data = load_data(args, net)
    graph = None
    if args.model is not None:
        from .training import read_graph  # torch only where there is a model to import

        graph = read_graph(args)
    with progress.stage("golden", f"Golden model on {len(data)} images"):
        judged = judge(net.output, data.labels, repr(data.name))
        started = time.perf_counter()
        right = judged.share(net.golden(data.images))
        seconds = time.perf_counter() - started
    result: dict[str, Any] = {
        "network": {"hash": net.hash, "groups": figures.groups(net), "weight_bits": net.weight_bits},
        "accuracy": {"golden": right, "images": len(data)},
        "images_per_second": len(data) / seconds,
    }
    part = data[:LAYER_IMAGES]
    with progress.stage("layers", f"Every layer on {len(part)} images"):
        occupied = occupancy(net, net.image.quantise(part.images))
        losses = None if graph is None else layer_losses(graph, net, part.images, part.labels)
    result["layers"] = figures.layers(occupied, losses) | {"images": len(part)}
    what = f"of {len(data)} images ({data.name}, {args.split})"
    if net.output == (1, 1, 1):
        what += "; one output: class 1 where it is at least 0 (a sigmoid's 0.5)"
    rows = []
    if graph is not None and losses is not None:
        with progress.stage("float", f"Float network on {len(data)} images"):
            for name, activation in (("float", activate), ("quantised", rounder(net, losses.worths))):
                logits = graph.run(data.images, np.float32, activation)
                result["accuracy"][name] = judged.share(logits)
        rows = [
            ("float", tables.percent(result["accuracy"]["float"], 2)),
            (
                "clamp-quantised",
                f"{tables.percent(result['accuracy']['quantised'], 2)} with the float network's weights",
            ),
        ]
    rows += [
        ("accuracy" if graph is None else "integers", f"{tables.percent(right, 2)} {what}"),
        ("speed", f"{result['images_per_second']:,.0f} images per second"),
    ]
    tables.facts(console, f"Golden model of {args.net}", rows)
    console.print(tables.layers(result["layers"]))
    return result


def run_verilog(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    guide = None if args.data is None else net.image.quantise(load_data(args, net).images)
    front = make_front(args)
    mapping = make_mapping(args, net, guide)
    with progress.stage("verilog", "Writing Verilog and memory images") as stage:
        manifest = emit(mapping, args.output, front=front)
        stage.note = f"{len(manifest.changed)} of {len(manifest.contents['files']) + 1} files changed"
    config = mapping.config
    bits = {memory["file"]: memory["depth"] * memory["bits"] for memory in manifest.contents["memories"]}
    rows = [
        ("Verilog", str(manifest.verilog)),
        ("manifest", str(args.output / "manifest.json")),
        (
            "engine",
            f"{config.banks} banks x {config.lanes} lanes, {config.code} code, {config.word_bits}-bit spike words",
        ),
        ("accumulators", f"{config.acc_bits} bits (proven for this network: {net.accumulator_bits})"),
        (
            "memory",
            f"{config.banks} x {config.spike_depth} spike words, {config.banks} x {config.weight_depth} weight rows; "
            f"{(sum(bits.values()) + config.banks * config.spike_depth * config.word_bits) / 8192:,.1f} KB in all",
        ),
    ]
    if front is not None:
        rows.insert(1, ("front", f"{front.kind}, module {front.top}"))
    tables.facts(console, f"Network {net.hash[:12]} as hardware", rows)
    return {
        "network": {"hash": net.hash},
        "hardware": figures.hardware(mapping),
        "verilog": str(manifest.verilog),
        "files": manifest.contents["files"],
        "seconds": progress.seconds["verilog"],
    }


def run_simulate(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    from ..sim.engine import simulate
    from ..sim.verilator import find_verilator

    net = SpikeNet.load(args.net)
    data = load_data(args, net)
    find_verilator()  # complain before anything is written
    codes = net.image.quantise(data.images)
    mapping = make_mapping(args, net, codes)
    run_dir = args.output / "run"
    with progress.stage("rtl", f"Building and running {len(codes)} images in Verilator") as stage:
        found = simulate(
            mapping,
            codes,
            args.output,
            run_dir=run_dir,
            through_load=args.through_load,
            stall=(args.stall, args.stall),
            seed=args.seed,
            serial=not args.back_to_back,
            waves=args.waves,
            gates=args.gates,
            memory=dataclasses.replace(memory_of(args), varied=args.memory_varied),
        )
        stage.note = f"{found.words:,} spike words compared"
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


def run_report(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    result: dict[str, Any] = {"network": figures.network(net)}
    if args.data is None:
        mapping = make_mapping(args, net)
        console.print(tables.network(result["network"]))
        tables.facts(console, "Engine", _engine_rows(mapping))
        console.print("Give --data to count operations, cycles and energy on real images.")
        return result | {"hardware": figures.hardware(mapping)}
    data = load_data(args, net)
    codes = net.image.quantise(data.images)
    mapping = make_mapping(args, net, codes)
    with progress.stage("count", f"Counting on {len(codes)} images"):
        result |= counted(mapping, codes)
        result["cycles"] = predicted(mapping, codes, memory_of(args))
    right, sentence = accuracy_or_why(net, data, net.golden(codes))
    result |= {"hardware": figures.hardware(mapping), "accuracy": {"golden": right, "images": len(data)}}
    console.print(tables.network(result["network"]))
    tables.facts(console, "Engine", _engine_rows(mapping))
    if right is None:
        console.print(f"No accuracy: {sentence}", soft_wrap=True, markup=False)
    console.print(tables.operations(result["operations"]))
    console.print(tables.cycles(result["cycles"], mapping.config.banks, mapping.config.lanes))
    if mapping.config.streams_weights:
        console.print(tables.streamed(result["cycles"]))
    console.print(tables.lane_cycles(result["cycles"]))
    console.print(tables.energy(result["energy"]))
    for sentence in result["energy"]["sentences"]:
        console.print(sentence)
    if mapping.config.streams_weights:
        console.print("* Reads of external memory are not part of this energy; every system would need them.")
    return result


def counted(mapping: Mapping, codes: np.ndarray) -> dict[str, Any]:
    """Figures `operations` and `energy` on image codes."""
    operations = count(mapping.net, codes, image_code=mapping.tensors[INPUT].code)
    return {
        "operations": figures.operations(operations),
        "energy": figures.energy(energy_model.estimate(mapping, codes, operations)),
    }


def predicted(mapping: Mapping, codes: np.ndarray, memory: ExternalMemory) -> dict[str, Any]:
    """Figures of the cycle model on image codes, means per image; memory: delivers streamed weights."""
    result = golden.run(mapping.net, codes, layers=True, trains=mapping.config.code == "psg")
    return {"images": len(codes), **figures.cycles(mapping, with_memory(mapping, predict_all(mapping, result), memory))}


def _engine_rows(mapping: Mapping) -> list[tuple[str, str]]:
    config = mapping.config
    return [
        ("array", f"{config.banks} banks x {config.lanes} lanes, {config.fire_lanes} fire lanes, {config.code} code"),
        ("spike memory", f"{config.banks} x {config.spike_depth} words of {config.word_bits} bits"),
        ("weight memory", f"{config.banks} x {config.weight_depth} rows of {config.lanes} x {config.weight_bits} bits"),
        ("accumulators", f"{config.acc_bits} bits"),
        *_streamed_rows(mapping),
    ]


def _streamed_rows(mapping: Mapping) -> list[tuple[str, str]]:
    """What is said of weights in external memory."""
    if not mapping.config.streams_weights:
        return []
    layers, size = mapping.layers, mapping.config.external_weights // 8
    stay = sum(layer.resident for layer in layers)
    beats = sum(block_beats(mapping.config, block.rows) for layer in layers for block in blocks(layer, again=True))
    return [
        ("AXI4 port", f"{mapping.config.external_weights} bits, {beats * size / 1024:,.1f} KB of weights per image"),
        ("parts", f"{len(mapping.net.layers)} layers in {len(layers)} parts, of which {stay} stay on the chip"),
    ]
