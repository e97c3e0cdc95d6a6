# SPDX-License-Identifier: Apache-2.0
"""Everything that the page shows: figures of the network on its engine, counted here or read from files."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import figures
from ..fpga.boards import find_board
from ..hw.config import EngineConfig
from ..model.cost.choose import choose_for, image_codes_by_cost, spike_rates
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import map_network
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.spec import INPUT, SpikeNet
from ..model.targets import Target, find_target
from ..model.training.data import Dataset
from ..outputs import made_by
from ..parsers.options import CHOOSING, make_mapping, memory_of
from . import insight, memories, timeline
from .material import HERE, Material
from .measured import Measured
from .missing import missing

BINS = 240  # of the picture of the timeline
DEFAULT_TARGET = "ecp5-25k"


def mapping_of(args: argparse.Namespace, net: SpikeNet, codes: np.ndarray, measured: Measured) -> Mapping:
    """The network on the engine that the files measured; without files, on the one that the options describe.

    OneSpikeError where options and files disagree.
    """
    hardware = measured.hardware
    if hardware is None:
        return make_mapping(args, net, codes)
    path = next(s.path for s in measured.sources if "hardware" in s.figures or "engine" in s.figures)
    for name, value in _asked(args):
        if hardware[name] != value:
            raise OneSpikeError(
                f"{path} measured an engine with {name} = {hardware[name]}, not {value}; leave the engine's options "
                f"out, or measure that engine."
            )
    config = EngineConfig(**{name: value for name, value in hardware.items() if name not in ("slices", "ordered")})
    seen = golden.run(net, codes[:CHOOSING], layers=True, trains=config.code == "psg")
    slices, ordered = hardware.get("slices"), hardware.get("ordered", ())
    refused = ""
    try:
        if slices is None:
            return choose_for(net, config, seen, fit=False, memory=memory_of(args))
        rates = spike_rates(net, seen, config)
        for code in image_codes_by_cost(net, config, seen.codes[INPUT]):
            try:
                return map_network(net, config, slices=slices, rates=rates, image_code=code, ordered=ordered)
            except OneSpikeError as error:
                refused = refused or str(error)
    except (OneSpikeError, KeyError) as error:
        refused = str(error)
    raise OneSpikeError(f"The network does not fit the engine of {path}: {refused.rstrip('.')}; measure it once more.")


def _asked(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Parameters of the engine that the command line names; of those with a default, that are others than it."""
    usual = {"banks": 4, "lanes": 16, "word_bits": 32, "code": "radix", "fire_lanes": None}
    yield from ((name, getattr(args, name)) for name, value in usual.items() if getattr(args, name) != value)
    yield from args.fixed
    if args.external_weights:
        yield "external_weights", args.axi_bits


def target_of(args: argparse.Namespace, measured: Measured) -> Target:
    """The part that is asked for, or else measured."""
    if args.target is not None:
        return find_target(args.target)
    if (found := measured.figures("bitstream")) is not None:
        return find_board(found["bitstream"]["board"]).part
    if (found := measured.figures("synthesis")) is not None:
        return find_target(found["synthesis"]["target"])
    return find_target(DEFAULT_TARGET)


def gather(
    args: argparse.Namespace,
    mapping: Mapping,
    data: Dataset,
    codes: np.ndarray,
    result: dict[str, Any],
    measured: Measured,
) -> Material:
    """The figures of `report`, with those of the files and those that only the page shows."""
    net, memory, target = mapping.net, memory_of(args), target_of(args, measured)
    seen = golden.run(net, codes, layers=True, trains=mapping.config.code == "psg")
    fields = {name: field[0] for name, field in mapping.golden_fields(seen.codes, seen.trains).items()}
    found = timeline.timeline(mapping, fields, memory)
    tensors = [INPUT, *(layer.name for layer in net.layers[:-1])]
    title = f"{args.net.name} on {mapping.config.banks} x {mapping.config.lanes}"
    collected = result | {
        "name": args.net.name,
        "values": insight.values(net, seen),
        "timeline": timeline.figures(found),
        "image": insight.first_image(net, codes, seen, np.asarray(data.labels)),
        "memories": memories.figures(mapping),
        "area": insight.area(mapping.config, target),
        "alternatives": [] if "front" in measured.of else insight.alternatives(mapping, target, codes, memory),
        "measured": _copied(measured),
        "sources": _sources(args, measured),
        "missing": missing(args, mapping, codes, measured, target),
        "hashes": _hashes(args.net, mapping, codes),
        "data": {"name": Path(data.name).name, "images": len(codes), "split": args.split},
    }
    return Material(
        figures=json.loads(json.dumps(collected)),  # what leaves as JSON, and nothing else
        busy=timeline.busy(found, mapping.config.banks, BINS),
        shades={name: insight.shades(net, seen, name) for name in tensors},
        pixels=_pixels(net, codes),
        trace=timeline.trace(found, mapping, title),
    )


def _copied(measured: Measured) -> dict[str, Any]:
    """The parts that files hold, and what their files say of them."""
    found: dict[str, Any] = {}
    for part, number in measured.of.items():
        source = measured.sources[number].figures
        found[part] = source[part]
        if part == "accuracy" and isinstance(source.get("layers"), dict):
            found["layers"] = source["layers"]
        elif part == "synthesis":
            available = insight.available(find_target(source[part]["target"]))
            found["synthesis_of"] = {"asked_mhz": source.get("asked_mhz"), "available": available}
        elif part == "bitstream":
            target = find_board(source[part]["board"]).part.name
            found["bitstream_of"] = {"target": target, "seed": source.get("seed")}
        elif part == "front":
            found["front_of"] = {"target": source.get("target", "")}
    return found


def _sources(args: argparse.Namespace, measured: Measured) -> list[dict[str, Any]]:
    """This command, and the files by their names, each once."""
    here = made_by(args)
    rows = [{"id": HERE, "path": "", "sha256": "", "parts": [], "seed": None} | here]
    for number, source in enumerate(measured.sources, 1):
        made = source.figures.get("made_by", {})
        rows.append(
            {
                "id": f"file{number}", "path": source.path, "sha256": source.sha256, "command": source.command,
                "versions": source.versions, "seed": made.get("seed") if isinstance(made, dict) else None,
                "parts": [part for part, owner in measured.of.items() if owner == number - 1],
            }
        )  # fmt: skip
    return rows


def _hashes(path: Path, mapping: Mapping, codes: np.ndarray) -> dict[str, str]:
    hardware = json.dumps(figures.hardware(mapping), sort_keys=True)
    contents = {"file": path.read_bytes(), "engine": hardware.encode(), "images": np.ascontiguousarray(codes).tobytes()}
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def _pixels(net: SpikeNet, codes: np.ndarray) -> np.ndarray | None:
    """The first image in 0..1 as eyes see it, where it is one: grey or of three colours, of at least 6 x 6 pixels."""
    channels, height, width = net.image.shape
    if channels not in (1, 3) or min(height, width) < 6:
        return None
    pixels = codes[0].astype(float) / max(1, net.top_code[INPUT])
    return pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
