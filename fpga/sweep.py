# SPDX-License-Identifier: Apache-2.0
"""Sweep: the clock that place and route reaches over many seeds, with other options: `python -m onespike.fpga.sweep`.

The router's result is a draw: seeds differ by 10 %, most options by less. So an option is worth something only if its
draws as a whole lie higher; the exact rank-sum test (Wilcoxon, Mann and Whitney) says how likely such a difference is
by chance. Every run is a job that is kept in the build folder: a sweep that was cut off goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..hw.config import EngineConfig
from ..model.errors import OneSpikeError
from ..model.system import campaign
from ..model.system.campaign import Job
from ..model.targets import WIRE_DELAY, Family, Target, find_target
from .place_route import pinned, place_and_route, routing, timing, ways
from .seeds import require_tools
from .synth import netlist_of
from .tools import find_tool, tool_versions

Variants = Mapping[str, tuple[str, tuple[str, ...]]]  # name -> how LUTs are mapped ("" as ever), the router's options


def variants(family: Family) -> Variants:
    """What is compared: the first one is how things are done."""
    heap = "--placer-heap-timingweight"
    return {
        "default": ("", ()),
        "one round, 7.5 ns": (f"abc9 -W {WIRE_DELAY} -D 7500", ()),  # how LUTs were mapped before
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


def clock(
    config: EngineConfig, target: str, frequency: float, seed: int, mapping: str, options: tuple[str, ...], tools: str,
    *, folder: Path,
) -> float:  # fmt: skip
    """The clock of one run as a job, in MHz; mapping: the command that maps LUTs, "" as ever."""
    require_tools(tools, target)
    part = find_target(target)
    family = dataclasses.replace(part.family, map_luts=mapping or part.family.map_luts)
    directory = netlist_of(config, dataclasses.replace(part, family=family), folder)
    return place(part, directory, frequency, seed, options)


def place(part: Target, directory: Path, frequency: float, seed: int, options: tuple[str, ...]) -> float:
    """The clock of one run, in MHz."""
    key = json.dumps([part.name, frequency, seed, options, ways(part.family)])
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:12]}-"
    report = directory / f"{name}report.json"
    if not report.is_file():
        command = routing(part, directory, frequency, seed, options=options, name=f"{name}unfinished-")
        command += pinned(part, directory, command)
        place_and_route(command, directory)
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
    parser.add_argument("--executor", default="local:1", help="where runs go, one core and 1 GB each: local:N or "
                        "dask://host:port (default: local:1)")  # fmt: skip
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
    """The clocks of every variant, in the order of the seeds, which take turns with the variants."""
    part = find_target(args.target)
    known = variants(part.family)
    if unknown := [name for name in args.only or () if name not in known]:
        raise OneSpikeError(f"Unknown variant {unknown[0]!r}; choose among {', '.join(known)}.")
    config = EngineConfig(banks=args.banks, lanes=args.lanes, fire_lanes=args.fire_lanes)
    names = args.only or list(known)
    router = part.family.router
    find_tool("yosys")
    find_tool(router)
    tools = tool_versions("yosys", router)
    runs = [(seed, name) for seed in range(1, args.seeds + 1) for name in names]
    jobs = [
        Job(name=f"seed {seed}, {name}", function=clock, folder=args.build.absolute(),
            arguments=(config, args.target, args.frequency, seed, *known[name], tools))
        for seed, name in runs
    ]  # fmt: skip
    clocks = campaign.run(jobs, args.executor, keep=args.build / "jobs",
                          done=lambda done, total: print(f"{done} of {total} runs", file=sys.stderr))  # fmt: skip
    return {name: [mhz for (_, other), mhz in zip(runs, clocks, strict=True) if other == name] for name in names}


if __name__ == "__main__":
    sys.exit(main())
