# SPDX-License-Identifier: Apache-2.0
"""Spikes as each method counts them, of all neurons, before any pool.

A count n is n spikes, of g groups or T steps; a level of a table is one spike, whatever it is worth: a single phase, or
one short level. `model/network/spikes.py` counts what is read behind a pool, of counts alone, and
`model/network/operations.py` the events that an engine makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..model.convert.rounding import values_of
from ..model.network import golden, stepped
from ..model.network.spec import Layer, SpikeNet

CHUNK = 8  # images at a time: bounds the memory of gathered inputs


@dataclass(frozen=True, kw_only=True)
class Fired:
    """Per image: neurons that fire or not, all spikes of theirs, and neurons that spike at all (None: not known)."""

    neurons: int
    spikes: float
    firing: float | None

    @property
    def per_neuron(self) -> float:
        return self.spikes / max(1, self.neurons)


def count_fired(net: SpikeNet, codes: np.ndarray) -> Fired:
    """Of image codes uint8 [N, C, H, W]; of a T-step network the spikes of all steps."""
    neurons = sum(math.prod(net.conv_shapes[layer.name]) for layer in net.layers[:-1])
    if net.membranes is not None:
        found = stepped.run(net, codes)
        return Fired(neurons=neurons, spikes=sum(found.fired.values()) / len(codes), firing=None)
    spikes = firing = 0
    for start in range(0, len(codes), CHUNK):
        tensors = golden.run(net, codes[start : start + CHUNK], layers=True).codes
        for layer in net.layers[:-1]:
            values = tensors[layer.name] if layer.pool is None else before_pool(net, layer, tensors)
            fired = int(np.count_nonzero(values))
            firing += fired
            spikes += fired if layer.levels is not None else int(np.abs(values.astype(np.int64)).sum())
    return Fired(neurons=neurons, spikes=spikes / len(codes), firing=firing / len(codes))


def before_pool(net: SpikeNet, layer: Layer, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the neurons of a layer fire before its pool takes some of it: int64 [N, C, H, W]; tensors: golden codes."""
    real = {s.tensor: tensors[s.tensor].transpose(0, 2, 3, 1).astype(np.float64, order="C") for s in layer.sources}
    sums = layer.bias + np.asarray(golden.sums(layer, real, net.image.pad_code))
    return values_of(layer, sums).transpose(0, 3, 1, 2).astype(np.int64)
