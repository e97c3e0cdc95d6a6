# SPDX-License-Identifier: Apache-2.0
"""What the page shows beyond the terminal: values in use, the area estimate and engines that are one step away."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..model.cost.area import estimate
from ..model.cost.choose import choose_for
from ..model.cost.cycles import predict_all
from ..model.cost.explore import excess
from ..model.cost.external import ExternalMemory, with_memory
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.spec import INPUT, SpikeNet
from ..model.targets import Target
from ..parsers.options import default_fire_lanes

BINS = 16  # that values of more levels are gathered in
MOST_JOBS = 3_000  # of an image: engines for larger networks take `explore` its time, not ours


def values(net: SpikeNet, result: golden.Result) -> list[dict[str, Any]]:
    """Of every layer that fires: levels that its values may have, those that occur, and how often, after its pool.

    bins: [lowest value, highest value, share], all levels one by one where they are few.
    """
    rows = []
    for layer in net.layers[:-1]:
        low, top = net.ranges[layer.name]
        seen, number = np.unique(result.codes[layer.name], return_counts=True)
        shares = number / number.sum()
        possible = sorted({0, *layer.levels.levels}) if layer.levels and layer.pool is None else range(low, top + 1)
        if len(possible) <= BINS + 1:
            bins = [(level, level) for level in possible]
        else:  # none is its own
            edges = np.unique(np.linspace(low, top + 1, BINS + 1).astype(int))
            bins = [(0, 0)] if low >= 0 else []
            bins += [(max(int(a), int(low >= 0)), int(b) - 1) for a, b in itertools.pairwise(edges)]
        rows.append(
            {
                "name": layer.name,
                "levels": len(possible),
                "used": len(seen),
                "highest": int(seen[-1]),
                "top": top,
                "bins": [[a, b, float(shares[(seen >= a) & (seen <= b)].sum())] for a, b in bins],
            }
        )
    return rows


def area(config: EngineConfig, target: Target) -> dict[str, Any]:
    """The estimate of an engine on a part, or None and why there is none; and what the part has."""
    found: dict[str, Any] = {
        "target": target.name,
        "estimate": None,
        "why": "",
        "refused": "",
        "available": available(target),
    }
    try:
        area = estimate(config, target)
    except OneSpikeError as error:
        return found | {"why": str(error)}
    found["refused"] = excess(area, target)
    return found | {"estimate": {name: getattr(area, name) for name in ("luts", "flip_flops", "block_rams")}}


def available(target: Target) -> dict[str, int]:
    """What a part has."""
    return {name: getattr(target, name) for name in ("luts", "flip_flops", "block_rams")}


def alternatives(mapping: Mapping, target: Target, codes: np.ndarray, memory: ExternalMemory) -> list[dict[str, Any]]:
    """This engine, and those with half and twice the banks and lanes, on the first of the image codes; cycles are
    exact, area is an estimate. refused: why part or network do not take an engine. Empty for large
    networks, and where no area is estimated."""
    if mapping.config.streams_weights or sum(layer.jobs for layer in mapping.layers) > MOST_JOBS:
        return []
    net = mapping.net
    seen = golden.run(net, codes[:1], layers=True, trains=mapping.config.code == "psg")
    rows = [_row(mapping, seen, target, memory) | {"this": True}]
    for config in _steps(mapping.config):
        row = {"banks": config.banks, "lanes": config.lanes, "fire_lanes": config.fire_lanes, "this": False}
        try:
            found = choose_for(net, config, seen, memory=memory, more_shadows=False)
        except OneSpikeError as error:
            rows.append(row | {"cycles": None, "area": None, "refused": str(error)})
        else:
            rows.append(_row(found, seen, target, memory) | {"this": False})
    return sorted(rows, key=lambda row: (row["banks"] * row["lanes"], row["banks"]))


def _steps(config: EngineConfig) -> Iterator[EngineConfig]:
    for banks, lanes in (
        (config.banks // 2, config.lanes), (config.banks, config.lanes // 2), (2 * config.banks, config.lanes),
        (config.banks, 2 * config.lanes),
    ):  # fmt: skip
        if 1 <= banks <= 64 and 1 <= lanes <= 256:
            fire = config.fire_lanes if lanes % config.fire_lanes == 0 else default_fire_lanes(lanes)
            # A depthwise engine needs its fire lanes.
            depthwise = config.depthwise and fire % config.word_chunks == 0
            yield dataclasses.replace(config, banks=banks, lanes=lanes, fire_lanes=fire, depthwise=depthwise,
                                      drain_banks=min(config.drain_banks, banks))  # fmt: skip


def _row(mapping: Mapping, seen: golden.Result, target: Target, memory: ExternalMemory) -> dict[str, Any]:
    (image,) = with_memory(mapping, predict_all(mapping, seen), memory)
    config = mapping.config
    found = estimate(config, target)
    return {
        "banks": config.banks,
        "lanes": config.lanes,
        "fire_lanes": config.fire_lanes,
        "cycles": sum(layer.total for layer in image),
        "area": {name: getattr(found, name) for name in ("luts", "flip_flops", "block_rams")},
        "refused": excess(found, target),
    }


def first_image(net: SpikeNet, codes: np.ndarray, result: golden.Result, labels: np.ndarray) -> dict[str, Any]:
    """What the network says of the first image, and what it is, where labels are classes."""
    scores = result.logits[0]
    found: dict[str, Any] = {"number": 0, "shape": list(net.image.shape), "mean_code": float(codes[0].mean())}
    if net.output[1:] == (1, 1) and net.output[0] > 1:
        found |= {"class": int(scores.argmax()), "logits": [int(score) for score in scores]}
        if labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels):
            found["label"] = int(labels[0])
    return found


def shades(net: SpikeNet, result: golden.Result, name: str) -> np.ndarray:
    """One image's values of a tensor as shares of its top, float64 [channels, pixels] in -1..1."""
    low, top = net.ranges[name] if name != INPUT else (0, net.top_code[INPUT])
    array: np.ndarray = result.codes[name][0].astype(float)
    return array.reshape(len(array), -1) / max(top, -low, 1)
