# SPDX-License-Identifier: Apache-2.0
"""The streaming form of a phase-coded network: neurons decide before all of their inputs have arrived.

In step t a layer has the inputs of phases 1..t; it tests phase q = t - w and fires for good in the first phase whose
threshold its sum reaches (`model/neurons/phase.py`). A short wait w makes late and false spikes, w = T none: that is
the parallel form, which the hardware computes. Pixels are binary numbers and there from the first step; maximum pools
pass the earliest spike on, sum pools add what has arrived; shortcuts are delayed until their phases are in step; the
last layer only integrates. A reference model: what it costs accuracy to decide early, counted spike by spike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..neurons.phase import pipelined, streamed
from ..system import parallel
from . import golden
from .spec import INPUT, Layer, SpikeNet

CHUNK = 2  # images at a time, per thread: the sums of all T steps are held


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """logits int64 [N, classes]; per firing layer how many neurons spiked late (or never, though they should), falsely
    (too early, or though they should be silent), and how many there are, over all images: of the phase that the sum of
    the same inputs, once complete, calls for.
    """

    phases: int
    wait: int
    logits: np.ndarray
    late: dict[str, int]
    false: dict[str, int]
    neurons: dict[str, int]

    def latency(self, images: int = 1) -> int:
        """Phases until so many images have left a pipeline of all layers: N (T + w) + w (L - 1)."""
        return pipelined(images, self.phases, self.wait, len(self.neurons) + 1)


def phases_of(net: SpikeNet) -> int:
    """T: the phases of the one table that all firing layers must have; OneSpikeError where they have not."""
    for layer in net.layers[:-1]:
        if layer.levels is None or layer.low < 0:
            raise OneSpikeError(
                f"The streaming form needs a phase for every value, but layer {layer.name!r} fires counts; convert "
                f"with method='phase' and signed=False."
            )
    found = {len(layer.levels.levels) - 1 for layer in net.layers if layer.levels is not None}
    if len(found) != 1:
        raise OneSpikeError(
            f"The streaming form needs one number of phases in all layers, not {sorted(found) or 'none'}; convert with "
            f"method='phase'."
        )
    return found.pop()


def check_wait(wait: int, phases: int) -> None:
    """OneSpikeError for a wait that is not 0..T phases."""
    if isinstance(wait, bool) or not isinstance(wait, int | np.integer) or not 0 <= wait <= phases:
        raise OneSpikeError(f"The wait must be a whole number of phases in 0..{phases}, not {wait!r}.")


def run(net: SpikeNet, images: np.ndarray, wait: int) -> Streaming:
    """The network on images, as `pixels.py` says, with a wait of 0..T phases in every layer.

    OneSpikeError for a network whose values are no phases, or a wait out of range.
    """
    total = phases_of(net)
    check_wait(wait, total)
    codes = net.image.quantise(images)
    starts = range(0, len(codes), CHUNK)
    parts = parallel.each(lambda start: _run(net, codes[start : start + CHUNK], total, int(wait)), starts)
    names = [layer.name for layer in net.layers[:-1]]
    late, false, neurons = ({name: sum(part[1][name][kind] for part in parts) for name in names} for kind in range(3))
    logits = np.concatenate([part[0] for part in parts])
    return Streaming(phases=total, wait=int(wait), logits=logits, late=late, false=false, neurons=neurons)


def _run(net: SpikeNet, codes: np.ndarray, total: int, wait: int) -> tuple[np.ndarray, dict[str, tuple[int, int, int]]]:
    """Logits of a chunk, and late spikes, false spikes and neurons of every layer."""
    real = np.float32 if net.accumulator_bits <= 24 else np.float64  # exact, see golden.py
    image = codes.transpose(0, 2, 3, 1).astype(real)
    arrivals: dict[str, np.ndarray] = {}  # [T * n, H, W, C]: what arrives in each step
    counted: dict[str, tuple[int, int, int]] = {}
    last = {source.tensor: layer.name for layer in net.layers for source in layer.sources}
    for layer in net.layers:
        # Sums are linear: they grow by what arrives.
        still = layer.bias.astype(real) + np.asarray(golden.sums(layer, {INPUT: image}, net.image.pad_code), real)
        growing = golden.sums(layer, arrivals, net.image.pad_code)
        if np.ndim(growing):
            grown = np.cumsum(np.reshape(growing, (total, len(codes), *np.shape(growing)[1:])), 0, dtype=real) + still
        else:
            grown = np.repeat(still[None], total, 0)
        if not layer.fires:
            return grown[-1].astype(np.int64).transpose(0, 3, 1, 2).reshape(len(codes), -1), counted
        assert layer.levels is not None
        whole = np.int32 if real is np.float32 else np.int64
        arrived = np.floor(np.ldexp(grown, -layer.shift.astype(np.int32))).astype(whole)
        found = streamed(arrived, layer.levels.thresholds[::-1], wait)
        arrivals[layer.name] = _arrivals(layer, found.phases, total, real)
        for name in [name for name in arrivals if last.get(name) == layer.name]:
            del arrivals[name]
        counted[layer.name] = int(found.late.sum()), int(found.false.sum()), found.phases.size
    raise AssertionError("the last layer does not fire")


def _arrivals(layer: Layer, phases: np.ndarray, total: int, real: type) -> np.ndarray:
    """What readers get in each step [T * n, H, W, C], pooled, of neurons that fire in `phases` [n, H', W', C].

    A maximum pool passes on what its maximum grows by: the earliest spike, which is the largest.
    """
    assert layer.levels is not None
    steps = np.zeros((total, *phases.shape), real)
    for step, level in enumerate(layer.levels.levels[:0:-1]):
        steps[step][phases == step + 1] = level
    if layer.pool is None:
        return steps.reshape(-1, *phases.shape[1:])
    if layer.pool.kind == "max":
        steps = np.maximum.accumulate(steps)
    pooled = golden.pool(steps.reshape(-1, *phases.shape[1:]), layer.pool)
    if layer.pool.kind == "max":
        pooled = pooled.reshape(total, len(phases), *pooled.shape[1:])
        pooled = np.diff(pooled, axis=0, prepend=0).reshape(-1, *pooled.shape[2:])
    return pooled
