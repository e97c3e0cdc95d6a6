# SPDX-License-Identifier: Apache-2.0
"""Shards: the simulation of many images as jobs of some images each, which any worker can do, whose sum is one result.

Shards depend on the images alone, never on the workers. In each the engine starts as after a reset, so every image's
counters, words and logits are those of one long run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..model.cost.cycles import LayerCycles
from ..model.cost.external import ExternalMemory
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.system import campaign
from ..model.system.campaign import Done, Job
from .engine import BRIEF, Simulated, simulate, total_cycles
from .verilator import find_verilator

SHARD = 100  # images of a job: some seconds of a small network


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How images are fed, as `simulate` has it, but for what only one whole run can do."""

    through_load: bool = False
    stall: tuple[float, float] = (0.0, 0.0)
    seed: int = 1
    serial: bool = True
    gates: str | None = None
    memory: ExternalMemory = dataclasses.field(default_factory=ExternalMemory)


def simulate_shards(
    mapping: Mapping,
    codes: np.ndarray,
    build_dir: str | Path,
    settings: Settings,
    *,
    executor: str = "local:1",
    keep: str | Path | None = None,
    done: Done | None = None,
    shard: int = SHARD,
) -> Simulated:
    """`simulate` as a campaign: executor, keep and done as in `onespike.model.system.campaign.run`; AssertionError for
    the first shard in which hardware and model differ. Images that follow back to back (not serial) are one shard."""
    if len(codes) == 0:
        raise OneSpikeError("Nothing to simulate: give at least one image.")
    codes = mapping.net.image.quantise(codes)
    size = shard if settings.serial else len(codes)
    version = find_verilator().version
    jobs = [
        Job(name=f"images {first} to {first + len(part) - 1}", function=work, folder=Path(build_dir).absolute(),
            arguments=(mapping, part, dataclasses.replace(settings, seed=settings.seed + index),
                       BRIEF * len(part) // len(codes), version))  # what all of them together would take
        for index, (first, part) in enumerate(_parts(codes, size))
    ]  # fmt: skip
    return _joined(mapping, campaign.run(jobs, executor, keep=keep, done=done))


def _parts(codes: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(codes), size):
        yield first, codes[first : first + size]


def work(
    mapping: Mapping, codes: np.ndarray, settings: Settings, brief: int, version: str, *, folder: Path
) -> dict[str, Any]:
    """What one shard shows, as plain values; version: of Verilator, which must be this one."""
    if (found := find_verilator().version) != version:
        raise OneSpikeError(f"A worker has Verilator {found}, this command {version}; install the same one on all.")
    options = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    shown = simulate(mapping, codes, folder, brief=brief, **options)
    kept = {name: getattr(shown, name) for name in ("images", "mismatches", "cycle_mismatches", "words", "seconds",
                                                    "simulated_cycles")}  # fmt: skip
    kept |= {name: getattr(shown, name).tolist() for name in ("logits", "counters", "finished")}
    return kept | {"predicted": [[dataclasses.asdict(layer) for layer in image] for image in shown.predicted]}


def _joined(mapping: Mapping, parts: list[dict[str, Any]]) -> Simulated:
    """One result of all shards, in their order; cycles count on from shard to shard, seconds add up."""
    config = mapping.config
    added = {name: sum(part[name] for part in parts) for name in ("images", "mismatches", "cycle_mismatches", "words",
                                                                  "simulated_cycles", "seconds")}  # fmt: skip
    before = np.cumsum([0, *(part["simulated_cycles"] for part in parts)])[:-1]
    finished = [np.array(part["finished"]) + start for part, start in zip(parts, before, strict=True)]
    predicted = [[LayerCycles(**layer) for layer in image] for part in parts for image in part["predicted"]]
    counters = np.concatenate([np.array(part["counters"]) for part in parts])
    useful = [sum(layer.useful for layer in image) for image in predicted][-len(counters) :]
    return Simulated(
        **added,
        logits=np.concatenate([np.array(part["logits"]) for part in parts]),
        counters=counters,
        finished=np.concatenate(finished),
        predicted=predicted,
        utilisation=sum(useful) / (config.banks * config.lanes * int(total_cycles(counters).sum())),
    )
