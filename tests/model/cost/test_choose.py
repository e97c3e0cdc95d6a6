# SPDX-License-Identifier: Apache-2.0
"""The choice of slices: what the memories allow, and never worse than the same slices for all layers."""

import dataclasses
import random

import numpy as np
import pytest

from blocks import head, weights
from onespike.hw.config import EngineConfig
from onespike.model.cost.choose import choose_mapping, fewest_slices
from onespike.model.cost.explore import count_cycles
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet

ENGINE = EngineConfig(banks=4, lanes=12, fire_lanes=2, word_bits=16)
SLICES = (1, 2, 4)


@pytest.fixture(scope="module")
def net() -> SpikeNet:
    rng = random.Random(3)
    layers, inputs, source = [], 4, INPUT
    for name, channels in (("a", 8), ("b", 8), ("c", 12)):
        kernel = Source(tensor=source, weights=weights(rng, channels, inputs, 3, 3), padding=(1, 1, 1, 1))
        bias, shift = np.zeros(channels, int), np.full(channels, 8)
        layers.append(Layer(name=name, sources=(kernel,), bias=bias, shift=shift, groups=8))
        inputs, source = channels, name
    return SpikeNet(image=Image(shape=(4, 5, 5)), layers=(*layers, head(rng, source, (12, 5, 5), 3)))


@pytest.fixture(scope="module")
def codes(net: SpikeNet) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (2, *net.image.shape), np.uint8)


def test_as_fast_as_the_weight_memory_allows(net: SpikeNet, codes: np.ndarray) -> None:
    roomy = {s: fit_config(net, ENGINE, slices=s) for s in SLICES}
    needs = {s: map_network(net, roomy[s], slices=s).needs["weight_depth"] for s in SLICES}
    assert needs[4] < needs[2] < needs[1]
    spikes = max(config.spike_depth for config in roomy.values())
    largest = dataclasses.replace(roomy[1], spike_depth=spikes, walk_depth=512, program_depth=256)
    free = count_cycles(choose_mapping(net, largest, codes, fit=False), codes)[0]
    found = []
    for depth in range(needs[4], needs[1] + 1, 10):
        config = dataclasses.replace(largest, weight_depth=depth)
        mapping = choose_mapping(net, config, codes, fit=False)
        assert mapping.config == config and mapping.needs["weight_depth"] <= depth
        found.append(count_cycles(mapping, codes)[0])
        uniform = [count_cycles(map_network(net, config, slices=s), codes)[0] for s in SLICES if needs[s] <= depth]
        assert free <= found[-1] <= min(uniform)
    assert len(set(found)) > 2, "no mixture of slices was ever taken"
    with pytest.raises(OneSpikeError, match=f"^The network needs weight_depth = {needs[1]}, but the engine has "):
        choose_mapping(net, dataclasses.replace(largest, weight_depth=9), codes, fit=False)


def test_fewest_slices_that_fit(net: SpikeNet) -> None:
    for slices in SLICES:
        config = fit_config(net, ENGINE, slices=slices)
        needs = map_network(net, config, slices=slices).needs
        mapping = fewest_slices(net, dataclasses.replace(config, weight_depth=needs["weight_depth"]))
        assert {layer.slices for layer in mapping.layers} == {slices}
    with pytest.raises(OneSpikeError, match=r"^The network needs weight_depth"):
        fewest_slices(net, dataclasses.replace(fit_config(net, ENGINE), weight_depth=9))
