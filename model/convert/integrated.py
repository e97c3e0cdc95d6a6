# SPDX-License-Identifier: Apache-2.0
"""The same network over T steps: ASG, which averages them and is one timestep again, and integrate-and-fire.

Both begin with value-range encoding (Yan, Zhou and Wong): a value of up to theta, its clip level, is T spikes at most,
and n of them are worth n theta / T. The shared conversion finds weights and clip levels for g counts; a T-step network
keeps them, in integers, and T may be another number than g. Pixels are not encoded: every step sees them as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    start: Start,
    *,
    steps: int | None = None,
    groups: int | None = None,
    rounding: str = "nearest",
    membrane: str = "zero",
) -> Conversion:
    """Integrate-and-fire over T = steps, with weights and clip levels for g = groups; each is the other by default.

    membrane: before the first step, "zero", as in the papers, or "half" of the threshold. rounding: "nearest", for
    which half a spike in T steps is missing: the half membrane has it, with the zero one every step's bias carries a
    T-th; or "floor".
    """
    groups = None if groups is None else _whole(groups, "groups", MOST_GROUPS)
    steps = _whole(groups or STEPS if steps is None else steps, "steps", MOST_STEPS)
    groups = groups or min(steps, MOST_GROUPS)
    if membrane not in ("zero", "half"):
        raise OneSpikeError(f"membrane must be one of zero, half, not {membrane!r}.")
    if membrane == "half" and rounding == "floor":
        raise OneSpikeError("A membrane of half the threshold rounds to nearest; leave rounding='floor' out.")
    conversion = start.build(groups=groups, rounding=rounding)
    for layer in conversion.one_step.layers:
        if layer.low or layer.levels is not None:
            raise OneSpikeError(
                f"Layer {layer.name!r}: integrate-and-fire neurons fire counts from 0, but this layer has no ReLU, and "
                f"its values have a sign or a curve; use method='psg', or signed=False if it is a sum."
            )
    return dataclasses.replace(conversion, time=Time(steps, membrane == "half"))


@dataclass(frozen=True)
class Time:
    """How a network runs over T steps. half: its membranes begin with half the threshold, not with 0.

    relative: thresholds of neurons, float64 [channels] by layer, in terms of those that the clip levels give; missing
    layers keep these.
    """

    steps: int
    half: bool = False
    relative: Mapping[str, np.ndarray] = field(default_factory=dict)

    def apply(self, net: SpikeNet, graph: Graph, arithmetic: Arithmetic) -> SpikeNet:
        """The one-timestep network `net` of `graph` as a T-step network.

        The half count with which biases round to nearest belongs to g counts. It becomes the half membrane, or half a
        spike in T steps.
        """
        known = Membranes.of(net.layers, self.steps)
        layers, theta, start = [], dict(known.theta), dict(known.start)
        for node, layer in zip(graph.nodes, net.layers, strict=True):
            if layer.fires and not node.exact and nearest(node, arithmetic):
                half = np.where(layer.shift > 0, np.int64(1) << np.maximum(layer.shift.astype(np.int64) - 1, 0), 0)
                spread = 0 if self.half else (half * layer.groups + self.steps // 2) // self.steps
                layer = dataclasses.replace(layer, bias=layer.bias - half + spread)
                if self.half:
                    start[layer.name] = half * layer.groups
            if layer.name in self.relative:
                scaled = np.rint(theta[layer.name] * self.relative[layer.name])
                theta[layer.name] = np.maximum(scaled, 1).astype(np.int64)
            layers.append(layer)
        membranes = Membranes(steps=self.steps, theta=theta, start=start)
        return dataclasses.replace(net, layers=tuple(layers), membranes=membranes)


def _whole(value: Any, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise OneSpikeError(f"{name} must be a whole number in 1..{most}, not {value!r}.")
    return int(value)
