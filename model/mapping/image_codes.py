# SPDX-License-Identifier: Apache-2.0
"""How an engine can hold the image: in binary, as signed digits, or around zero."""

from __future__ import annotations

import numpy as np

from ..network.spec import INPUT, SpikeNet, reach, signed_bits


def image_codes(net: SpikeNet) -> list[str]:
    """How the engine can hold the image, first what `auto` takes without images.

    Pixels of more than 8 bits are held in binary. Where the image's padding is half the range of its pixels, as in
    signed images, values around zero leave it empty.
    """
    if net.image.bits > 8:
        return ["radix"]
    plain = ["signed", "radix"] if net.image.bits > 4 else ["radix"]
    around = ["twos"] if net.image.bits > 2 else []
    return around + plain if set(net.image.pad_code) == {image_offset(net, "twos")} else plain + around


def image_offset(net: SpikeNet, image_code: str) -> int:
    """What is taken from a pixel's code before it is stored."""
    return 1 << net.image.bits - 1 if image_code == "twos" else 0


def border_is_stored(net: SpikeNet, offset: int) -> bool:
    """Whether the image's padding is anything but empty, where `offset` is taken from a pixel's code."""
    return any(code != offset for code in net.image.pad_code)


def image_bits(net: SpikeNet, image_code: str) -> int:
    """Bits of the accumulators of the layers that read the image, where it is stored around zero; else 0.

    Its pixels then lie in -offset..offset - 1, and the offset's share of every sum has moved into the bias.
    """
    offset, bits = image_offset(net, image_code), 0
    for layer in net.layers if offset else ():
        if all(source.tensor != INPUT for source in layer.sources):
            continue
        low, high, bias = np.zeros(layer.channels, np.int64), np.zeros(layer.channels, np.int64), layer.bias.copy()
        for source in layer.sources:
            weights = source.weights.astype(np.int64) << source.shift
            if source.tensor == INPUT:
                far = offset * np.abs(weights).sum((1, 2, 3))
                low, high, bias = low - far, high + far, bias + offset * weights.sum((1, 2, 3))
            else:
                least, most = reach(source, *net.ranges[source.tensor])
                low, high = low + least.astype(np.int64), high + most.astype(np.int64)
        ends = [int(found) for each in (low, high, low + bias, high + bias, bias) for found in (each.min(), each.max())]
        bits = max(bits, signed_bits(min(ends), max(ends)))
    return bits
