# SPDX-License-Identifier: Apache-2.0
"""The T-step integrate-and-fire network with the weights of a SpikeNet, T = g: the baseline of the papers' Fig. 2.

The neuron is `model/neurons/integrate.py`, in each of T steps, U = 0 before the first, with

    I = T * sum of W s' + sum of W * pixel + bias         theta = T << shift

so that the mean current is the accumulator of the SpikeNet: with constant currents the T spikes of a neuron are those
of parallel spike generation, and their number is the count. Behind the first layer currents are not constant, spikes
come early or late, and counts differ: that is what the T-step network loses. Every step runs all layers; pools act on
the spikes of one step; the last layer only integrates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import OneSpikeError
from ..neurons.integrate import integrate
from ..system import parallel
from . import golden
from .spec import INPUT, Layer, SpikeNet

CHUNK = 16  # images at a time, per thread


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """logits int64 [N, classes]; steps: per step and tensor uint32 [N, C, H, W], the spikes (summed by a sum pool)."""

    logits: np.ndarray
    steps: list[dict[str, np.ndarray]] = field(default_factory=list)


def steps_of(net: SpikeNet) -> int:
    """T: the g that all firing layers must share."""
    net.require_counts("The T-step network")
    groups = {layer.groups for layer in net.layers[:-1]}
    if len(groups) != 1:
        found = ", ".join(map(str, sorted(groups))) or "none"
        raise OneSpikeError(f"The T-step network needs one g in all firing layers, as T = g; this one has {found}.")
    return groups.pop()


def constant(layer: Layer) -> bool:
    """Whether the layer sees the image alone: the same current in every step."""
    return all(source.tensor == INPUT for source in layer.sources)


def run(net: SpikeNet, codes: np.ndarray, *, layers: bool = False) -> Stepped:
    """Logits of images, as `pixels.py` says, in the SpikeNet's unit; with `layers` all spikes of all steps."""
    codes = net.image.quantise(codes)
    starts = range(0, len(codes), CHUNK)
    parts = parallel.each(lambda start: _run(net, codes[start : start + CHUNK], layers), starts)
    return Stepped(
        logits=np.concatenate([part.logits for part in parts]),
        steps=[
            {name: np.concatenate([part.steps[step][name] for part in parts]) for name in parts[0].steps[step]}
            for step in range(len(parts[0].steps))
        ],
    )


def _run(net: SpikeNet, codes: np.ndarray, layers: bool) -> Stepped:
    total = steps_of(net)
    image = codes.transpose(0, 2, 3, 1).astype(np.float64)
    fixed = {layer.name: layer.bias + _current(net, layer, {INPUT: image}, 1) for layer in net.layers}
    membranes: dict[str, np.ndarray] = {}
    steps = []
    for _ in range(total):
        tensors: dict[str, np.ndarray] = {}
        for layer in net.layers:
            current = fixed[layer.name] + _current(net, layer, tensors, total)
            before = membranes.get(layer.name, np.zeros(1))
            if not layer.fires:
                membranes[layer.name] = before + current
                continue
            fired, membranes[layer.name] = integrate(before, current, total << layer.shift.astype(np.int64))
            spikes = fired.astype(np.float64)
            tensors[layer.name] = spikes if layer.pool is None else golden.pool(spikes, layer.pool)
        if layers:
            found = {name: values.transpose(0, 3, 1, 2).astype(np.uint32) for name, values in tensors.items()}
            steps.append(found | {INPUT: codes})
    summed = membranes[net.layers[-1].name]
    assert (summed % total == 0).all(), "T steps of T-fold currents and T biases are divisible by T"
    logits = (summed // total).astype(np.int64).transpose(0, 3, 1, 2).reshape(len(codes), -1)
    return Stepped(logits=logits, steps=steps)


def _current(net: SpikeNet, layer: Layer, tensors: dict[str, np.ndarray], times: int) -> np.ndarray | float:
    """`times` the sums [n, H, W, C] over the sources that `tensors` holds: float64, exact below 2**53."""
    found: np.ndarray | float = 0.0
    for source in layer.sources:
        if source.tensor in tensors:
            matrix = source.weights.transpose(2, 3, 1, 0).reshape(-1, layer.channels) * (times * 2.0**source.shift)
            pad = np.array(net.image.pad_code, np.float64) if source.tensor == INPUT else None
            found = found + golden.accumulate(tensors[source.tensor], source, matrix, pad)
    return found
