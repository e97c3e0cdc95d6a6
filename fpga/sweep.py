# SPDX-License-Identifier: Apache-2.0
"""Sweep: the clock that place and route reaches over many seeds, with other options: `python -m onespike.fpga.sweep`.

The router's result is a draw: seeds differ by 10 %, most options by less. So an option is worth something only if its
draws as a whole lie higher; the exact rank-sum test (Wilcoxon, Mann and Whitney) says how likely such a difference is
by chance. Every run is kept in the build folder, by netlist, options and seed: a sweep that was cut off goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.emit.verilog import to_verilog
from ..model.errors import OneSpikeError
from ..model.system.files import write_atomically
from ..model.system.locks import in_turn
from ..model.targets import Family, Target, find_target
from .synth import pinned, recipe, routing, run_tool, timing, tool_versions, write_design, write_netlist

Variants = Mapping[str, tuple[str, tuple[str, ...]]]  # name -> how LUTs are mapped ("" as ever), the router's options


def variants(family: Family) -> Variants:
    """What is compared: the first one is how things are done."""
    heap = "--placer-heap-timingweight"
    return {
        "default": ("", ()),
        "timing weight 10": ("", (heap, "10")),  # nextpnr's own
        "timing weight 20": ("", (heap, "20")),
        "timing weight 40": ("", (heap, "40")),
        "timing-driven rip-up": ("", ("--tmg-ripup",)),
    }


def rank_sum(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided probability that ranks lie this far apart by chance, all orders equally likely; equal values share one.

    >>> round(rank_sum([19, 22, 16, 29, 24], [20, 11, 17, 12]), 4)
    0.1111
    """
    together = sorted([*first, *second])
    places = {value: together.index(value) + 1 + together.index(value) + together.count(value) for value in together}
    ranks = [places[value] for value in together]  # twice the rank, so that shared ones are whole
    ways: dict[tuple[int, int], int] = {(0, 0): 1}  # (how many are chosen, their sum) -> how often
    for rank in ranks:
        for (number, total), count in sorted(ways.items(), reverse=True):
            if number < len(first):
                key = (number + 1, total + rank)
                ways[key] = ways.get(key, 0) + count
    mean = len(first) * (len(together) + 1)
    distance = abs(sum(places[value] for value in first) - mean)
    sums = {total: count for (number, total), count in ways.items() if number == len(first)}
    return sum(count for total, count in sums.items() if abs(total - mean) >= distance) / sum(sums.values())


def spread(values: Sequence[float]) -> tuple[float, ...]:
    """Least, first quartile, median, third quartile, most."""
    if len(values) == 1:
        return (values[0],) * 5
    return (min(values), *statistics.quantiles(values, n=4, method="inclusive"), max(values))


def table(found: Mapping[str, Sequence[float]]) -> str:
    """The distributions, one line each, and the test against the first."""
    lines = [f"{'MHz':<26} seeds    min     q1 median     q3    max  by chance"]
    base = next(iter(found.values()))
    for at, (name, values) in enumerate(found.items()):
        row = "".join(f"{value:7.1f}" for value in spread(values))
        chance = f"{rank_sum(values, base):11.4f}" if at else ""
        lines.append(f"{name:<26}{len(values):6}{row}{chance}")
    return "\n".join(lines)


def prepare(config: EngineConfig, part: Target, build_dir: Path, mapping: str) -> Path:
    """The folder of the engine's netlist, mapped as ever or with another command."""
    family = dataclasses.replace(part.family, map_luts=mapping or part.family.map_luts)
    tools = tool_versions("yosys", family.router)
    key = json.dumps([to_verilog(config), recipe(family, "top"), tools])
    directory = build_dir / f"sweep-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    with in_turn(directory.with_name(f"{directory.name}.lock")):
        if not (directory / "done").is_file():
            defines = write_design(config, directory)
            write_netlist(f"read_verilog {' '.join(defines)} onespike.v top.v", family, "top", directory)
            write_atomically(directory / "done", "")
    return directory


def place(part: Target, directory: Path, frequency: float, seed: int, options: tuple[str, ...]) -> float:
    """The clock of one run, in MHz."""
    key = json.dumps([part.name, frequency, seed, options])
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:12]}-"
    report = directory / f"{name}report.json"
    if not report.is_file():
        command = routing(part, directory, frequency, seed, options=options, name=f"{name}unfinished-")
        command += pinned(part, directory, command)
        run_tool(command, directory, f"{name}unfinished-nextpnr.log")
        (directory / f"{name}unfinished-report.json").rename(report)
    return timing(report)[0]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onespike.fpga.sweep", description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", default="ecp5-25k")
    parser.add_argument("--banks", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--fire-lanes", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 1 .. N of each variant")
    parser.add_argument("--frequency", type=float, default=140.0, help="MHz that the router aims for")
    parser.add_argument("--only", nargs="+", help="variants to compare, by name")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, one core and 1 GB each")
    parser.add_argument("--build", type=Path, default=Path("build/sweep"))
    args = parser.parse_args(argv)
    try:
        found = sweep(args)
    except OneSpikeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(found))
    return 0


def sweep(args: argparse.Namespace) -> dict[str, list[float]]:
    """The clocks of every variant, in the order of the seeds; each is told as it comes."""
    part = find_target(args.target)
    known = variants(part.family)
    if unknown := [name for name in args.only or () if name not in known]:
        raise OneSpikeError(f"Unknown variant {unknown[0]!r}; choose among {', '.join(known)}.")
    config = EngineConfig(banks=args.banks, lanes=args.lanes, fire_lanes=args.fire_lanes)
    names = args.only or list(known)
    folders = {name: prepare(config, part, args.build, known[name][0]) for name in names}
    found: dict[str, dict[int, float]] = {name: {} for name in names}

    def one(seed: int, name: str) -> None:
        found[name][seed] = place(part, folders[name], args.frequency, seed, known[name][1])
        print(f"seed {seed}, {name}: {found[name][seed]:.1f} MHz", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(args.workers) as pool:
        for done in [pool.submit(one, seed, name) for seed in range(1, args.seeds + 1) for name in names]:
            done.result()
    return {name: [clocks[seed] for seed in sorted(clocks)] for name, clocks in found.items()}


if __name__ == "__main__":
    sys.exit(main())
