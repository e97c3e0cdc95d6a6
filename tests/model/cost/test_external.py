# SPDX-License-Identifier: Apache-2.0
"""Engines whose weights are streamed from external memory: bit-exact for any latency, to the cycle for a steady one."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from networks import random_codes, random_network
from onespike.hw.config import EngineConfig
from onespike.hw.program import layer_bits
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.external import ExternalMemory, _Stream, beat_cycles, fetch_cycles
from onespike.model.errors import OneSpikeError
from onespike.model.machine.axi_read import Burst
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import map_network, round_depth
from onespike.model.mapping.mapping import Mapping
from onespike.model.mapping.prefetch import block_beats, blocks
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.sim.engine import simulate
from paths import BUILD
from sparse_networks import sparse_network

# Weight memories far smaller than the networks: each is cut into many parts.
SMALL = EngineConfig(
    banks=2, lanes=4, fire_lanes=4, acc_bits=28, max_shift=12, max_groups=20, max_code=255, segments=3,
    spike_depth=2048, weight_depth=256, channel_depth=256, walk_depth=512, program_depth=4096, pool_depth=64,
    class_depth=32, external_weights=64,
)  # fmt: skip
ENGINES = {
    "2x4, 64 bits": SMALL,
    "1x4, 32 bits, maps": dataclasses.replace(
        SMALL, banks=1, external_weights=32, burst=4, bursts=2, word_bits=16, maps=True, class_depth=512,
        channel_depth=512, program_depth=12_288,  # of more than 256 parts
    ),
    "2x4, masks": dataclasses.replace(SMALL, word_bits=16, row_masks=True, depthwise=True, mask_depth=8192),
}
LARGE = {
    "4x16, 64 bits": dataclasses.replace(SMALL, banks=4, lanes=16, fire_lanes=8, weight_depth=64),
    "8x8, 128 bits": dataclasses.replace(
        SMALL, banks=8, lanes=8, external_weights=128, weight_depth=96, loadable=False
    ),
}


def drawn(config: EngineConfig, count: int, first: int = 0) -> Iterator[tuple[int, Mapping]]:
    """Random networks that are cut into parts, each with a random number of slices."""
    for seed in range(first, first + 400):
        rng = np.random.default_rng(seed)
        if config.row_masks:
            net = sparse_network(rng)
        else:
            most = config.max_code if config.word_bits == 32 else 16
            net = random_network(rng, (1, 3, 8, 15), most, maps=config.maps)
        slices = int(2 ** rng.integers(0, config.banks.bit_length()))
        try:
            mapping = map_network(net, config, slices=slices)
        except OneSpikeError as error:
            known = ("too large", "lies wholly in the padding", "smallest part")
            assert any(words in str(error) for words in known), f"seed {seed}: {error}"
            continue
        if len(mapping.layers) > 2 * len(net.layers):
            count -= 1
            yield seed, mapping
        if not count:
            return
    raise AssertionError("too few networks are cut into parts")


def check_random_networks(config: EngineConfig, count: int) -> None:
    """Every other memory is steady: then the cycles in which layers wait for their weights are predicted, too."""
    stalled = 0
    for number, (seed, mapping) in enumerate(drawn(config, count)):
        rng = np.random.default_rng(seed)
        memory = ExternalMemory(
            latency=int(rng.integers(2, 90)), interval=int(rng.integers(1, 4)), varied=number % 2 == 1
        )
        result = simulate(
            mapping, random_codes(rng, mapping.net, 2), BUILD, memory=memory, seed=seed,
            through_load=config.loadable and number % 4 < 2,
        )  # fmt: skip
        assert result.mismatches == 0 and result.cycle_mismatches == 0, f"seed {seed}"
        for layer in (layer for image in result.predicted for layer in image):
            causes = layer.lane_cycles(config.banks, config.lanes)
            assert sum(causes.values()) == config.banks * config.lanes * layer.total, layer.name
        stalled += result.counters[:, :, 4].sum()
    assert stalled, "no layer ever waited for its weights"


@pytest.mark.parametrize("engine", ENGINES)
def test_random_networks(engine: str) -> None:
    check_random_networks(ENGINES[engine], 6)


@pytest.mark.slow
@pytest.mark.parametrize("engine", LARGE)
def test_random_networks_on_larger_engines(engine: str) -> None:
    check_random_networks(LARGE[engine], 12)


def test_cocotbext_axi() -> None:
    """Weights several times larger than the chip's memory, from cocotbext-axi's RAM, whose channels pause at random."""
    seed, mapping = next(drawn(SMALL, 1, first=40))
    images = memory_images(mapping)
    size = len(images.external) * SMALL.external_weights
    assert size > 3 * SMALL.banks * SMALL.weight_depth * SMALL.lanes * SMALL.weight_bits
    codes = random_codes(np.random.default_rng(seed), mapping.net, 1)
    result = simulate(mapping, codes, BUILD, axi_ram=True, seed=seed)
    assert result.mismatches == 0 and result.cycle_mismatches == 0
    assert result.counters[:, :, 4].sum(), "no layer ever waited for its weights"


def test_images_back_to_back() -> None:
    """The prefetch goes on from one image to the next: the prediction holds in the steady state."""
    seed, mapping = next(drawn(SMALL, 1, first=20))
    codes = np.repeat(random_codes(np.random.default_rng(seed), mapping.net, 1), 6, 0)
    result = simulate(mapping, codes, BUILD, serial=False, memory=ExternalMemory(latency=30, interval=2))
    predicted = [sum(layer.total for layer in image) for image in result.predicted]
    assert np.diff(result.finished).tolist() == predicted[1:]
    assert predicted[-1] > sum(layer.cycles for layer in result.predicted[-1]), "no layer waits"


@pytest.mark.parametrize("burst, bursts, latency, interval", [
    (4, 2, 2, 1), (4, 2, 40, 1), (16, 4, 40, 1), (16, 4, 300, 3), (4, 2, 3, 2), (8, 2, 7, 2),
])  # fmt: skip
def test_beats_of_a_long_transfer(burst: int, bursts: int, latency: int, interval: int) -> None:
    """What is said of it in cycles per beat is what the beats' own times, which simulation confirms, settle to."""
    config = dataclasses.replace(SMALL, burst=burst, bursts=bursts)
    memory = ExternalMemory(latency=latency, interval=interval)
    _, mapping = next(drawn(SMALL, 1))
    mapping = dataclasses.replace(mapping, config=config)
    stream = _Stream(mapping, memory)
    stream.bursts = itertools.repeat(Burst(0, burst))
    for _ in range(40 * burst * bursts):
        stream._take(1)
    settled, period = stream.taken[20 * burst * bursts :], burst * bursts
    took = {after - before for before, after in zip(settled, settled[period:], strict=False)}
    assert took == {beat_cycles(config, memory) * period}
    fetched = [fetch_cycles(config, memory, layer) for layer in mapping.layers]
    beats = [sum(block_beats(config, block.rows) for block in blocks(layer, again=True)) for layer in mapping.layers]
    assert fetched == [round(count * max(took) / period) for count in beats] and min(fetched) > 0


