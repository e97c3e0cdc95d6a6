# SPDX-License-Identifier: Apache-2.0
"""What a network of windows does for an image, and its energy as Yao et al. count it (their Table 2), mended.

    ANN   MACs * 4.6 pJ                                  SNN   MACs of the image's layer * 4.6 pJ + additions * 0.9 pJ

(FP32, 45 nm, memory not charged.) Their table adds 0.9 pJ for every addition of the ANN although 4.6 pJ is a
multiplication with its addition: 5.5 pJ a MAC, a fifth too much. And its joules are 1,000 times too large: 10**6
operations of some pJ are microjoules, not millijoules. A ratio of two rows keeps the first slip, not the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..network.windowed import WindowNet, WindowRun, summed
from ..network.windows import cut, regions
from ..neurons.fusion import TURN
from .energy import FP32_ADD, FP32_MAC

SLIP = 1000  # printed joules, of real ones


@dataclass(frozen=True, kw_only=True)
class WindowWork:
    """Per image. passes: windows, one after the other, in the one timestep. macs: of the network without windows,
    dense; window_macs: in all windows, dense, overlaps twice. first: those of `window_macs` on pixels. additions:
    spikes times the weights that they meet. updates: neurons, in all windows; each is two look-ups and two
    multiplications beside. membrane_bits: written and read.
    """

    passes: int
    macs: int
    window_macs: int
    first: int
    additions: float
    updates: int
    membrane_bits: int

    @property
    def ann(self) -> float:
        """Microjoules of the network without windows, every MAC once."""
        return self.macs * FP32_MAC * 1e-6

    @property
    def ann_as_printed(self) -> float:
        """Microjoules with every addition counted twice, as in the paper's row; it prints `SLIP` times these."""
        return self.macs * (FP32_MAC + FP32_ADD) * 1e-6

    @property
    def snn(self) -> float:
        """Microjoules of MACs on pixels and additions of spikes; as in the paper, no neurons and no memory."""
        return (self.first * FP32_MAC + self.additions * FP32_ADD) * 1e-6


def window_work(net: WindowNet, pixels: np.ndarray, run: WindowRun) -> WindowWork:
    """The work of the images that `run` comes from, the mean over them where spikes decide."""
    images = len(pixels)
    maps = np.pad(pixels, ((0, 0), (0, 0), (net.pad, net.pad), (net.pad, net.pad)))
    macs = window_macs = first = updates = bits = 0
    additions, block, before, image = 0.0, maps, None, maps
    for layer, after, sums in zip(net.layers, run.maps, run.sums, strict=True):
        if layer.opens:
            block = maps
        height, width = maps.shape[2:]
        places = regions(height, width, net.groups, layer.dilated)
        seen = sums[:, 0, 0].size
        for read, weights in ((maps, layer.weights), (block, layer.shortcut)):
            if weights is None:
                continue
            macs += height * width * weights.size
            window_macs += seen * weights.size
            if read is image:
                first += seen * weights.size
            else:
                ones = np.ones((1, *weights.shape[1:]), np.int64)
                additions += float(summed(cut(read, places), ones).sum()) * weights.shape[0] / images
        neurons = sums[:, 0].size
        updates += neurons
        reads = neurons - neurons // net.groups + (neurons if before == sums.shape else 0)
        bits += (neurons + reads) * (net.fraction + TURN)
        before, maps = sums.shape, after
    macs, window_macs = macs + net.weights.size, window_macs + net.weights.size
    additions += float(maps.sum()) * net.weights.shape[0] / images
    return WindowWork(
        passes=net.groups, macs=macs, window_macs=window_macs, first=first, additions=additions, updates=updates,
        membrane_bits=bits,
    )  # fmt: skip
