# SPDX-License-Identifier: Apache-2.0
"""Spikes and additions of a network taken literally, as the energy section of Yan, Zhou and Wong counts them.

Every spike of a neuron is added once into each neuron that reads it, so that a layer's additions are the spikes of its
sources times the places and channels that they reach. The layers on the image multiply pixels instead: once, as their
currents are the same in every step (and once in every step, if nothing keeps them). It holds for T-step networks as for
one timestep, whose counts are as many spikes, and says nothing of the engine, which adds a count in one or two events:
that is `operations.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from . import golden, stepped
from .operations import dense_macs, reads
from .spec import INPUT, SpikeNet


@dataclass(frozen=True, kw_only=True)
class LayerSpikes:
    """Of one layer, summed over all images and steps: neurons and their spikes, both behind its pool, as the next layer
    reads them (none in the last layer); additions of spikes; macs, multiplications of pixels.
    """

    name: str
    neurons: int
    spikes: int
    additions: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Spikes:
    """Counts per layer over `images` images and `steps` steps each: g where there is one timestep."""

    images: int
    steps: int
    layers: tuple[LayerSpikes, ...]

    @property
    def per_neuron(self) -> float:
        """Spikes of a hidden neuron per image."""
        hidden = self.layers[:-1]
        return sum(layer.spikes for layer in hidden) / max(1, sum(layer.neurons for layer in hidden))

    def per_image(self, name: str) -> float:
        """`neurons`, `spikes`, `additions` or `macs` of all layers, per image."""
        return sum(getattr(layer, name) for layer in self.layers) / self.images


def count_spikes(net: SpikeNet, images: np.ndarray) -> Spikes:
    """The spikes of images, as `pixels.py` says; a pool's own sums are no additions.

    OneSpikeError where values are not counts from 0, or there is no image.
    """
    net.require_counts("Counting spikes")
    codes = net.image.quantise(images)
    if not len(codes):
        raise OneSpikeError("There is nothing to count: give at least one image.")
    if net.membranes is None:
        totals, steps = golden.run(net, codes, layers=True).codes, max(layer.groups for layer in net.layers)
    else:
        totals, steps = stepped.run(net, codes, totals=True).totals, net.membranes.steps
    layers = []
    for layer in net.layers:
        _, height, width = net.conv_shapes[layer.name]
        additions = sum(
            source.fan_out * reads(totals[source.tensor], source, range(height), range(width))
            for source in layer.sources
            if source.tensor != INPUT
        )
        on_image = any(source.tensor == INPUT for source in layer.sources)
        layers.append(
            LayerSpikes(
                name=layer.name,
                neurons=len(codes) * math.prod(net.shapes[layer.name]),
                spikes=int(totals[layer.name].sum(dtype=np.int64)) if layer.fires else 0,
                additions=additions,
                macs=len(codes) * dense_macs(net, layer) if on_image else 0,
            )
        )
    return Spikes(images=len(codes), steps=steps, layers=tuple(layers))

