# SPDX-License-Identifier: Apache-2.0
"""How networks lie in engines that multiply."""

import dataclasses
import random
import re

import numpy as np
import pytest

from blocks import head, weights
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import Image, Layer, Source, SpikeNet


def network_of(channels: int) -> SpikeNet:
    """One channel of 4 bits, a hidden layer of counts up to 3, two classes."""
    rng = random.Random(channels)
    source = Source(tensor="input", weights=weights(rng, channels, 1, 1, 1))
    zero = np.zeros(channels, int)
    layer = Layer(name="a", sources=(source,), bias=zero, shift=zero, groups=3)
    layers = (layer, head(rng, "a", (channels, 4, 4), 2))
    return SpikeNet(image=Image(shape=(1, 4, 4), bits=4), layers=layers, weight_bits=4)


def test_lanes_that_multiply_shift_in_two_steps():
    """By `max_shift` % 4, and by multiples of four: an engine without the first step cannot shift a source by 1."""
    network = network_of(2)
    first, *rest = network.layers
    moved = dataclasses.replace(first.sources[0], weights=first.sources[0].weights // 2, shift=1)
    network = dataclasses.replace(network, layers=(dataclasses.replace(first, sources=(moved,)), *rest))
    config = EngineConfig(banks=2, lanes=4, fire_lanes=2, weight_bits=4, arithmetic="zero-skip", product_bits=8)
    fitted = fit_config(network, config)
    assert fitted.max_shift == 1
    message = (
        "The network needs shifts by 1 beside those by multiples of four, which lanes that multiply do not have where "
        "max_shift = 4; take max_shift = 5, or let the configuration be fitted to the network."
    )
    with pytest.raises(OneSpikeError, match=f"^{re.escape(message)}$"):
        map_network(network, dataclasses.replace(fitted, max_shift=4))
    assert map_network(network, dataclasses.replace(fitted, max_shift=5)).needs["max_shift"] == 1


def test_values_that_are_multiplied_fill_chunks():
    """Four bits a count of 3 at least; the last word of a pixel says how many chunks hold values."""
    network = network_of(10)
    config = EngineConfig(banks=1, lanes=2, fire_lanes=1, weight_bits=4, arithmetic="dense")
    mapping = map_network(network, fit_config(network, config))
    tensor = mapping.tensors["a"]
    assert (tensor.field, tensor.words, tensor.tail(32)) == (4, 2, 2)
    assert mapping.tensors["input"].tail(32) == 1
