# SPDX-License-Identifier: Apache-2.0
"""Fit: the fastest engine for a network whose estimated area a part takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..model.cost.explore import Point, engines, evaluate, excess, require_fit
from ..model.network.spec import SpikeNet
from ..model.targets import Target

AXES = {
    "banks": (1, 2, 4, 8, 16),
    "lanes": (4, 8, 16, 32, 64),
    "fire_lanes": (1, 2, 4, 8),
    "drain_banks": (1, 4),
    "word_bits": (16, 32),
    "word_fifo": (4, 16),
}
# Where none of them fits: small engines with short queues; then without counters; then with the network built in too.
SMALL = {
    "banks": (1,),
    "lanes": (1, 2, 4, 8),
    "fire_lanes": (1, 2),
    "word_bits": (16,),
    "word_fifo": (2,),
    "command_fifo": (2,),
}
LEANER: tuple[dict[str, Any], ...] = ({}, {"counters": False}, {"counters": False, "loadable": False})
MARGIN = 0.85  # of LUTs and registers: estimates err by some percent, and a full part routes badly
RISK = 1.3  # times that, where nothing fits: estimates of the smallest engines are too high; the router will know


def fit(
    net: SpikeNet, target: Target, codes: np.ndarray, *, base: EngineConfig | None = None, margin: float = MARGIN
) -> EngineConfig:
    """The EngineConfig with the fewest cycles on the image codes (one suffices) that fits within the margin.

    base: what stays as it is, such as `code`. Engines are tried from the most lanes down; the search ends where no
    smaller array could be faster even at full use. Where none fits, neither small ones without counters or with the
    network built in for good, the fastest is taken whose block RAMs fit and whose LUTs do so within RISK; place and
    route has the last word. Where block RAMs are short and the part has single-port RAMs, the weights go there
    (`EngineConfig.single_port`), in the same order. Raises OneSpikeError where nothing fits.
    """
    base = base or EngineConfig()
    tried: list[Point] = []
    best = _search(net, target, codes, base, margin, tried)
    if best is None and target.single_ports and base.loadable and not base.single_port:
        best = _search(net, target, codes, dataclasses.replace(base, single_port=True), margin, tried)
    require_fit(tried, target)
    assert best is not None
    return best.config


def _search(
    net: SpikeNet, target: Target, codes: np.ndarray, base: EngineConfig, margin: float, tried: list[Point]
) -> Point | None:
    """The fastest engine that is like `base`, or None; every one that was looked at is added to `tried`."""
    seen: list[Point] = []
    best = _fastest(net, target, codes, list(engines(base, AXES)), margin, seen)
    for switches in LEANER[: 2 if base.single_port else None]:
        if best is None:
            smaller = list(engines(dataclasses.replace(base, **switches), SMALL))
            best = _fastest(net, target, codes, smaller, margin, seen)
    best = best or _at_risk(net, target, codes, margin, seen)
    tried += seen
    return best


def _at_risk(net: SpikeNet, target: Target, codes: np.ndarray, margin: float, tried: list[Point]) -> Point | None:
    """The fastest of the small engines that only their estimated LUTs keep out, and not by much; the fullest first."""
    near = [p.config for p in tried if p.area is not None and not excess(p.area, target, margin * RISK)]
    best: Point | None = None
    for switches in LEANER:
        if best is None:
            wanted = {"counters": True, "loadable": True} | switches
            alike = [config for config in near if all(getattr(config, name) == on for name, on in wanted.items())]
            best = _fastest(net, target, codes, alike, margin * RISK, tried)
    return best


def _fastest(
    net: SpikeNet, target: Target, codes: np.ndarray, candidates: list[EngineConfig], margin: float, tried: list[Point]
) -> Point | None:
    """The fastest candidate that fits, or None; every one that was looked at is added to `tried`."""
    best: Point | None = None
    for config in sorted(candidates, key=lambda c: (-c.banks * c.lanes, -c.fire_lanes)):
        if best is not None and best.utilisation * best.lanes >= config.banks * config.lanes:
            break
        point = evaluate(net, config, target, codes, margin=margin)
        tried.append(point)
        if not point.refused and (best is None or point.costs < best.costs):
            best = point
    return best
