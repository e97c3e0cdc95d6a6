# SPDX-License-Identifier: Apache-2.0
"""Exploring engines: cycles from the exact cycle model against the estimated area of a part, and the Pareto front."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import EngineConfig
from ...hw.memory import SINGLE_PORT_BITS
from ..errors import OneSpikeError
from ..mapping.mapper import fit_config, round_depth
from ..mapping.mapping import Mapping
from ..network import golden
from ..network.spec import SpikeNet
from ..system import campaign
from ..system.campaign import Job
from ..targets import TARGETS, Target
from .area import Area, estimate
from .choose import choose_for, slice_counts
from .cycles import predict_all, utilisation

MOST_ROWS = 1 << 16  # of weights in a bank, where parts with few lanes would have room for more


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network on one engine; refused: why the part does not take it, in one sentence, or "".

    cycles: mean per image, 0 where the point was refused before they were counted; accuracy: None without labels.
    """

    net: str
    config: EngineConfig
    area: Area | None
    cycles: float = 0.0
    utilisation: float = 0.0
    accuracy: float | None = None
    refused: str = ""

    @property
    def lanes(self) -> int:
        """Of all banks."""
        return self.config.banks * self.config.lanes

    @property
    def costs(self) -> tuple[float, ...]:
        """What the front minimises: cycles, LUTs, block RAMs, errors."""
        assert self.area is not None
        return (self.cycles, self.area.luts, self.area.block_rams, -(self.accuracy or 0.0))


