# SPDX-License-Identifier: Apache-2.0
"""Fit the area estimate from scratch: `python -m onespike.fpga.fit_area`, about ten minutes on two quiet cores.

1. Engines spread over the parameters are taken apart; every block is synthesised alone (equal blocks once).
2. Per block, LUTs and registers become sums of coefficient x quantity (`model.area.terms`), none negative, fitted by
   relative error.
3. A few whole engines, synthesised and packed as `onespike synth` does, give one factor per family: what is optimised
   across blocks. Others are held out: the estimate is tested on them.

Every synthesis is cached under the hash of its text and tools, so that a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..hw.emit.verilog import BANK, TOP, to_verilog
from ..model.cost import area
from ..model.errors import OneSpikeError
from ..model.network.codes import MULTIPLES
from ..model.system import bounded
from ..model.system.files import write_atomically
from ..model.system.processes import pool
from ..model.targets import Family, Target, find_target
from .place_route import NETLIST
from .synth import recipe, synthesise, write_netlist
from .tools import tool_versions

PARTS = ("ecp5-25k", "ice40-up5k", "gw1nr-9")  # one of each family: the cells are the same in all of its parts
ENGINES = 10  # that are taken apart, of each family
SAMPLES = {  # of them, how many of each block are synthesised: more for those with more quantities
    "onespike": 6, "bank": 8, "lanes": 11, "fetch": 8, "extract": 8, "command_fifo": 4, "word_fifo": 6, "sequencer": 10,
    "loader": 4, "drain": 10, "fire": 9, "pack": 9, "logits": 4, "counters": 3, "load": 4,
    "tables": 4,
}  # fmt: skip
WHOLE = {"ecp5": (2, 4), "ice40": (5, 3), "gowin": (2, 3)}  # engines for the factor, and held out
RESOURCES = ("luts", "flip_flops")


def sample(random: Random, *, small: bool, whole: bool) -> EngineConfig:
    """An engine as a network might need it; small: for parts of a few thousand LUTs; whole: not taken apart.

    Whole engines are kept to 64 lanes, for time's sake, and to the codes that networks are run with.
    """
    lanes = random.choice((4, 8, 8, 16) if small else (8, 16, 16) if whole else (8, 16, 16, 32))
    fire = random.choice([f for f in (1, 2, 4, 8) if f <= lanes])
    code = "radix" if random.random() < 0.8 else "unary" if whole else random.choice(("unary", "psg"))
    groups = random.choice((1, 3, 4, 8, 8, 15, 31)) if code == "radix" else random.choice((4, 8))
    word = random.choice((16, 32))
    masks = random.random() < 0.4
    return EngineConfig(
        banks=random.choice((1, 1, 2) if small else (1, 2, 4)),
        lanes=lanes,
        fire_lanes=fire,
        code=code,
        word_bits=word,
        weight_bits=random.choice((3, 4, 6, 8, 8)),
        acc_bits=random.randint(13, 24),
        max_shift=random.choice((0, 1, 3, 4, 7, 8, 8)),
        max_groups=groups,
        max_code=max(groups, random.choice((groups, 15, 255 if code == "radix" else 8))),
        segments=random.choice((1, 1, 1, 2, 3)),
        spike_depth=random.choice((64, 256, 512, 1024, 2048)),
        weight_depth=random.choice((64, 512, 1024, 2048, 4096)),
        channel_depth=random.choice((8, 32, 64, 128)),
        walk_depth=random.choice((32, 64, 128, 256)),
        program_depth=random.choice((32, 64, 128)),
        pool_depth=random.choice((1, 2, 4, 8, 16)),
        class_depth=random.choice((2, 4, 8)),
        word_fifo=random.choice((4, 4, 8, 16)),
        command_fifo=random.choice((2, 4, 4)),
        loadable=random.random() < 0.8 or not whole,  # a blank memory that nothing writes would be optimised away
        multiples=random.choice(MULTIPLES),
        signed_codes=code == "radix" and random.random() < 0.3,
        tables=random.choice((0, 0, 1, 2)) if code == "radix" else 0,
        table_codes=random.choice((16, 16, 32)),
        row_masks=masks,
        mask_depth=random.choice((64, 512, 1024)),
        depthwise=masks and code == "radix" and fire % (word // 4) == 0 and random.random() < 0.8,
    )


def engines(family: str, purpose: str, number: int) -> list[EngineConfig]:
    """`number` engines for one purpose, always the same ones."""
    random = Random(f"{family} {purpose}")
    found = [sample(random, small=family != "ecp5", whole=purpose != "blocks") for _ in range(number)]
    if purpose == "blocks":  # two that have what few draw
        for index, (lanes, word) in enumerate(((8, 16), (16, 32))):
            own = {"code": "radix", "row_masks": True, "depthwise": True}
            size = {"lanes": lanes, "fire_lanes": word // 4, "word_bits": word}
            found[index] = dataclasses.replace(found[index], **own, **size)  # type: ignore[arg-type]
        ways = (1, 2, 4, 1, 4)
        found = [
            dataclasses.replace(config, drain_banks=min(config.banks, ways[index % len(ways)]))
            for index, config in enumerate(found)
        ]
    if number and (family, purpose) == ("ecp5", "held out"):
        found[0] = EngineConfig(fire_lanes=4)  # the usual one, 4 banks x 16 lanes
    return found


def blocks(verilog: str) -> dict[str, tuple[str, str]]:
    """Block -> (module, the Verilog that its synthesis needs).

    A block holds all modules below it; the engine's and the bank's own logic see theirs as black boxes.
    """
    texts = {text.split("(", 1)[0].split()[1].lstrip("\\"): text
             for text in re.findall(r"(?ms)^module .*?^endmodule$", verilog)}  # fmt: skip
    found = {}
    for name, text in texts.items():
        _, _, own = name.partition(".")
        if not own:
            below = [
                black_box(texts[other]) for other in texts if other.startswith(f"{name}.") and other.count(".") == 1
            ]
            below += [black_box(texts[BANK])] if name == TOP else []
            found["bank" if name == BANK else name] = (name, "\n".join([text, *below]))
        elif "." not in own:
            inside = [texts[other] for other in texts if other == name or other.startswith(f"{name}.")]
            found[own] = (name, "\n".join(inside))
    return found


def black_box(text: str) -> str:
    """The module's ports alone."""
    return "\n".join(["(* blackbox *)", text[: text.index(";") + 1], "endmodule"])


