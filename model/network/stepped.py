# SPDX-License-Identifier: Apache-2.0
"""The T-step integrate-and-fire network with the weights of a SpikeNet: the baseline of the papers' Fig. 2.

The neuron is `model/neurons/integrate.py`, in each of T steps. A spike of a layer is worth its g counts, the largest
value that the one-timestep network knows, so that the mean of T steps spans the same real numbers for any T:

    I = sum over sources of g_source W s' + sum of W * pixel + bias         fires, and is reset by, theta = g << shift

The image is not made of spikes: every step sees the pixels themselves. `Membranes` has T, and thetas and first
membranes that are not these, such as theta / 2, which rounds to nearest. A network without them runs as many steps as
it has groups, from U = 0: with constant currents the T spikes of a neuron are then those of parallel spike generation,
and their number is the count. Behind the first layer currents are not constant, spikes come early or late, and counts
differ: that is what the T-step network loses. Every step runs all layers; pools act on the spikes of one step; the last
layer only integrates, and its logits are the sums of all steps, T times those of one timestep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import OneSpikeError
from ..neurons.integrate import integrate
from ..system import parallel
from . import golden
from .membranes import Membranes
from .spec import INPUT, Layer, SpikeNet

CHUNK = 16  # images at a time, per thread


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """logits int64 [N, classes]; steps: per step and tensor uint32 [N, C, H, W], the spikes (summed by a sum pool).

    totals: the same, summed over all steps. fired: the spikes of each layer's neurons, before its pool, in all steps
    and images.
    """

    logits: np.ndarray
    steps: list[dict[str, np.ndarray]] = field(default_factory=list)
    totals: dict[str, np.ndarray] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)


def steps_of(net: SpikeNet) -> int:
    """T: of the membranes, or the g that all firing layers must share."""
    if net.membranes is not None:
        return net.membranes.steps
    net.require_counts("The T-step network")
    groups = {layer.groups for layer in net.layers[:-1]}
    if len(groups) != 1:
        found = ", ".join(map(str, sorted(groups))) or "none"
        raise OneSpikeError(f"The T-step network needs one g in all firing layers, as T = g; this one has {found}.")
    return groups.pop()


def constant(layer: Layer) -> bool:
    """Whether the layer sees the image alone: the same current in every step."""
    return all(source.tensor == INPUT for source in layer.sources)


def golden_of(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: bool = False,
    refused: bool = False,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray | golden.Result:
    """Logits int64 [N, classes], sums over all steps; with `layers` a `Result` whose codes are numbers of spikes.

    Weights, g and the real logits are those of one timestep: logits * layers[-1].step / T. refused: something was asked
    for that only one timestep has.
    """
    if refused:
        raise OneSpikeError(
            "A network of T steps has no spike trains of one timestep and none of its operations; count_spikes of "
            "model/network/spikes.py counts its spikes."
        )
    found = run(net, codes, totals=layers, progress=progress)
    return golden.Result(logits=found.logits, codes=found.totals) if layers else found.logits


def run(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: bool = False,
    totals: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Stepped:
    """Logits of images, as `pixels.py` says; with `layers` all spikes of all steps, with `totals` their sums.

    Logits are in the SpikeNet's unit, divided by T, if it has no membranes of its own.
    """
    codes = net.image.quantise(codes)
    plan = Plan(net)
    starts = range(0, len(codes), CHUNK)

    def part(start: int) -> Stepped:
        return _run(plan, codes[start : start + CHUNK], layers, totals)

    done = None if progress is None else lambda stepped: progress(len(stepped.logits))
    parts = parallel.each(part, starts, done)
    logits = np.concatenate([part.logits for part in parts]) if parts else np.empty((0, net.classes), np.int64)
    if net.membranes is None:
        assert (logits % plan.steps == 0).all(), "T steps of T-fold currents and T biases are divisible by T"
        logits = logits // plan.steps
    return Stepped(
        logits=logits,
        steps=[
            {name: np.concatenate([part.steps[step][name] for part in parts]) for name in parts[0].steps[step]}
            for step in range(len(parts[0].steps) if parts else 0)
        ],
        totals={
            name: np.concatenate([part.totals[name] for part in parts]) for name in (parts[0].totals if parts else ())
        },
        fired={name: sum(part.fired[name] for part in parts) for name in (parts[0].fired if parts else ())},
    )


class Plan:
    """What is prepared once: matrices of g W, and float types that hold every current and every membrane exactly."""

    def __init__(self, net: SpikeNet) -> None:
        self.net, self.steps = net, steps_of(net)
        known = net.membranes or Membranes.of(net.layers, self.steps)
        largest = {layer.name: max(map(abs, net.accumulator_range(layer))) for layer in net.layers}
        self.current = _holds(max(largest.values()))
        worth = {INPUT: 1} | {layer.name: layer.groups for layer in net.layers}
        self.matrices: dict[tuple[str, int], np.ndarray] = {}
        self.bias: dict[str, np.ndarray] = {}
        self.theta: dict[str, np.ndarray] = {}
        self.start: dict[str, np.ndarray] = {}
        self.pad: np.ndarray = np.array(net.image.pad_code, self.current)
        for layer in net.layers:
            for index, source in enumerate(layer.sources):
                self.matrices[layer.name, index] = golden.matrix_of(source, self.current, worth[source.tensor])
            self.bias[layer.name] = layer.bias.astype(self.current)
            if layer.fires:
                theta, start = known.theta[layer.name], known.start[layer.name]
                # Beyond T currents, a first membrane and one reset it never gets.
                reach = self.steps * largest[layer.name] + int(np.abs(start).max() + theta.max())
                self.theta[layer.name] = theta.astype(_holds(reach))
                self.start[layer.name] = start.astype(_holds(reach))

    def sums(self, layer: Layer, tensors: dict[str, np.ndarray]) -> np.ndarray | None:
        """The currents [n, H, W, C] of those sources that `tensors` holds, without the bias; None for none."""
        total: np.ndarray | None = None
        for index, source in enumerate(layer.sources):
            if source.tensor in tensors:
                pad = self.pad if source.tensor == INPUT else None
                part = golden.accumulate(tensors[source.tensor], source, self.matrices[layer.name, index], pad)
                total = part if total is None else np.add(total, part, out=total)
        return total


def _holds(largest: int) -> type:
    """The float type that is exact up to `largest`; OneSpikeError beyond 53 bits."""
    if largest >= 1 << 53:
        raise OneSpikeError(
            f"Membranes of up to {largest:,} need more than the 53 bits that are summed exactly; use fewer steps."
        )
    return np.float32 if largest < 1 << 24 else np.float64


def _run(plan: Plan, codes: np.ndarray, layers: bool, totals: bool) -> Stepped:
    net = plan.net
    image: dict[str, np.ndarray] = {INPUT: np.ascontiguousarray(codes.transpose(0, 2, 3, 1)).astype(plan.current)}
    fixed = {}
    for layer in net.layers:
        sums = plan.sums(layer, image)
        fixed[layer.name] = plan.bias[layer.name] if sums is None else sums + plan.bias[layer.name]
    membranes: dict[str, np.ndarray] = {}
    steps, summed, fired = [], {INPUT: codes}, dict.fromkeys((layer.name for layer in net.layers[:-1]), 0)
    logits: np.ndarray | float = 0.0
    for _ in range(plan.steps):
        tensors: dict[str, np.ndarray] = {}
        for layer in net.layers:
            sums = plan.sums(layer, tensors)
            current = fixed[layer.name] if sums is None else np.add(sums, fixed[layer.name], out=sums)
            if not layer.fires:
                logits = logits + current.astype(np.float64)
                continue
            before = membranes.get(layer.name, plan.start[layer.name])
            spikes, membranes[layer.name] = integrate(before, current, plan.theta[layer.name])
            fired[layer.name] += int(np.count_nonzero(spikes))
            values: np.ndarray = spikes.astype(plan.current)
            tensors[layer.name] = values if layer.pool is None else golden.pool(values, layer.pool)
        if layers or totals:
            found = {name: values.transpose(0, 3, 1, 2).astype(np.uint32) for name, values in tensors.items()}
        if layers:
            steps.append(found | {INPUT: codes})
        if totals:
            summed = {name: values + summed.get(name, np.uint32(0)) for name, values in found.items()} | {INPUT: codes}
    flat = np.asarray(logits).astype(np.int64).transpose(0, 3, 1, 2).reshape(len(codes), -1)
    return Stepped(logits=flat, steps=steps, totals=summed if totals else {}, fired=fired)
