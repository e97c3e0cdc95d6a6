# SPDX-License-Identifier: Apache-2.0
"""Fit: the fastest engine for a network whose estimated area a part takes."""

from __future__ import annotations

import numpy as np

from ..hw.config import EngineConfig
from ..model.explore import Point, engines, evaluate, require_fit
from ..model.spec import SpikeNet
from .targets import Target

AXES = {
    "banks": (1, 2, 4, 8, 16),
    "lanes": (4, 8, 16, 32, 64),
    "fire_lanes": (1, 2, 4, 8),
    "word_bits": (16, 32),
    "word_fifo": (4, 16),
}
MARGIN = 0.85  # of LUTs and registers: estimates err by some percent, and a full part routes badly


def fit(
    net: SpikeNet, target: Target, codes: np.ndarray, *, base: EngineConfig | None = None, margin: float = MARGIN
) -> EngineConfig:
    """The EngineConfig with the fewest cycles on the image codes (one suffices) that fits within the margin.

    base: what stays as it is, such as `loadable` and `code`. Engines are tried from the most lanes down; the search
    ends where no smaller array could be faster even at full use. Raises OneSpikeError where nothing fits.
    """
    tried: list[Point] = []
    best: Point | None = None
    candidates = sorted(engines(base or EngineConfig(), AXES), key=lambda c: (-c.banks * c.lanes, -c.fire_lanes))
    for config in candidates:
        if best is not None and best.utilisation * best.lanes >= config.banks * config.lanes:
            break
        point = evaluate(net, config, target, codes, margin=margin)
        tried.append(point)
        if not point.refused and (best is None or point.costs < best.costs):
            best = point
    require_fit(tried, target)
    assert best is not None
    return best.config