def synthesise_block(module: str, text: str, family: Family, cache: Path, tools: str) -> dict[str, int]:
    """LUTs and registers of one block, synthesised alone, or from the cache."""
    top = f"\\{module}"
    digest = hashlib.sha256("\n".join((recipe(family, top), tools, text)).encode()).hexdigest()[:24]
    result = cache / family.name / f"{digest}.json"
    if (before := bounded.kept(result, lambda found: {what: int(found[what]) for what in found})) is not None:
        return before
    directory = cache / "work" / digest
    write_atomically(directory / "block.v", text)
    write_netlist("read_verilog -DONESPIKE_BLANK block.v", family, top, directory)
    found = packed(json.loads((directory / NETLIST).read_text()), family)
    write_atomically(result, json.dumps(found))
    shutil.rmtree(directory)
    return found


def packed(netlist: dict[str, Any], family: Family) -> dict[str, int]:
    """LUTs and registers of a netlist's top as the router packs them, without LUT RAMs, which are known exactly."""
    (top,) = (m for m in netlist["modules"].values() if int(m.get("attributes", {}).get("top", "0"), 2))
    cells = top["cells"].values()
    types = Counter(cell["type"] for cell in cells)
    found = dict.fromkeys(RESOURCES, 0)
    for name, number in types.items():
        kind = next((kind for kind in family.cells if name.startswith(kind) and "RAM" not in kind
                     and not name.startswith("MUX2")), None)  # fmt: skip
        if kind is not None:
            found["luts"] += number * family.cells[kind][0]
            found["flip_flops"] += number * family.cells[kind][1]
    if family.merged:
        # A register shares the logic cell of the LUT that drives it, if nothing else reads that LUT.
        readers = Counter(
            bit for cell in cells for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "input" for bit in bits
        )  # fmt: skip
        readers.update(bit for port in top["ports"].values() if port["direction"] == "output" for bit in port["bits"])
        luts = {cell["connections"]["O"][0] for cell in cells if cell["type"] == "SB_LUT4"}
        data = [cell["connections"]["D"][0] for cell in cells if cell["type"].startswith(family.flip_flops)]
        found["luts"] += sum(bit not in luts or readers[bit] > 1 for bit in data)
    return found


def fit_block(rows: Sequence[Mapping[str, float]], measured: list[float]) -> dict[str, float]:
    """Coefficients of the quantities, none negative, with the least relative error (of small blocks: absolute)."""
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    weight = 1 / (np.array(measured) + 30)
    solution = nonnegative(matrix * weight[:, None], np.array(measured) * weight)
    return {name: float(f"{value:.6g}") for name, value in zip(names, solution, strict=True) if value > 0}


