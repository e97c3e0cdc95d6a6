# SPDX-License-Identifier: Apache-2.0
"""`onespike demo`: real digits, a trained network, its integers, its Verilog, every bit and cycle checked."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import figures, tables
from ..hw.emit.emit import emit
from ..model.convert.evaluate import evaluate
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.system.files import write_atomically
from ..model.system.locks import owned
from ..model.training import data as datasets
from ..model.training.data import Dataset
from ..model.training.finetune import finetune
from ..model.training.train import train_or_load
from ..outputs import made_by
from ..page.measured import read
from ..parsers.options import make_mapping, memory_of
from ..progress import Progress
from ..sim.engine import simulate
from ..sim.verilator import find_verilator
from ..versions import environment
from .counting import counted, neurobench_terms
from .graphs import convert
from .report import draw, drawable, predicted
from .train import training_settings

REPORT = "report.html"
COUNTED = 200  # images for operations and energy
CALIBRATION = 1000


def load_digits() -> tuple[Dataset, Dataset]:
    """Digits to train on, and those held out."""
    return datasets.load(datasets.DIGITS, "train"), datasets.load(datasets.DIGITS, "test")


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    find_verilator()  # complain before the long work
    drawable()
    with owned(args.output) as output:
        return _demo(args, output, console, progress)


def _demo(args: argparse.Namespace, output: Path, console: Console, progress: Progress) -> dict[str, Any]:
    """`run_demo` in a folder that belongs to this run."""
    started = time.perf_counter()
    data, held_out = load_digits()
    if args.images > len(held_out):
        raise OneSpikeError(f"There are {len(held_out)} held-out digits, fewer than {args.images}.")

    text = f"Training on {len(data)} real handwritten digits"
    with progress.stage("train", text, spinner=False) as stage:
        module, reused = train_or_load("digits", data, training_settings(args), output / "trained")
        stage.note = "reused from before" if reused else ""
    values = f"g = {args.groups}" if args.levels == "uniform" else f"levels {args.levels}"
    with progress.stage("convert", f"Converting to integers: {values}, {args.weight_bits}-bit weights"):
        conversion = convert(args, module, data.images[:CALIBRATION])
    if args.finetune:
        with progress.stage("finetune", f"Fine-tuning with clamped, quantised activations (epochs: {args.finetune})",
                            spinner=False):  # fmt: skip
            conversion = finetune(conversion, data, epochs=args.finetune, seed=args.seed)
    net = conversion.net
    net.save(output / "digits.spike")
    with progress.stage("evaluate", f"Classifying {len(held_out)} digits that it has not seen"):
        found = evaluate(conversion, held_out.images, held_out.labels)
    codes = net.image.quantise(held_out.images)
    mapping = make_mapping(args, net, codes)
    with progress.stage("verilog", "Writing Verilog and memory images"):
        manifest = emit(mapping, output / "verilog")
    with progress.stage("rtl", f"Compiling the Verilog and simulating {args.images} images") as stage:
        folder = output / "simulation"
        simulated = simulate(mapping, codes[: args.images], folder, run_dir=folder / "run", seed=args.seed)
        stage.note = f"{simulated.words:,} spike words compared"
    with progress.stage("count", f"Counting operations and energy on {COUNTED} images"):
        result: dict[str, Any] = counted(mapping, codes[:COUNTED]) | neurobench_terms(mapping, codes[:COUNTED])

    summary = {
        "made_by": made_by(args),
        "versions": environment(),
        "groups": figures.groups(net),
        "values": f"{values} spikes a value" if args.levels == "uniform" else values,
        "weight_bits": args.weight_bits,
        "accuracy": {
            "float": found.real,
            "quantised": found.quantised,
            "golden": found.golden,
            "agreement": found.agreement,
            "rtl": float((simulated.logits.argmax(1) == held_out.labels[: args.images]).mean()),
            "images": found.images,
        },
        "rtl": figures.rtl(simulated, mapping),
        "hardware": figures.hardware(mapping),
        **result,
        "network": figures.network(net),
        "verilog": str(manifest.verilog),
        "trained": not reused,
        "seconds": progress.seconds | {"total": time.perf_counter() - started},
    }
    write_atomically(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    page(args, mapping, held_out[: args.images], summary, progress)
    show(summary, output, console)
    return summary


def page(
    args: argparse.Namespace, mapping: Mapping, data: Dataset, summary: dict[str, Any], progress: Progress
) -> None:
    """The page of `onespike report`: cycles and pictures of the images, all else of the summary."""
    output, codes = Path(args.output), mapping.net.image.quantise(data.images)
    here = {"net": output / "digits.spike", "data": datasets.DIGITS, "split": "test", "output": output / REPORT}
    asked = argparse.Namespace(**(vars(args) | here | {"target": None}))
    result = {name: summary[name] for name in ("network", "hardware", "operations", "energy", "neurobench", "accuracy")}
    result["cycles"] = predicted(mapping, codes, memory_of(asked))
    measured = read([output / "summary.json"], mapping.net, asked.net)
    draw(asked, mapping, data, codes, result, measured, progress)


def show(summary: dict[str, Any], output: Path, console: Console) -> None:
    """The end of the demo: what a person wants to know, best first."""
    accuracy, rtl, hardware = summary["accuracy"], summary["rtl"], summary["hardware"]
    operations, systems = summary["operations"], {s["name"]: s for s in summary["energy"]["systems"]}
    ours = systems["onespike"]
    console.print()
    console.print(tables.operations(operations))
    console.print(tables.cycles(rtl, hardware["banks"], hardware["lanes"]))
    console.print(tables.energy(summary["energy"]))
    for sentence in summary["energy"]["sentences"]:
        console.print(f"  {sentence}")
    console.print()
    exact = rtl["cycles_per_image"] == rtl["predicted_cycles_per_image"] and not rtl["cycle_mismatches"]
    additions = ours["operations"]
    rows = [
        ("accuracy", f"float {tables.percent(accuracy['float'], 2)}, clamp-quantised "
                     f"{tables.percent(accuracy['quantised'], 2)}, golden {tables.percent(accuracy['golden'], 2)} "
                     f"({accuracy['images']} held-out digits)"),
        ("network", f"one timestep, {summary['values']}, {summary['weight_bits']}-bit weights"),
        ("hardware", f"{hardware['banks']} banks x {hardware['lanes']} lanes, no multiplier"),
        ("simulated", f"{rtl['images']} images: {rtl['mismatches']} mismatches in {rtl['words_compared']:,} spike "
                      f"words and all logits"),
        ("cycles", f"{rtl['cycles_per_image']:,.1f} per image simulated, {rtl['predicted_cycles_per_image']:,.1f} "
                   f"predicted{', to the cycle in every layer' if exact else ''}"),
        ("utilisation", f"{rtl['utilisation']:.3f} useful additions per lane and cycle (the limit is 1)"),
        ("operations", f"{additions:,.0f} additions for {operations['dense_macs']:,.0f} dense MACs "
                       f"({additions / operations['dense_macs']:.2f}) or {operations['additions_unary']:,.0f} unary "
                       f"additions ({additions / operations['additions_unary']:.2f})"),
        ("energy", f"{ours['memory_uj']:.2f} uJ per image with memory; dense INT8 {systems['dense']['memory_uj']:.2f}, "
                   f"quantised {systems['quantised']['memory_uj']:.2f} (Horowitz 45 nm, see above)"),
        ("Verilog", str(summary["verilog"])),
        ("figures", str(output / "summary.json")),
        ("report", str(output / REPORT)),
        ("time", f"{summary['seconds']['total']:.0f} s"),
    ]  # fmt: skip
    tables.facts(console, "OneSpike: from PyTorch to verified hardware", rows)