def residual_network(rng: np.random.Generator) -> SpikeNet:
    """The layers of ResNet-20, with random weights, on images of 16x16 pixels."""
    layers: list[Layer] = []

    def add(*inputs: tuple[str, np.ndarray, int], shift: int = 8, groups: int = 8) -> str:
        sources = tuple(
            Source(tensor=tensor, weights=weights, stride=(stride, stride), padding=(weights.shape[2] // 2,) * 4)
            for tensor, weights, stride in inputs
        )
        outputs = len(inputs[0][1])
        bias = rng.integers(-200, 900, outputs)
        name = f"layer{len(layers)}"
        layers.append(Layer(name=name, sources=sources, bias=bias, shift=np.full(outputs, shift), groups=groups))
        return name

    def kernel(outputs: int, channels: int, size: int = 3) -> np.ndarray:
        return rng.integers(-60, 61, (outputs, channels, size, size))

    tensor, channels = add((INPUT, kernel(16, 3), 1), shift=11), 16
    for outputs in (16, 32, 64):
        for _ in range(3):
            stride = outputs // channels
            inner = add((tensor, kernel(outputs, channels), stride))
            skip = 64 * np.eye(outputs, channels, dtype=int)[:, :, None, None]
            tensor, channels = add((inner, kernel(outputs, outputs), 1), (tensor, skip, stride)), outputs
    last = Source(tensor=tensor, weights=rng.integers(-128, 128, (10, 64, 4, 4)))
    zero = np.zeros(10, int)
    out = Layer(name="out", sources=(last,), bias=zero, shift=zero, groups=0)
    return SpikeNet(image=Image(shape=(3, 16, 16)), layers=(*layers, out))


@pytest.mark.slow
def test_resnet_in_an_eighth_of_its_weights() -> None:
    """Twenty layers whose weights are eight times larger than the chip's memory; one beat a cycle hides them nearly."""
    rng = np.random.default_rng(20)
    net = residual_network(rng)
    codes = random_codes(rng, net, 2)
    whole = choose_mapping(net, EngineConfig(), codes[:1])
    depth = round_depth(whole.needs["weight_depth"] // 8)
    mapping = choose_mapping(net, EngineConfig(external_weights=64, weight_depth=depth), codes[:1])
    for memory in (ExternalMemory(), ExternalMemory(latency=90, interval=4), ExternalMemory(varied=True)):
        result = simulate(mapping, codes, BUILD, memory=memory)
        assert result.mismatches == 0 and result.cycle_mismatches == 0


def test_more_than_256_parts() -> None:
    """Twenty layers of sixteen parts each, and the last: the numbers of parts and of their counters have ten bits."""
    rng = np.random.default_rng(9)
    layers = [
        Layer(
            name=f"layer{index}",
            sources=(Source(tensor=f"layer{index - 1}" if index else INPUT, weights=rng.integers(-99, 100, shape)),),
            bias=rng.integers(0, 900, shape[0]), shift=np.full(shape[0], (7 if index else 11) if index < 20 else 0),
            groups=15 if index < 20 else 0,
        )
        for index, shape in enumerate([(64, 1, 8, 8), *[(64, 64, 1, 1)] * 19, (7, 64, 1, 1)])
    ]  # fmt: skip
    net = SpikeNet(image=Image(shape=(1, 8, 8)), layers=tuple(layers))
    mapping = map_network(net, ENGINES["1x4, 32 bits, maps"])
    assert len(mapping.layers) == 322 and layer_bits(mapping.config) == 10
    codes = random_codes(rng, net, 2)
    memory = ExternalMemory(latency=20, interval=1)
    for serial in (True, False):
        result = simulate(mapping, codes, BUILD, memory=memory, through_load=serial, serial=serial)
        assert result.mismatches == 0 and result.cycle_mismatches == 0
        np.testing.assert_array_equal(result.logits, net.golden(codes))
    assert result.counters[-1, :, 1].min() > 40, "no activity is left"


def test_a_network_that_fits_is_fetched_once() -> None:
    rng = np.random.default_rng(5)
    net = random_network(rng, (8,), 32)
    config = dataclasses.replace(SMALL, weight_depth=2048)
    mapping = map_network(net, config)
    assert all(layer.resident for layer in mapping.layers)
    result = simulate(mapping, random_codes(rng, net, 2), BUILD)
    assert result.mismatches == 0 and result.cycle_mismatches == 0
    assert not result.counters[:, :, 4].any()
