# SPDX-License-Identifier: Apache-2.0
"""`onespike fpga`: from a network to the bitstream of a board, with what it costs and how fast it is."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import numpy as np
from rich.console import Console

from .. import figures, tables
from ..fpga.bitstream import Bitstream, build, fit_and_build, line_seconds, room
from ..fpga.boards import Board, find_board
from ..fpga.seeds import best_bitstream
from ..hw.config import EngineConfig
from ..model.cost import energy
from ..model.cost.explore import count_cycles
from ..model.mapping.mapping import Mapping
from ..model.network.spec import SpikeNet
from ..model.system.files import writable, write_atomically
from ..parsers import options
from ..progress import Progress
from .explore import guide
from .synth import spread_of


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    board = find_board(args.board)
    net = SpikeNet.load(args.net)
    codes = guide(args, net)
    writable(args.output / "bitstream", "the bitstream")
    settings: dict[str, Any] = {
        "baud": args.baud,
        "frequency": args.frequency,
        "seed": args.seed,
        "tell": lambda text: progress.console.print(f"  {text}", soft_wrap=True),
    }
    with progress.stage("fpga", f"yosys, nextpnr and the packer for {board.title}") as stage:
        if args.fit:
            base = EngineConfig(**({"code": args.code, "arithmetic": args.arithmetic} | dict(args.fixed)))
            mapping, found = fit_and_build(net, board, args.output, codes, base=base, **settings)
        else:
            mapping = engine(args, net, codes, board)
            found = build(mapping, board, args.output, **settings)
        stage.note = f"timing met at {found.clock_mhz:.4g} MHz"
    seeds: dict[str, Any] = {}
    if args.seeds > 1:
        others = range(args.seed, args.seed + args.seeds)
        with progress.jobs("seeds", f"{args.seeds} seeds for {board.title}") as (stage, done):
            best, clocks, fastest = best_bitstream(
                mapping, board, args.output, others, baud=args.baud, frequency=args.frequency,
                executor=args.executor, keep=args.keep or args.output / "jobs", done=done,
            )  # fmt: skip
            stage.note = f"seed {best} runs at {fastest.clock_mhz:.4g} MHz"
        write_atomically(found.file, fastest.file.read_bytes())
        found = dataclasses.replace(fastest, file=found.file)
        clocks_by_seed = {str(seed): mhz for seed, mhz in zip(others, clocks, strict=True)}
        seeds = {"seed": best, "seeds": clocks_by_seed}
    result = summary(args, mapping, found, codes) | seeds | {"seconds": dict(progress.seconds)}
    say(console, board, result)
    return result


def engine(args: argparse.Namespace, net: SpikeNet, codes: np.ndarray, board: Board) -> Mapping:
    """The network on the engine that the options describe; without images or in an engine that cannot be loaded it is
    mapped as a host maps it, which then finds it built in (see `fpga.host.Board.load`)."""
    guided = args.data is not None and options.engine_config(args).loadable
    return options.make_mapping(args, net, codes if guided else None, room(board.part))


def summary(args: argparse.Namespace, mapping: Mapping, found: Bitstream, codes: np.ndarray) -> dict[str, Any]:
    """All figures; cycles, latency and energy are means over the images."""
    cycles, used = count_cycles(mapping, codes)
    return {
        "network": {"hash": mapping.net.hash},
        "hardware": figures.hardware(mapping),
        "bitstream": dataclasses.asdict(found) | {"file": str(found.file), "resources": dict(found.resources)},
        "seed": args.seed,
        "images": "random pixels" if args.data is None else len(codes),
        "cycles": cycles,
        "utilisation": used,
        "latency_ms": cycles / found.clock_mhz / 1000,
        "frames_per_second": 1e6 * found.clock_mhz / cycles,
        "line_seconds": line_seconds(mapping, found.baud),
        "energy_uj": energy.estimate(mapping, codes)["onespike"].total_uj,
    }


def say(console: Console, board: Board, result: dict[str, Any]) -> None:
    """The figures as tables."""
    found, hardware = result["bitstream"], result["hardware"]
    part = board.part
    last = found["attempts"][-1]
    rows = [
        (name, f"{used:,} of {have:,} ({used / have:.0%})" if have else f"{used:,}")
        for name, (used, have) in found["resources"].items()
    ]
    tables.facts(console, f"{part.name} on {board.title}", rows)
    line = result["line_seconds"]
    built_in = "built in; `onespike run` loads others too" if hardware["loadable"] else "built in for good"
    if hardware["single_port"]:
        built_in = "not built in, as single-port RAMs start empty; `onespike run` loads it"
    rows = [
        ("engine", f"{hardware['banks']} banks x {hardware['lanes']} lanes, {hardware['fire_lanes']} fire lanes"),
        ("network", built_in),
        ("clock", f"{found['clock_mhz']:.4g} MHz; place and route reached {last['reached_mhz']:.4g} MHz"),
        *([("clocks", spread_of(list(result["seeds"].values())))] if "seeds" in result else []),
        ("cycles per image", f"{result['cycles']:,.0f} by the exact cycle model"),
        ("latency", f"{result['latency_ms']:.3g} ms, {result['frames_per_second']:,.0f} images a second"),
        ("serial line", f"{found['baud']} baud; an image takes {line * 1000:.0f} ms on it, {1 / line:.1f} a second"),
        ("energy", f"{result['energy_uj']:.3f} uJ an image, an estimate from 45 nm costs, not of this part"),
        ("tools", found["tools"]),
        ("logs", last["directory"]),
        ("bitstream", found["file"]),
        ("flash it", f"openFPGALoader -b {board.loader} {found['file']}"),
    ]
    tables.facts(console, "Bitstream", rows)
    if isinstance(result["images"], str):
        console.print("Cycles and energy are of random pixels: give --data for those of real images.")
