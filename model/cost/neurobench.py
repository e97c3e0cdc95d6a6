# SPDX-License-Identifier: Apache-2.0
"""The terms of NeuroBench (J. Yik et al., "The NeuroBench framework", Nature Communications 2025) of a network.

    footprint            bytes of all weights, biases and other parameters, as stored
    connection_sparsity  weights that are zero / weights
    activation_sparsity  outputs of layers, as stored behind a pool, that are zero / outputs, over all images
    synaptic_operations  per image, of layers with weights:
        Dense            products of a dense network
        Effective_MACs   those of a value that is neither 0 nor a spike with a weight that is not 0
        Effective_ACs    the same of spikes, -1, 0 and 1: additions

The package decides between MACs and ACs by what a layer's input holds in one step. Counts up to g are MACs for it,
and OneSpike's claim is that they are spikes: so there are two views. `values`: each layer's input as it is stored.
`spikes`: each count as that many spikes, the image aside, whose pixels are values. Products outside the map are not
counted, as the package does not for padding of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass

import numpy as np

from ..network import golden
from ..network.operations import is_copy
from ..network.spec import INPUT, Source, SpikeNet
from ..network.spread import spread


@dataclass(frozen=True, kw_only=True)
class Terms:
    """NeuroBench's terms; effective_macs and effective_acs are of the view `values`, spike_macs and spike_acs of
    `spikes`. spikes_per_synapse: additions of spikes per weight that is not zero and image, as papers on spikes count.
    """

    images: int
    footprint: float
    connection_sparsity: float
    activation_sparsity: float
    dense: float
    effective_macs: float
    effective_acs: float
    spike_macs: float
    spike_acs: float

    def figures(self) -> dict[str, object]:
        """Under the standard names."""
        return {
            "images": self.images,
            "footprint": self.footprint,
            "connection_sparsity": self.connection_sparsity,
            "activation_sparsity": self.activation_sparsity,
            "synaptic_operations": {
                "Dense": self.dense,
                "Effective_MACs": self.effective_macs,
                "Effective_ACs": self.effective_acs,
            },
            "synaptic_operations_of_spikes": {
                "Dense": self.dense,
                "Effective_MACs": self.spike_macs,
                "Effective_ACs": self.spike_acs,
            },
            "spikes_per_synapse": self.spikes_per_synapse,
        }

    @property
    def spikes_per_synapse(self) -> float:
        """Spikes that a synapse carries for an image, the mean over all products of the network."""
        return (self.spike_macs + self.spike_acs) / self.dense if self.dense else 0.0


def terms(net: SpikeNet, codes: np.ndarray) -> Terms:
    """Of a network on images, as `model/network/pixels.py` says."""
    result = golden.run(net, net.image.quantise(codes), layers=True)
    assert isinstance(result, golden.Result)
    images = len(codes)
    totals = dict.fromkeys(("dense", "macs", "acs", "spike_macs", "spike_acs"), 0)
    for layer in net.layers:
        places = net.conv_shapes[layer.name][1:]
        for source in layer.sources:
            if is_copy(source):  # a residual connection has no weights
                continue
            values = np.asarray(result.codes[source.tensor]).astype(np.int64)
            totals["dense"] += synapses(np.ones_like(values), source, places, np.ones_like(source.weights))
            effective = synapses((values != 0).astype(np.int64), source, places)
            totals["acs" if np.abs(values).max(initial=0) <= 1 else "macs"] += effective
            if source.tensor == INPUT:
                totals["spike_macs"] += effective
            else:
                totals["spike_acs"] += synapses(np.abs(values), source, places)
    fired = [np.asarray(result.codes[layer.name]) for layer in net.layers if layer.fires]
    outputs, zeros = sum(f.size for f in fired), sum(int((f == 0).sum()) for f in fired)
    weights = [source.weights for layer in net.layers for source in layer.sources if not is_copy(source)]
    size, none = sum(w.size for w in weights), sum(int((w == 0).sum()) for w in weights)
    return Terms(
        images=images,
        footprint=footprint(net),
        connection_sparsity=none / size,
        activation_sparsity=zeros / outputs if outputs else 0.0,
        dense=totals["dense"] / images,
        effective_macs=totals["macs"] / images,
        effective_acs=totals["acs"] / images,
        spike_macs=totals["spike_macs"] / images,
        spike_acs=totals["spike_acs"] / images,
    )


def footprint(net: SpikeNet) -> float:
    """Bytes: weights at their width, and a bias and a shift of every output channel."""
    bits = sum(source.weights.size for layer in net.layers for source in layer.sources) * net.weight_bits
    channels = sum(layer.channels for layer in net.layers)
    return (bits + channels * (net.accumulator_bits + SHIFT_BITS)) / 8


SHIFT_BITS = 5


def synapses(
    values: np.ndarray, source: Source, places: tuple[int, ...], weights: np.ndarray | None = None
) -> int:
    """Sum of values [N, C, H, W] over the synapses that they reach: all taps inside the map whose weight is not 0.

    places: height and width of the layer's output. weights: in place of the source's, of which only zeros matter.
    """
    values = spread(values, source, 2)
    used = (source.weights if weights is None else weights) != 0
    outputs, inputs, tall, wide = used.shape
    groups = values.shape[1] // inputs
    # Per tap and input channel: output channels that it is connected with.
    fan_out = used.reshape(groups, outputs // groups, inputs, tall, wide).sum(1).reshape(groups * inputs, tall, wide)
    total = values.sum(0)  # [C, H, W]
    (top, _, left, _), (down, across), (gap_y, gap_x) = source.padding, source.stride, source.dilation
    found = 0
    for ky in range(tall):
        rows = np.arange(places[0]) * down - top + ky * gap_y
        rows = rows[(rows >= 0) & (rows < total.shape[1])]
        for kx in range(wide):
            columns = np.arange(places[1]) * across - left + kx * gap_x
            columns = columns[(columns >= 0) & (columns < total.shape[2])]
            found += int(total[:, rows][:, :, columns].sum((1, 2)) @ fan_out[:, ky, kx])
    return found


def standard(figures: Map[str, object]) -> list[tuple[str, str]]:
    """Name and value of each term, to be printed."""
    operations, spikes = figures["synaptic_operations"], figures["synaptic_operations_of_spikes"]
    assert isinstance(operations, dict) and isinstance(spikes, dict)
    return [
        ("footprint", f"{figures['footprint']:,.0f} bytes"),
        ("connection sparsity", f"{figures['connection_sparsity']:.3f}"),
        ("activation sparsity", f"{figures['activation_sparsity']:.3f}"),
        ("synaptic operations", ", ".join(f"{name} {value:,.0f}" for name, value in operations.items())),
        ("with counts as spikes", ", ".join(f"{name} {value:,.0f}" for name, value in spikes.items())),
        ("spikes per synapse", f"{figures['spikes_per_synapse']:.3f}"),
    ]
