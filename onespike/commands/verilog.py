# SPDX-License-Identifier: Apache-2.0
"""`onespike verilog`: Verilog, memory images and manifest of a network on an engine."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from .. import figures, tables
from ..hw.emit.emit import emit
from ..model.mapping.mapping import Mapping
from ..model.mapping.prefetch import block_beats, blocks
from ..model.mapping.sparse import zero_rows
from ..model.network.spec import SpikeNet
from ..parsers.options import make_front, make_mapping
from ..progress import Progress
from .labelled import load_data


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    net = SpikeNet.load(args.net)
    guide = None if args.data is None else net.image.quantise(load_data(args, net).images)
    front = make_front(args)
    mapping = make_mapping(args, net, guide)
    with progress.stage("verilog", "Writing Verilog and memory images") as stage:
        manifest = emit(mapping, args.output, front=front, codes=guide)
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
    rows += _sparse_rows(mapping)
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


def _sparse_rows(mapping: Mapping) -> list[tuple[str, str]]:
    """What is said of weight rows of zeros: how much is stored, and whether rows were pruned for another engine."""
    config, net, found = mapping.config, mapping.net, []
    if config.row_masks:
        stored = sum(layer.stored_rows[b % layer.copies] for layer in mapping.layers for b in range(config.banks))
        weights = sum(source.weights.size for layer in net.layers for source in layer.sources)
        kib = [bits / 8192 for bits in (stored * config.lanes * config.weight_bits, weights * config.weight_bits)]
        own = sum(layer.sources[0].own for layer in mapping.layers)
        found.append(
            (
                "row masks",
                f"{kib[0]:,.1f} KB in weight rows that are not all zero, of a network of {kib[1]:,.1f} KB"
                + (f"; {own} depthwise layers whose lanes take values of their own" if own else ""),
            )
        )
    pruned = net.meta.get("prune_lanes")
    if net.meta.get("prune_rows") and pruned != config.lanes:
        found.append(
            (
                "pruned",
                f"in rows of {pruned} output channels, but a row of this engine has {config.lanes}: "
                f"{zero_rows(net, config.lanes):.0%} of its rows are zero, with --lanes {pruned} "
                f"{zero_rows(net, pruned):.0%}" if type(pruned) is int and 0 < pruned <= 256 else "for no known engine",
            )
        )
    return found


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
