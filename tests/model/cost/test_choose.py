# SPDX-License-Identifier: Apache-2.0
"""The choice of slices: what the memories allow, and never worse than the same slices for all layers."""

import dataclasses
import random

import numpy as np
import pytest

from blocks import head, weights
from networks import grouped_network
from onespike.hw.config import EngineConfig
from onespike.model.cost.choose import choose_for, choose_mapping, fewest_slices
from onespike.model.cost.explore import count_cycles
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import golden
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


def test_as_fast_as_the_part_allows(net: SpikeNet, codes: np.ndarray) -> None:
    """Slices differ by layer where that is what fits, and are never slower than equal ones that fit."""

    def bits(config: EngineConfig) -> int:
        return config.spike_depth * config.word_bits + config.weight_depth * config.lanes * config.weight_bits

    equal = {s: fit_config(net, ENGINE, slices=s) for s in SLICES}
    cycles = {s: count_cycles(map_network(net, equal[s], slices=s), codes)[0] for s in SLICES}
    free = choose_mapping(net, ENGINE, codes)
    found = []
    for limit in sorted({bits(config) for config in [*equal.values(), free.config]}, reverse=True):
        for most in (limit, limit - 1):
            fits = [s for s in SLICES if bits(equal[s]) <= most]
            mapping = choose_mapping(net, ENGINE, codes, fits=lambda config, most=most: bits(config) <= most)
            found.append(count_cycles(mapping, codes)[0])
            if fits:
                assert bits(mapping.config) <= most and found[-1] <= min(cycles[s] for s in fits)
    assert found[0] == count_cycles(free, codes)[0] and found == sorted(found) and len(set(found)) > 2
    smallest = choose_mapping(net, ENGINE, codes, fits=lambda config: False)
    assert bits(smallest.config) <= min(map(bits, equal.values()))


def test_fewest_slices_that_fit(net: SpikeNet) -> None:
    for slices in SLICES:
        config = fit_config(net, ENGINE, slices=slices)
        needs = map_network(net, config, slices=slices).needs
        mapping = fewest_slices(net, dataclasses.replace(config, weight_depth=needs["weight_depth"]))
        assert {layer.slices for layer in mapping.layers} == {slices}
    with pytest.raises(OneSpikeError, match=r"^The network needs weight_depth"):
        fewest_slices(net, dataclasses.replace(fit_config(net, ENGINE), weight_depth=9))


def bursts() -> tuple[SpikeNet, np.ndarray]:
    """A one-channel image, most of it dark: short jobs, whose events come in bursts."""
    rng = random.Random(5)
    source = Source(tensor=INPUT, weights=weights(rng, 8, 1, 3, 3), padding=(1, 1, 1, 1))
    first = Layer(name="a", sources=(source,), bias=np.zeros(8, int), shift=np.full(8, 8), groups=8)
    network = SpikeNet(image=Image(shape=(1, 12, 16)), layers=(first, head(rng, "a", (8, 12, 16), 3)))
    images = np.zeros((2, 1, 12, 16), np.uint8)
    images[..., 3:9, 5:11] = np.random.default_rng(6).integers(0, 256, (2, 1, 6, 6))
    return network, images


def test_shadow_sets_that_pay() -> None:
    """Where banks wait for the drain, a fitted engine has as many sets as each save half a percent of the cycles."""
    network, images = bursts()
    config = EngineConfig(banks=4, lanes=8, fire_lanes=4)
    mapping = choose_mapping(network, config, images)
    cycles = {}
    for sets in (1, 2, 3, 4):
        more = dataclasses.replace(mapping, config=dataclasses.replace(mapping.config, shadows=sets))
        cycles[sets] = count_cycles(more, images)[0]
    best = mapping.config.shadows
    assert best > 1 and cycles[best] == min(cycles[s] for s in range(1, best + 1))
    assert all(cycles[s] <= 0.995 * cycles[s - 1] for s in range(2, best + 1))
    assert best == 4 or cycles[best + 1] > 0.995 * cycles[best]
    slices = {layer.name: layer.slices for layer in mapping.layers}
    fixed = fit_config(network, config, slices=slices)
    assert choose_mapping(network, fixed, images, fit=False).config.shadows == 1


def test_shadow_sets_that_do_not_pay(net: SpikeNet, codes: np.ndarray) -> None:
    """Where the drain never makes a bank wait, every layer would only end later."""
    mapping = choose_mapping(net, dataclasses.replace(ENGINE, fire_lanes=4), codes)
    assert mapping.config.shadows == 1


def test_an_engine_without_masks_is_priced_without():
    """Slices for an engine as it is are those of its own cycles; what is fixed stays where an engine is fitted, too."""
    net = grouped_network(grouped=True)
    codes = np.full((1, *net.image.shape), 9, np.uint8)
    config = EngineConfig(banks=2, lanes=8, fire_lanes=8, spike_depth=512, weight_depth=2048, segments=2)
    result = golden.run(net, net.image.quantise(codes), layers=True)
    given = choose_for(net, config, result, fit=False)
    assert not given.config.row_masks
    fixed = choose_for(net, config, result, fixed={"row_masks": False, "depthwise": False})
    assert not fixed.config.row_masks
    assert [layer.slices for layer in given.layers] == [layer.slices for layer in fixed.layers]
    masked = dataclasses.replace(config, row_masks=True, mask_depth=2048)
    assert choose_for(net, masked, result, fit=False).config == masked
