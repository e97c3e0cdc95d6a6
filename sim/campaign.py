# SPDX-License-Identifier: Apache-2.0
"""Campaign: drawn networks through RTL, thousands of them, on engines that differ: `python -m onespike.sim.campaign`.

Every engine is compiled once; a job loads some networks into it, one over the other, and compares every spike word,
logit, class and counter. A failure is made as small as it gets (`shrink.py`) and printed as a test.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..hw.config import EngineConfig
from ..model.cost.external import ExternalMemory
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import map_network
from ..model.mapping.mapping import Mapping
from ..model.network.spec import INPUT
from ..model.system import campaign
from ..model.system.campaign import Job
from ..model.system.files import write_atomically
from .as_test import as_test
from .drawn import draw, draw_codes, scope
from .engine import BRIEF, Outcome, simulate_series
from .episode import Episode
from .shrink import ROUNDS, TOGETHER, Case, shrink

REDRAWS = 40  # until an engine takes a network
MOST_CYCLES = 60_000  # of an image: larger networks are drawn again

# Memories that hold most networks; odd depths are cut into pages.
_ROOMY = EngineConfig(
    acc_bits=28, max_shift=12, max_groups=20, max_code=255, segments=3, spike_depth=2560, weight_depth=8192,
    channel_depth=256, walk_depth=512, program_depth=256, pool_depth=64, class_depth=64,
)  # fmt: skip
ENGINES = {
    "plain": _ROOMY,
    "narrow": dataclasses.replace(
        _ROOMY, banks=1, lanes=4, fire_lanes=1, shadows=2, maps=True, class_depth=2048, multiples=(1, 3), max_shift=14,
        weight_depth=10_000, spike_depth=5000,
    ),
    "many banks": dataclasses.replace(
        _ROOMY, banks=8, lanes=8, fire_lanes=4, drain_banks=4, word_bits=16, word_fifo=4, command_fifo=2, shadows=3,
        row_masks=True, mask_depth=4100, depthwise=True, maps=True, class_depth=1024, signed_codes=True,
    ),
    "wide weights": dataclasses.replace(
        _ROOMY, banks=2, lanes=12, fire_lanes=4, weight_bits=16, acc_bits=38, multiples=(1,), max_shift=14, shadows=4,
    ),
    "unary": dataclasses.replace(_ROOMY, lanes=8, fire_lanes=4, code="unary", max_code=32),
    "tables": dataclasses.replace(
        _ROOMY, lanes=8, max_groups=400, signed_codes=True, tables=8, table_codes=32, weight_bits=6, maps=True,
        class_depth=1024,
    ),
    "psg": dataclasses.replace(_ROOMY, banks=2, lanes=8, fire_lanes=8, code="psg", max_groups=8, max_code=32),
    "sparse": dataclasses.replace(
        _ROOMY, row_masks=True, mask_depth=2560, depthwise=True, max_groups=400, signed_codes=True, tables=4,
        table_codes=16, shadows=2, drain_banks=2,
    ),
    "streamed": dataclasses.replace(
        _ROOMY, lanes=8, weight_depth=512, external_weights=64, burst=8, bursts=4, program_depth=512,
    ),
    "streamed, sparse": dataclasses.replace(
        _ROOMY, banks=2, lanes=8, weight_depth=640, external_weights=32, burst=16, bursts=2, program_depth=512,
        row_masks=True, mask_depth=4096, signed_codes=True, maps=True, class_depth=1024, shadows=2,
    ),
}  # fmt: skip


def drawn_mapping(rng: np.random.Generator, config: EngineConfig) -> tuple[Mapping, Counter[str]]:
    """A network that the engine takes, and why others before it were not taken."""
    refused: Counter[str] = Counter()
    for _ in range(REDRAWS):
        try:
            net = draw(rng, scope(config))
            slices = int(2 ** rng.integers(0, config.banks.bit_length()))
            slices = 1 if config.depthwise and rng.random() < 0.6 else slices
            return map_network(net, config, slices=slices), refused
        except OneSpikeError as error:
            refused[reason(str(error))] += 1
    raise AssertionError(f"no network of {REDRAWS} suits the engine: {refused}")


KNOWN = {
    "The network needs": "the engine is too small",
    "smallest part has": "the engine is too small",
    "too large": "too large",
    "wholly in the padding": "a place lies wholly in the padding",
    "sums whole": "a sum of part of a window",
    "need one, not empty": "sizes disagree",
    "its pool is larger": "sizes disagree",
    "No layer reads": "a layer that nobody reads",
    "cannot pool over 1x1": "a pool of one place",
    "fall into": "too many parts",
}


def reason(text: str) -> str:
    """Why a network is not taken, in few words; AssertionError for what no drawn network may be refused for."""
    for part, short in KNOWN.items():
        if part in text:
            return short
    raise AssertionError(f"a drawn network is refused: {text}")


def episode(engine: str, seed: int) -> tuple[Episode, Counter[str]]:
    """Network number `seed` of an engine, with its images, and why others before it were not taken."""
    rng = np.random.default_rng([list(ENGINES).index(engine), seed])
    config = ENGINES[engine]
    refused: Counter[str] = Counter()
    while True:
        mapping, more = drawn_mapping(rng, config)
        refused += more
        memory = ExternalMemory(latency=int(rng.integers(2, 60)), interval=int(rng.integers(1, 5)),
                                varied=bool(rng.random() < 0.5))  # fmt: skip
        found = Episode(
            mapping=mapping, codes=draw_codes(rng, mapping.net, int(rng.integers(1, 4))), through_load=True,
            stall=(float(rng.choice([0, 0.5])), float(rng.choice([0, 0.5]))), seed=int(rng.integers(1, 2**31)),
            serial=bool(rng.random() < 0.5), reset=bool(rng.random() < 0.5), memory=memory,
        )  # fmt: skip
        if found.cycles <= MOST_CYCLES:
            return found, refused
        refused["long"] += 1


def options(found: Episode) -> set[str]:
    """What a network and its run have that others rarely have."""
    net, mapping = found.mapping.net, found.mapping
    sources = [source for layer in net.layers for source in layer.sources]
    pools = [layer.pool for layer in net.layers if layer.pool is not None]
    slices = max(layer.slices for layer in mapping.layers)
    there = {
        "one-pixel image": net.image.shape[1:] == (1, 1),
        "image around zero": mapping.tensors[INPUT].code == "twos",
        "several sources": any(len(layer.sources) > 1 for layer in net.layers),
        "stride in a further source": any(s.stride != (1, 1) for layer in net.layers for s in layer.sources[1:]),
        "dilation": any(s.dilation != (1, 1) for s in sources),
        "copy into a larger map": any(s.up != (1, 1) for s in sources),
        "groups": any(s.groups > 1 for s in sources),
        "groups and slices": any(s.groups > 1 for s in sources) and slices > 1,
        "slices": slices > 1,
        "values of lanes' own": any(layer.columns_at_once > 1 for layer in mapping.layers),
        "sum pool": any(pool.kind == "sum" for pool in pools),
        "maximum past the map": any(any(pool.padding) for pool in pools),
        "pool of windows that overlap": any(p.stride[0] < p.kernel[0] or p.stride[1] < p.kernel[1] for p in pools),
        "signed counts": any(layer.low < 0 and layer.levels is None for layer in net.layers),
        "levels": any(layer.levels is not None for layer in net.layers),
        "map as output": mapping.layers[-1].pixels > 1,
        "back to back": not found.serial and len(found.codes) > 1,
        "both streams stall": min(found.stall) > 0,
        "weights in parts": len(mapping.layers) > len(net.layers),
        "random latency": mapping.config.streams_weights and found.memory.varied,
        f"{net.weight_bits}-bit weights": True,
    }
    return {name for name, holds in there.items() if holds}


def work(engine: str, first: int, number: int, optimise: bool, folder: Path) -> dict[str, Any]:
    """Networks first .. first + number - 1 on an engine; failures: their seeds, and how hardware and model differ."""
    drawn = [episode(engine, seed) for seed in range(first, first + number)]
    left = list(enumerate(found for found, _ in drawn))
    totals: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    while left:
        outcomes = simulate_series([each for _, each in left], folder, brief=0 if optimise else BRIEF)
        for (index, each), outcome in zip(left, outcomes, strict=False):
            totals += tally(each, outcome)
            if outcome.problem:
                failures.append({"engine": engine, "seed": first + index, "problem": outcome.problem})
        left = left[len(outcomes) :]  # those behind one that hung
    return {
        "networks": number,
        "totals": dict(totals),
        "options": dict(Counter(name for each, _ in drawn for name in sorted(options(each)))),
        "refused": dict(sum((refused for _, refused in drawn), Counter())),
        "failures": failures,
    }


def problems(episodes: list[Episode], folder: Path, optimise: bool = True) -> list[str]:
    """How hardware and model differ in each of the episodes, which run one after the other; "" where they do not."""
    found: list[str] = []
    while len(found) < len(episodes):
        some = episodes[len(found) : len(found) + TOGETHER]
        found += [outcome.problem for outcome in simulate_series(some, folder, brief=0 if optimise else BRIEF)]
    return found


def minimised(engine: str, seed: int, folder: Path, *, optimise: bool = True, rounds: int = ROUNDS) -> str:
    """A test of the smallest network that fails as network `seed` of an engine does, alone or over those before it."""
    case = case_of(episode(engine, seed)[0])
    before: list[Case] = []

    def problems_of(tried: list[Episode]) -> list[str]:
        return problems(tried, folder, optimise)

    if not problems_of([case.episode()])[0]:
        first = seed - seed % TOGETHER
        before = [case_of(episode(engine, each)[0]) for each in range(first, seed)]
        for start in range(len(before) - 1, -1, -1):  # as few before it as make it fail
            if problems_of([each.episode() for each in (*before[start:], case)])[-1]:
                before = before[start:]
                break
    else:
        case = shrink(case, problems_of, rounds)
    (*_, problem) = problems_of([each.episode() for each in (*before, case)])
    return as_test([*before, case], problem or "differs among others only, see the seeds of its job")


def case_of(found: Episode) -> Case:
    """An episode, as it can be made smaller."""
    mapping = found.mapping
    slices = max(layer.slices for layer in mapping.layers)
    return Case(net=mapping.net, codes=found.codes, config=mapping.config, slices=slices, stall=found.stall,
                seed=found.seed, serial=found.serial, memory=found.memory)  # fmt: skip


def tally(each: Episode, outcome: Outcome) -> Counter[str]:
    """What has been compared."""
    if outcome.found is None:
        return Counter()
    return Counter(images=len(each.codes), words=outcome.found.words, logits=outcome.found.logits.size,
                   counters=outcome.found.counters.size)  # fmt: skip


def jobs(networks: int, engines: Sequence[str], folder: Path, *, optimise: bool = True) -> Iterator[Job]:
    """Jobs of TOGETHER networks, for so many in all, the engines in turn."""
    for start in range(0, -(-networks // len(engines)), TOGETHER):
        for engine in engines:
            yield Job(name=f"{engine}, networks {start} to {start + TOGETHER - 1}", function=work,
                      arguments=(engine, start, TOGETHER, optimise), folder=folder)  # fmt: skip


def report(found: list[dict[str, Any]], console: Console) -> None:
    """What was run and compared."""
    added = {name: sum((Counter(each[name]) for each in found), Counter()) for name in ("totals", "options", "refused")}
    networks = sum(each["networks"] for each in found)
    failures = sum(len(each["failures"]) for each in found)
    what = ", ".join(f"{number:,} {name}" for name, number in added["totals"].items())
    console.print(f"{networks:,} networks: {what} compared; {failures} networks differ.")
    for title in ("options", "refused"):
        said = ", ".join(f"{name} {number:,}" for name, number in added[title].most_common())
        console.print(f"{'Networks with' if title == 'options' else 'Drawn again because'}: {said}.")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onespike.sim.campaign", description=__doc__.split("\n\n")[0])
    parser.add_argument("--networks", type=int, default=10_000)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES), help="default: all")
    parser.add_argument("--executor", default="local", help="local, local:N or dask://host:port (default: local)")
    parser.add_argument("--build", type=Path, default=Path("build/campaign"), help="engines and finished jobs")
    parser.add_argument("--failures", type=int, default=3, help="that are made small and printed as tests (default: 3)")
    args = parser.parse_args(argv)
    console = Console(highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("Jobs", total=None)
        try:
            found = campaign.run(list(jobs(args.networks, args.engine, args.build.absolute())), args.executor,
                                 keep=args.build / "jobs",
                                 done=lambda done, total: bar.update(task, completed=done, total=total))  # fmt: skip
        except OneSpikeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130  # what is finished is kept
    report(found, console)
    failures = [failure for each in found for failure in each["failures"]]
    for failure in failures:
        console.print(f"{failure['engine']}, network {failure['seed']}: {failure['problem']}", soft_wrap=True)
    for failure in failures[: args.failures]:
        text = minimised(failure["engine"], failure["seed"], args.build.absolute())
        path = args.build / f"test_{failure['engine'].replace(', ', '_').replace(' ', '_')}_{failure['seed']}.py"
        write_atomically(path, text)
        console.print(f"\n{text}\nThis test is {path}; it belongs into tests/hw/engine.", soft_wrap=True)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
