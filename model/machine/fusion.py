# SPDX-License-Identifier: Apache-2.0
"""Fusion: sums of layers, window after window, become spikes, and membranes that a memory passes on (experimental)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...hw.engine.fusion import LATENCY, WINDOWS
from ..neurons.fusion import fusion as fired


class FusionLayer(NamedTuple):
    """neurons: of a window. same: whether the layer before has as many in as many windows of the same shape, so that
    its membranes count. leak, threshold: see `neurons.fusion`.
    """

    neurons: int
    windows: int
    same: bool
    leak: int
    threshold: int


def fusion(
    layers: Sequence[FusionLayer],
    *,
    sums: Iterable[int],
    shift: Iterable[int],
    fraction: int,
    memory: Sequence[int] = (),
) -> list[tuple[bool, int]]:
    """The spike and the membrane of every neuron, window after window, layer after layer.

    sums, shift: of every neuron in that order. memory: membranes of the layer before the first, window after window.
    Golden function of :class:`onespike.hw.engine.fusion.FusionUnit`.
    """
    coming = iter(list(zip(sums, shift, strict=True)))
    kept = np.array(list(memory), np.int64)
    found: list[tuple[bool, int]] = []
    for layer in layers:
        assert layer.neurons >= 1 and 1 <= layer.windows <= WINDOWS, f"neurons or windows out of range: {layer}"
        assert not layer.same or len(kept) == layer.neurons * layer.windows, f"there is no layer of this shape: {layer}"
        own = np.zeros(layer.neurons, np.int64)
        windows = []
        for window in range(layer.windows):
            part = np.array([next(coming) for _ in range(layer.neurons)], np.int64)
            before = kept[window * layer.neurons :][: layer.neurons] if layer.same else 0
            spikes, own = fired(
                part[:, 0], part[:, 1], own, before, leak=layer.leak, threshold=layer.threshold, fraction=fraction
            )
            windows.append(own)
            found += zip(spikes.tolist(), own.tolist(), strict=True)
        kept = np.concatenate(windows)
    assert next(coming, None) is None, "there are more sums than neurons"
    return found


def cycles(layers: Sequence[FusionLayer]) -> int:
    """From taking the first layer until another one may come, where nothing is waited for."""
    return sum(1 + layer.windows * (layer.neurons + LATENCY) for layer in layers)