def fed_lanes(target: Target, config: EngineConfig) -> int:
    """Lanes of each bank that the part's block RAMs can feed: every lane wants its weight in every cycle.

    A bank owns an equal share of the block RAMs; some of them read its spike word, the others one row of weights, which
    in an engine with `single_port` lies in single-port RAMs.
    """
    port = target.family.port_bits
    if config.single_port:
        return target.single_ports // config.banks * SINGLE_PORT_BITS // config.weight_bits
    of_bank = target.block_rams // config.banks - math.ceil(config.word_bits / port)
    return max(0, of_bank * port // config.weight_bits)


def unfed(target: Target, config: EngineConfig) -> str:
    """Why the ports of the part's block RAMs cannot feed the lanes, or ""."""
    lanes = fed_lanes(target, config)
    if config.lanes <= lanes:
        return ""
    if config.single_port and not target.single_ports:
        return f"{target.name} has no single-port RAMs, which iCE40 UP5K has; leave single_port out."
    banks = "1 bank" if config.banks == 1 else f"{config.banks} banks"
    if config.single_port:
        return (
            f"{banks} x {config.lanes} lanes read {config.banks * config.lanes * config.weight_bits:,} bits of weights "
            f"a cycle; the {target.single_ports} single-port RAMs of {target.name} ({SINGLE_PORT_BITS} bits each) feed "
            f"{lanes} lanes of each bank with {config.weight_bits}-bit weights."
        )
    return (
        f"{banks} x {config.lanes} lanes read {config.banks * config.lanes * config.weight_bits:,} bits of weights a "
        f"cycle; the {target.block_rams} block RAMs of {target.name} ({target.family.port_bits} bits each, spike words "
        f"taken off) feed {f'{lanes} lanes of each bank' if lanes else 'no lane'} with "
        f"{config.weight_bits}-bit weights."
    )


def excess(area: Area, target: Target, margin: float = 1.0) -> str:
    """Which resource is short, and by how much, or ""; margin: the share of the LUTs and registers that may be used."""
    wants = [
        ("block RAMs", area.block_rams, target.block_rams),
        ("single-port RAMs", area.single_ports, target.single_ports),
        ("LUTs", area.luts, int(margin * target.luts)),
        ("flip-flops", 0 if target.family.merged else area.flip_flops, int(margin * target.flip_flops)),
    ]
    over = [(need / max(have, 0.1), what, need, have) for what, need, have in wants if need > have]
    if not over:
        return ""
    _, what, need, have = max(over)
    return f"needs {need:,} {what}, {need - have:,} more than the {have:,} of {target.name}."


def smallest_part(points: Sequence[Point]) -> str:
    """What would take the least of the refused points, as the end of a sentence."""
    sizes = sorted(TARGETS.values(), key=lambda target: target.luts)
    for target in sizes:
        for point in points:
            if not unfed(target, point.config) and not excess(estimate(point.config, target), target):
                return f"{target.name} takes {point.config.banks} x {point.config.lanes}"
    spikes, weights = memory_kib(points[0].config)
    if spikes > weights:
        return "no known part does; smaller images, or counts of fewer groups, need less memory for spikes"
    if not points[0].config.streams_weights:
        return "no known part does; use fewer weight bits or a smaller network, or keep the weights in external memory"
    return "no known part does; use a smaller network"


def memory_kib(config: EngineConfig) -> tuple[float, float]:
    """KiB of all spike memories, and of all weight memories."""
    spikes = config.spike_depth * config.word_bits
    weights = config.weight_depth * config.lanes * config.weight_bits
    return config.banks * spikes / 8192, config.banks * weights / 8192


def engines(base: EngineConfig, axes: Map[str, Sequence[Any]]) -> Iterator[EngineConfig]:
    """Every combination of the axes' values that is an engine; 0 fire lanes: up to 8, as many as divide the lanes."""
    for values in itertools.product(*axes.values()):
        chosen: dict[str, Any] = dict(zip(axes, values, strict=True))
        lanes = chosen.get("lanes", base.lanes)
        if not chosen.get("fire_lanes", base.fire_lanes):
            chosen["fire_lanes"] = max(f for f in (1, 2, 4, 8) if lanes % f == 0)
        there = chosen.get("drain_banks", base.drain_banks) <= chosen.get("banks", base.banks)
        if lanes % chosen.get("fire_lanes", base.fire_lanes) == 0 and there:
            yield dataclasses.replace(base, **chosen)


def count_cycles(mapping: Mapping, codes: np.ndarray) -> tuple[float, float]:
    """(cycles per image, utilisation) on images, as `pixels.py` says, by the exact cycle model."""
    codes = mapping.net.image.quantise(codes)
    return _count(mapping, golden.run(mapping.net, codes, layers=True, trains=mapping.config.code == "psg"))


def _count(mapping: Mapping, result: golden.Result) -> tuple[float, float]:
    config = mapping.config
    images = predict_all(mapping, result)
    layers = [layer for image in images for layer in image]
    return sum(layer.cycles for layer in layers) / len(images), utilisation(layers, config.banks, config.lanes)


def evaluate(
    net: SpikeNet,
    config: EngineConfig,
    target: Target,
    codes: np.ndarray,
    name: str = "",
    accuracy: float | None = None,
    margin: float = 1.0,
) -> Point:
    """One point: refused by the ports, or by the smallest memories that hold the network; else mapped and counted."""
    sized, refused = [], ""
    for slices in slice_counts(config):
        try:
            sized.append(fit_config(net, config, slices=slices))
        except OneSpikeError as error:
            refused = refused or str(error)
    if not sized:
        return Point(net=name, config=config, area=None, accuracy=accuracy, refused=refused)
    least = min(sized, key=lambda each: (estimate(each, target).block_rams, estimate(each, target).luts))
    area = estimate(least, target)
    if refused := unfed(target, least) or excess(area, target, margin):
        return Point(net=name, config=least, area=area, accuracy=accuracy, refused=refused)
    result = golden.run(net, codes, layers=True, trains=config.code == "psg")
    mapping = choose_for(net, config, result, more_shadows=not target.family.merged)
    if mapping.config.shadows > config.shadows and excess(estimate(mapping.config, target), target, margin):
        mapping = choose_for(net, config, result, more_shadows=False)
    if excess(estimate(mapping.config, target), target, margin):
        mapping = choose_for(net, _with_spare_rows(least, target, margin), result, fit=False)
    area = estimate(mapping.config, target)
    cycles, used = _count(mapping, result)
    return Point(net=name, config=mapping.config, area=area, cycles=cycles, utilisation=used, accuracy=accuracy,
                 refused=excess(area, target, margin))  # fmt: skip


def _with_spare_rows(config: EngineConfig, target: Target, margin: float) -> EngineConfig:
    """The engine with as many weight rows as the part has room for."""
    while True:
        larger = dataclasses.replace(config, weight_depth=round_depth(config.weight_depth + 1))
        if larger.weight_depth > MOST_ROWS or excess(estimate(larger, target), target, margin):
            return config
        config = larger


def explore(
    nets: Map[str, SpikeNet],
    codes: Map[str, np.ndarray],
    target: Target,
    base: EngineConfig,
    axes: Map[str, Sequence[Any]],
    *,
    accuracy: Map[str, float | None] | None = None,
    executor: str = "local:1",
    keep: str | Path | None = None,
    done: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """All points, in the order of the axes, wherever they are found; executor, keep, done: as in `campaign.run`."""
    accuracy = accuracy or {}
    wanted = [(name, config) for name in nets for config in engines(base, axes)]
    if not wanted:
        raise OneSpikeError(
            "No combination is an engine: fire lanes must divide lanes; name other --lanes or --fire-lanes."
        )
    jobs = [
        Job(name=f"{config.banks} x {config.lanes} for {name}", function=evaluate,
            arguments=(nets[name], config, target, codes[name], name, accuracy.get(name)))
        for name, config in wanted
    ]  # fmt: skip
    return [_again(found) for found in campaign.run(jobs, executor, keep=keep, done=done)]


def _again(kept: dict[str, Any]) -> Point:
    """A point out of its plain values."""
    area = None if kept["area"] is None else Area(**kept["area"])
    return Point(**(kept | {"config": EngineConfig(**kept["config"]), "area": area}))


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that fit and that no other one beats, or equals and comes before, in every cost; fastest first."""
    fitting = [point for point in points if not point.refused]
    front: list[Point] = []
    for point in sorted(fitting, key=lambda point: point.costs):
        if not any(all(a <= b for a, b in zip(other.costs, point.costs, strict=True)) for other in front):
            front.append(point)
    return front


def require_fit(points: Sequence[Point], target: Target) -> None:
    """OneSpikeError, if no point fits: by how much, in which resource, and what would take it."""
    if any(not point.refused for point in points):
        return
    sized = [point for point in points if point.area is not None]
    if not sized:
        raise OneSpikeError(points[0].refused)
    least = min(sized, key=lambda point: point.area.luts if point.area else 0)
    config, share = least.config, ""
    if "block RAMs, " in least.refused:
        spikes, weights = memory_kib(config)
        share = f" (spikes fill {spikes:,.0f} KiB, weights {weights:,.0f} KiB)"
    raise OneSpikeError(
        f"No engine fits {target.name}: even {config.banks} x {config.lanes} lanes {least.refused.rstrip('.')}{share}; "
        f"{smallest_part(sized)}."
    )
