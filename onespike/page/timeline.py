# SPDX-License-Identifier: Apache-2.0
"""One image on the engine, cycle by cycle, as the exact cycle model has it: for a picture, and as a trace for Perfetto.

Cycles of a trace are microseconds there, which is the unit of the format; nothing says how long a cycle takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as Map
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model.cost.cycles import Job, LayerCycles, predict
from ..model.cost.external import ExternalMemory, with_memory
from ..model.mapping.mapping import Mapping

MOST_JOBS = 20_000  # in a trace: more would be megabytes


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Layers (parts, where weights are streamed), the cycle in which each begins, and what the banks do in each."""

    layers: list[LayerCycles]
    begins: list[int]
    jobs: list[list[Job]]

    @property
    def cycles(self) -> int:
        """Of the whole image."""
        return sum(layer.total for layer in self.layers)


def timeline(mapping: Mapping, fields: Map[str, np.ndarray], memory: ExternalMemory) -> Timeline:
    """Of one image, whose tensors hold `fields` [C, H, W] (see `Mapping.golden_fields`)."""
    jobs: list[list[Job]] = []
    found = predict(mapping, fields, jobs)
    layers = next(iter(with_memory(mapping, [found], memory)))
    begins, now = [], 0
    for layer in layers:
        begins.append(now + layer.stalled)
        now += layer.total
    return Timeline(layers=layers, begins=begins, jobs=jobs)


def busy(found: Timeline, banks: int, bins: int) -> np.ndarray:
    """Share of the cycles of each of so many equal bins in which a bank adds an event, [banks, bins].

    Where in a job its events lie, is not known: they are spread over it evenly.
    """
    edges = np.linspace(0, found.cycles, bins + 1)
    events = np.zeros((banks, bins))
    for begin, jobs in zip(found.begins, found.jobs, strict=True):
        for bank in range(banks):
            own = [job for job in jobs if job.bank == bank and job.events]
            if not own:
                continue
            # Events so far, at the borders of the jobs; jobs of one bank follow one another.
            times = np.array([[job.first, job.last + 1] for job in own], float).ravel() + begin
            steps = np.array([[0, job.events] for job in own], float).ravel().cumsum()
            events[bank] += np.diff(np.interp(edges, times, steps, left=0, right=steps[-1]))
    return events / np.diff(edges)


def figures(found: Timeline) -> list[dict[str, Any]]:
    """The layers as plain values."""
    rows = []
    for layer, begin, jobs in zip(found.layers, found.begins, found.jobs, strict=True):
        counted = {name: value for name, value in dataclasses.asdict(layer).items() if name != "name"}
        rows.append({"name": layer.name, "begin": begin, "end": begin + layer.cycles, "jobs": len(jobs), **counted})
    return rows


def trace(found: Timeline, mapping: Mapping, title: str) -> dict[str, Any]:
    """The Trace Event Format of Perfetto and chrome://tracing: a track for the layers, for each bank and the drain."""
    config = mapping.config
    names = ["layers", *(f"bank {bank}" for bank in range(config.banks)), "drain, fire and pool"]
    events: list[dict[str, Any]] = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": title}}]
    for number, name in enumerate(names):
        events.append({"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": name}})
        events.append({"ph": "M", "pid": 1, "tid": number, "name": "thread_sort_index", "args": {"sort_index": number}})
    whole = sum(map(len, found.jobs)) <= MOST_JOBS
    for row, begin, jobs in zip(figures(found), found.begins, found.jobs, strict=True):
        if row["stalled"]:
            events.append(_span(0, "waits for weights", begin - row["stalled"], row["stalled"]))
        counted = {name: value for name, value in row.items() if name not in ("name", "begin", "end")}
        events.append(_span(0, row["name"], begin, row["cycles"], counted))
        for job in jobs if whole else ():
            name = f"{row['name']} ({job.y}, {job.x}) block {job.block}"
            start, end = job.drained
            events.append(
                _span(1 + job.bank, name, begin + job.first, job.last - job.first + 1, {"events": job.events})
            )
            events.append(_span(len(names) - 1, f"bank {job.bank} ({job.y}, {job.x})", begin + start, end - start + 1))
    about = {"unit": "1 us stands for 1 cycle", "jobs": "all" if whole else f"left out, more than {MOST_JOBS:,}"}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}


def _span(track: int, name: str, begin: int, cycles: int, args: dict[str, Any] | None = None) -> dict[str, Any]:
    span = {"ph": "X", "pid": 1, "tid": track, "name": name, "ts": begin, "dur": cycles}
    return span | ({"args": args} if args else {})
