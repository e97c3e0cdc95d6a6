# SPDX-License-Identifier: Apache-2.0
"""`onespike report`: layers, operations, cycles and energy, without a simulation; with -o, all on one page."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..fpga.boards import find_board
from ..model.cost.cycles import predict_all
from ..model.cost.external import ExternalMemory, with_memory
from ..model.cost.neurobench import standard
from ..model.cost.readout import readout
from ..model.cost.wall import wall
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.spec import SpikeNet
from ..model.system.files import write_atomically
from ..model.targets import find_target
from ..model.training.data import Dataset
from ..page.gather import gather, mapping_of
from ..page.material import Material
from ..page.measured import Measured, read
from ..page.render import render
from ..parsers.options import make_mapping, memory_of
from ..progress import Progress
from .counting import counted, neurobench_terms
from .labelled import accuracy_or_why, load_data
from .verilog import _sparse_rows, _streamed_rows


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    _page_needs(args)
    measured = read(args.measured, net, args.net)
    result: dict[str, Any] = {"network": figures.network(net)}
    if args.data is None:
        mapping = make_mapping(args, net)
        console.print(tables.network(result["network"]))
        tables.facts(console, "Engine", _engine_rows(mapping))
        console.print("Give --data to count operations, cycles and energy on real images.")
        return result | {"hardware": figures.hardware(mapping)}
    data = load_data(args, net)
    codes = net.image.quantise(data.images)
    mapping = mapping_of(args, net, codes, measured)
    with progress.stage("count", f"Counting on {len(codes)} images"):
        result |= counted(mapping, codes) | neurobench_terms(mapping, codes)
        result["cycles"] = predicted(mapping, codes, memory_of(args))
        result["wall"] = at_the_wall(args, measured, result["cycles"])
    right, sentence = accuracy_or_why(net, data, net.golden(codes))
    result |= {"hardware": figures.hardware(mapping), "accuracy": {"golden": right, "images": len(data)}}
    console.print(tables.network(result["network"]))
    tables.facts(console, "Engine", _engine_rows(mapping))
    if right is None:
        console.print(f"No accuracy: {sentence}", soft_wrap=True, markup=False)
    console.print(tables.operations(result["operations"]))
    console.print(tables.cycles(result["cycles"], mapping.config.banks, mapping.config.lanes))
    if result["cycles"]["interval"] > result["cycles"]["predicted_cycles_per_image"]:
        console.print(
            f"Back to back, an image takes {result['cycles']['interval']:,.0f} cycles: its {net.classes:,} outputs "
            f"leave in {readout(mapping):,}, and the next image's last layer waits for them."
        )
    if mapping.config.streams_weights:
        console.print(tables.streamed(result["cycles"]))
    console.print(tables.lane_cycles(result["cycles"]))
    console.print(tables.energy(result["energy"]))
    _defend(console, result, measured.figures("asic"))
    if mapping.config.streams_weights:
        console.print("* Reads of external memory are not part of this energy; every system would need them.")
    if args.output is None:
        return result
    material = draw(args, mapping, data, codes, result, measured, progress)
    console.print(f"Page: {args.output}", soft_wrap=True)
    for missing in material["missing"]:
        console.print(f"  not measured: {missing['what']}; {missing['command']}", soft_wrap=True)
    return material.figures


def draw(
    args: argparse.Namespace,
    mapping: Mapping,
    data: Dataset,
    codes: np.ndarray,
    result: dict[str, Any],
    measured: Measured,
    progress: Progress,
) -> Material:
    """Write the page of figures, counted on `codes`, and of files to `args.output`."""
    with progress.stage("page", "Drawing the page"):
        material = gather(args, mapping, data, codes, result, measured)
        write_atomically(args.output, render(material))
    return material


def at_the_wall(args: argparse.Namespace, measured: Measured, cycles: dict[str, Any]) -> dict[str, Any] | None:
    """Figures `wall`: of the clock that is asked for, or else what place and route reached; None without one."""
    built, placed = measured.figures("bitstream"), measured.figures("synthesis")
    mhz, target = args.frequency, args.target or ""
    if built is not None:
        mhz, target = mhz or built["bitstream"]["clock_mhz"], find_board(built["bitstream"]["board"]).target
    elif placed is not None:
        mhz, target = mhz or placed["synthesis"]["fmax_mhz"], placed["synthesis"]["target"]
    if mhz is None:
        if args.board_watts is not None:
            raise OneSpikeError(
                "--board-watts needs the clock: add --frequency MHZ, or --from with a file of `onespike fpga` or synth."
            )
        return None
    found = wall(cycles["interval"], mhz, watts=args.board_watts, target=target)
    return None if found is None else vars(found) | {"clock_mhz": mhz, "joules": found.joules}


def _defend(console: Console, result: dict[str, Any], cells: dict[str, Any] | None) -> None:
    """Verdicts, each with the energy that it means, and what they rest on; cells: the figures of `asic`, if any."""
    energy = result["energy"]
    for sentence in energy["sentences"]:
        console.print(sentence)
    labels = {system["name"]: system["label"] for system in energy["systems"]}
    best = {one["rival"]: one for one in sorted(energy["reuse"], key=lambda one: -one["total_uj"])}.values()
    console.print(tables.reuse([one for one in energy["reuse"] if one["pixels"] == 1 or one in best], labels))
    for sentence in [*energy["reuse_sentences"], *(flip["sentence"] for flip in energy["sensitivity"])]:
        console.print(sentence)
    console.print()
    tables.facts(console, "NeuroBench terms", standard(result["neurobench"]))
    if cells is not None:
        found = cells["asic"]
        console.print(
            f"In standard cells: {found['logic_uj'] + found['memory_uj']:.3f} uJ an image, {found['logic_uj']:.3f} of "
            f"logic and {found['memory_uj']:.3f} of memory, at {found['clock_mhz']:g} MHz in {found['library']}.",
            soft_wrap=True,
        )
    if (found := result["wall"]) is not None:
        console.print(
            f"At the wall: {1e3 * found['joules']:.3f} mJ an image, {found['watts']:.3g} W over "
            f"{found['images_per_second']:,.0f} images a second at {found['clock_mhz']:g} MHz; {found['source']}.",
            soft_wrap=True,
        )


def _page_needs(args: argparse.Namespace) -> None:
    """OneSpikeError where the options of the page have no page, or it has no images; complains of missing packages."""
    if args.output is None:
        for option, value in (("--from", args.measured), ("--target", args.target)):
            if value and not (option == "--target" and args.frequency):
                raise OneSpikeError(f"{option} is for the page; name its file, too: -o report.html.")
        return
    if args.data is None:
        raise OneSpikeError("The page counts on real images; give some with --data.")
    if args.target is not None:
        find_target(args.target)
    drawable()


def drawable() -> None:
    """Complains of packages that a page needs before the work, not after it."""
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401


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
        *_sparse_rows(mapping),
    ]