def nonnegative(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least squares with no negative coefficient (Lawson and Hanson's active set)."""
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1
    matrix = matrix / scale
    count = matrix.shape[1]
    used = np.zeros(count, bool)
    solution = np.zeros(count)
    for _ in range(10 * count):
        slope = matrix.T @ (target - matrix @ solution)
        slope[used] = -np.inf
        if slope.max() < 1e-9:
            break
        used[slope.argmax()] = True
        while True:
            trial = np.zeros(count)
            trial[used] = np.linalg.lstsq(matrix[:, used], target, rcond=None)[0]
            falling = used & (trial <= 0)
            if not falling.any():
                break
            step = np.min(solution[falling] / np.maximum(solution[falling] - trial[falling], 1e-30))
            solution = solution + step * (trial - solution)
            used &= solution > 1e-12
            solution[~used] = 0
        solution = trial
    return solution / scale


def _whole(config: EngineConfig, part: str, cache: Path) -> dict[str, int]:
    found = synthesise(config, part, cache / "whole", place=False)
    return {name: getattr(found, name) for name in (*RESOURCES, "block_rams")}


def fit(cache: Path, workers: int, families: Sequence[str], only: Sequence[str] = ()) -> dict[str, Any]:
    """The contents of area.json. only: blocks that are fitted again; all else stays as area.json has it."""
    parts = [part for part in map(find_target, PARTS) if part.family.name in families]
    tools = tool_versions("yosys")
    started = time.perf_counter()
    with pool(workers) as processes:
        jobs: dict[Future[dict[str, int]], tuple[str, str, EngineConfig]] = {}
        for part in parts:
            name, family = part.family.name, part.family
            taken: Counter[str] = Counter()
            for config in engines(name, "blocks", ENGINES):
                for block, (module, text) in blocks(to_verilog(config)).items():
                    if block not in SAMPLES:
                        raise OneSpikeError(f"Block {block!r} has no terms in model/cost/area.py; add them.")
                    if taken[block] < SAMPLES[block] and (not only or block in only):
                        taken[block] += 1
                        job = processes.submit(synthesise_block, module, text, family, cache, tools)
                        jobs[job] = (name, block, config)
            for purpose, number in zip(("factor", "held out"), WHOLE[name] if not only else (0, 0), strict=True):
                for config in engines(name, purpose, number):
                    jobs[processes.submit(_whole, config, part.name, cache)] = (name, purpose, config)
        for index, job in enumerate(as_completed(jobs), 1):
            job.result()
            print(f"{index} of {len(jobs)}, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    results: dict[str, dict[str, list[tuple[EngineConfig, dict[str, int]]]]] = {}
    for job, (name, what, config) in jobs.items():
        results.setdefault(name, {}).setdefault(what, []).append((config, job.result()))
    if only:
        kept = area.fitted()
        for part in parts:
            kept["families"][part.family.name]["blocks"] |= fit_blocks(part.family, results[part.family.name])
        return kept
    return {
        "tools": tool_versions("yosys", *(part.family.router for part in parts)),
        "families": {part.family.name: fit_family(part, results[part.family.name]) for part in parts},
    }


def fit_family(part: Target, results: dict[str, list[tuple[EngineConfig, dict[str, int]]]]) -> dict[str, Any]:
    """Coefficients and factors of one family, with the engines held out."""
    family = part.family
    known: dict[str, Any] = {"blocks": fit_blocks(family, results), "factor": dict.fromkeys(RESOURCES, 1.0)}
    sums = {"families": {family.name: known}}
    factor = {}
    for what in RESOURCES:
        ratios = [found[what] / getattr(area.estimate(config, part, sums), what) for config, found in results["factor"]]
        factor[what] = round(statistics.median(ratios), 4)
    known["factor"] = factor
    known["held_out"] = [
        {"part": part.name, "config": dataclasses.asdict(config), **found} for config, found in results["held out"]
    ]
    return known


def fit_blocks(
    family: Family, results: dict[str, list[tuple[EngineConfig, dict[str, int]]]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Coefficients of the blocks that have been synthesised."""
    found = {}
    for block in filter(results.get, SAMPLES):
        rows = [area.quantities(config, family)[block].fitted for config, _ in results[block]]
        found[block] = {what: fit_block(rows, [each[what] for _, each in results[block]]) for what in RESOURCES}
    return found


def errors(fitted: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(family, resource, relative error) of every held-out engine."""
    for name, known in fitted["families"].items():
        for entry in known["held_out"]:
            found = area.estimate(EngineConfig(**entry["config"]), find_target(entry["part"]), fitted)
            for what in (*RESOURCES, "block_rams"):
                yield name, what, abs(getattr(found, what) / entry[what] - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("build/area"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--families", nargs="+", default=list(WHOLE), help="default: all")
    parser.add_argument("--blocks", nargs="+", choices=SAMPLES, default=[], help="fit these again (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=area.FIT)
    args = parser.parse_args()
    contents = fit(args.cache, args.workers, args.families, args.blocks)
    write_atomically(args.output, json.dumps(contents, indent=1) + "\n")
    by_kind: dict[tuple[str, str], list[float]] = {}
    for name, what, error in errors(contents):
        by_kind.setdefault((name, what), []).append(error)
    for (name, what), values in by_kind.items():
        print(f"{name:6} {what:10} median {statistics.median(values):.1%}, worst {max(values):.1%} of {len(values)}")


if __name__ == "__main__":
    main()
