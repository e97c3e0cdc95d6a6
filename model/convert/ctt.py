# SPDX-License-Identifier: Apache-2.0
"""Channel-wise threshold training (CTT, Yan, Zhou and Wong) of the T-step integrate-and-fire network.

Layer by layer, from the image on, with what the layers before it really fire over T steps, every channel's threshold
moves until its neurons spike as often as those of the ASG network, which is the one-timestep network:

    theta += -rate * (mean ASG spikes - mean IF spikes) * Tc        means per step; Tc: the threshold before training

A channel that spikes too rarely gets a lower threshold. What a spike is worth to its readers stays as it was. Counted
is what the next layer reads: behind a max pool, the windows in which any neuron spikes. Of all thresholds on the way
each channel keeps the one with the nearest mean.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OneSpikeError
from ..network import golden
from ..network.spec import INPUT, Layer
from ..network.stepped import Plan
from ..neurons.integrate import integrate
from ..system import parallel
from .integrated import integrated

if TYPE_CHECKING:
    from .converter import Conversion
    from .methods import Start

IMAGES = 64  # of the calibration data
VALUES = 1 << 25  # currents of a layer that are kept, of all images and steps
ROUNDS = 24
LEAST, MOST = 0.25, 4.0  # of the threshold before training


def ctt(
    start: Start,
    *,
    steps: int | None = None,
    groups: int | None = None,
    rounding: str = "nearest",
    membrane: str = "zero",
    threshold_rate: float = 2.0,
) -> Conversion:
    """`integrated`, with thresholds trained on the calibration images, at this rate."""
    rate = threshold_rate
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 100:
        raise OneSpikeError(f"threshold_rate must lie above 0 and up to 100, not {rate!r}.")
    if start.images is None:
        raise OneSpikeError("CTT trains thresholds on images; give calibration images, or use method='if'.")
    conversion = integrated(start, steps=steps, groups=groups, rounding=rounding, membrane=membrane)
    assert conversion.time is not None
    chosen = start.images[:: -(-len(start.images) // IMAGES)]
    trained = dataclasses.replace(conversion.time, relative=train(conversion, chosen, rate))
    return dataclasses.replace(conversion, time=trained)


@parallel.one_blas_thread()
def train(conversion: Conversion, images: np.ndarray, rate: float, rounds: int = ROUNDS) -> dict[str, np.ndarray]:
    """Thresholds float64 [channels] per layer, in terms of those of `conversion`, a T-step network without any."""
    net, asg = conversion.net, conversion.one_step
    plan = Plan(net)
    largest = max(int(np.prod(shape)) for shape in net.conv_shapes.values())
    images = images[: max(1, VALUES // (largest * plan.steps))]
    codes = asg.image.quantise(images)
    wanted = golden.run(asg, codes, layers=True).codes
    image: dict[str, np.ndarray] = {INPUT: np.ascontiguousarray(codes.transpose(0, 2, 3, 1)).astype(plan.current)}
    trains: list[dict[str, np.ndarray]] = [{} for _ in range(plan.steps)]
    last = {source.tensor: layer.name for layer in net.layers for source in layer.sources}
    found = {}
    for layer in net.layers[:-1]:
        fixed = plan.sums(layer, image)
        base = plan.bias[layer.name] if fixed is None else fixed + plan.bias[layer.name]
        currents = []
        for step in range(plan.steps):
            sums = plan.sums(layer, trains[step])
            currents.append(base if sums is None else sums + base)
        target = wanted[layer.name].mean((0, 2, 3)) / layer.groups
        copies = all(np.array_equal(source.weights, source.weights.astype(bool)) for source in layer.sources)
        if not copies:
            found[layer.name] = _thresholds(plan, layer, currents, target, rate, rounds)
        theta = plan.theta[layer.name] * found.get(layer.name, 1.0)
        for step, spikes in enumerate(_fired(plan, layer, currents, theta)):
            trains[step][layer.name] = spikes
            for tensor in [name for name in trains[step] if last.get(name) == layer.name]:
                del trains[step][tensor]
    return found


def _thresholds(
    plan: Plan, layer: Layer, currents: list[np.ndarray], target: np.ndarray, rate: float, rounds: int
) -> np.ndarray:
    """The relative thresholds [channels] of one layer, for a mean of `target` spikes per step."""
    relative = np.ones(layer.channels)
    best, least = relative, np.full(layer.channels, np.inf)
    for turn in range(rounds):
        fired = _fired(plan, layer, currents, plan.theta[layer.name] * relative)
        short = target - np.mean([spikes.mean((0, 1, 2), dtype=np.float64) for spikes in fired], axis=0)
        nearer = np.abs(short) < least
        best, least = np.where(nearer, relative, best), np.where(nearer, np.abs(short), least)
        relative = np.clip(relative - rate * (1 - turn / rounds) * short, LEAST, MOST)
    return best


def _fired(plan: Plan, layer: Layer, currents: list[np.ndarray], theta: np.ndarray) -> list[np.ndarray]:
    """The layer's spikes [n, H, W, C], pooled, of every step."""
    theta = np.maximum(np.rint(theta), 1).astype(plan.theta[layer.name].dtype)
    membrane, found = plan.start[layer.name], []
    for current in currents:
        spikes, membrane = integrate(membrane, current, theta)
        values: np.ndarray = spikes.astype(plan.current)
        found.append(values if layer.pool is None else golden.pool(values, layer.pool))
    return found
