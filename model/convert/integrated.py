# SPDX-License-Identifier: Apache-2.0
"""The same network over T steps: ASG, which averages them and is one timestep again, and integrate-and-fire.

Both begin with value-range encoding (Yan, Zhou and Wong): a value of up to theta, its clip level, is T spikes at most,
and n of them are worth n theta / T. The shared conversion finds weights and clip levels for g counts; a T-step network
keeps them, in integers, and T may be another number than g. Pixels are not encoded: every step sees them as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..network.membranes import MOST_STEPS, Membranes
from ..network.spec import SpikeNet
from .quantise import Arithmetic, nearest

if TYPE_CHECKING:
    from .converter import Conversion
    from .methods import Start

STEPS = 8
MOST_GROUPS = 255


def asg(start: Start, *, steps: int = STEPS, rounding: str = "nearest") -> Conversion:
    """Averages over T steps, then integrates and fires: parallel spike generation with g = T groups."""
    return start.build(groups=_whole(steps, "steps", MOST_GROUPS), rounding=rounding)


def integrated(
    start: Start, *, steps: int | None = None, groups: int | None = None, rounding: str = "nearest"
) -> Conversion:
    """Integrate-and-fire over T = steps, with weights and clip levels for g = groups; each is the other by default.

    rounding: "nearest" begins with a membrane of theta / 2, which rounds the number of spikes to nearest; "floor" with
    0, as in the paper.
    """
    steps = (STEPS if groups is None else groups) if steps is None else steps
    steps = _whole(steps, "steps", MOST_STEPS)
    groups = _whole(min(steps, MOST_GROUPS) if groups is None else groups, "groups", MOST_GROUPS)
    conversion = dataclasses.replace(start.build(groups=groups, rounding=rounding), timesteps=steps)
    for layer in conversion.one_step.layers:
        if layer.low or layer.levels is not None:
            raise OneSpikeError(
                f"Layer {layer.name!r}: integrate-and-fire neurons fire counts from 0, but this layer has no ReLU, and "
                f"its values have a sign or a curve; use method='psg', or signed=False if it is a sum."
            )
    return conversion


def over_steps(
    net: SpikeNet, graph: Graph, arithmetic: Arithmetic, steps: int, relative: Mapping[str, np.ndarray]
) -> SpikeNet:
    """The one-timestep network `net` of `graph` as a T-step network.

    Where counts are rounded to nearest, the half step in every bias becomes a first membrane of theta / 2: a bias that
    counts in every step is half a count of g, whatever T is. relative: thresholds of neurons, float64 [channels] by
    layer, in terms of those that the clip levels give; missing layers keep these.
    """
    known = Membranes.of(net.layers, steps)
    layers, theta, start = [], dict(known.theta), dict(known.start)
    for node, layer in zip(graph.nodes, net.layers, strict=True):
        if layer.fires and not node.exact and nearest(node, arithmetic):
            half = np.where(layer.shift > 0, np.int64(1) << np.maximum(layer.shift.astype(np.int64) - 1, 0), 0)
            layer = dataclasses.replace(layer, bias=layer.bias - half)
            start[layer.name] = half * layer.groups
        if layer.name in relative:
            theta[layer.name] = np.maximum(np.rint(theta[layer.name] * relative[layer.name]), 1).astype(np.int64)
        layers.append(layer)
    membranes = Membranes(steps=steps, theta=theta, start=start)
    return dataclasses.replace(net, layers=tuple(layers), membranes=membranes)


def _whole(value: Any, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise OneSpikeError(f"{name} must be a whole number in 1..{most}, not {value!r}.")
    return int(value)
