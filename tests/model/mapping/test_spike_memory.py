# SPDX-License-Identifier: Apache-2.0
"""Spike memories that are too small: what lives at once, how large it is, and slices that need less."""

import dataclasses
import re

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def residual(channels: int) -> SpikeNet:
    """Two convolutions and a shortcut around the second, on 8x8, and a linear layer behind them."""

    def layer(name: str, outputs: int, *tensors: tuple[str, int, int], groups: int = 15) -> Layer:
        sources = tuple(
            Source(tensor=tensor, weights=np.ones((outputs, inputs, size, size), int), padding=(size % 8 // 2,) * 4)
            for tensor, inputs, size in tensors
        )
        shift = np.full(outputs, 4 if groups else 0)
        return Layer(name=name, sources=sources, bias=np.zeros(outputs, int), shift=shift, groups=groups)

    layers = (
        layer("a", channels, (INPUT, 1, 3)),
        layer("b", channels, ("a", channels, 3)),
        layer("c", channels, ("b", channels, 3), ("a", channels, 1)),
        layer("d", 10, ("c", channels, 8), groups=0),
    )
    return SpikeNet(image=Image(shape=(1, 8, 8)), layers=layers)


CONFIG = EngineConfig(banks=4, lanes=8)


def refused(net: SpikeNet, depth: int, slices: int = 1) -> str:
    config = fit_config(net, CONFIG, slices=slices)
    with pytest.raises(OneSpikeError) as error:
        map_network(net, dataclasses.replace(config, spike_depth=depth), slices=slices)
    return str(error.value)


def taken(net: SpikeNet, depth: int, slices: int) -> bool:
    config = dataclasses.replace(fit_config(net, CONFIG, slices=slices), spike_depth=depth)
    try:
        map_network(net, config, slices=slices)
    except OneSpikeError as error:
        assert "spike_depth" in str(error)
        return False
    return True


def test_slices_that_are_enough():
    """32 channels are four words a pixel with one slice, two with two; the image has two buffers."""
    net = residual(32)
    assert refused(net, 512) == (
        "The network needs spike_depth = 896, but the engine has 512; raise spike_depth or let the configuration be "
        "fitted to the network. While layer 'c' computes, 'a' 32x8x8 4.0 KiB, 'b' 32x8x8 4.0 KiB, 'c' 32x8x8 4.0 KiB, "
        "'input' 1x8x8 2.0 KiB live at once; all banks together need 14 KiB and have 8.0 KiB. With slices = 2 in every "
        "layer it is enough."
    )
    assert taken(net, 896, 1) and not taken(net, 895, 1) and taken(net, 512, 2) and not taken(net, 511, 2)
    assert refused(net, 511).endswith("With slices = 4 in every layer it is enough.")


def test_slices_that_only_need_less():
    net = residual(32)
    text = refused(net, 100)
    found = re.search(r"Most of that is saved by slices = 4 in every layer, which need spike_depth = (\d+) \(", text)
    assert found, text
    assert taken(net, int(found[1]), 4) and not taken(net, int(found[1]) - 1, 4)


def test_no_slices_need_less():
    """Eight channels are one word whatever the slices are."""
    assert refused(residual(8), 20).endswith("No other slices need less; counts of fewer groups or smaller images do.")
