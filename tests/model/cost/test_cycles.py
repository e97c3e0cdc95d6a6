# SPDX-License-Identifier: Apache-2.0
"""The cycle model explains itself: every cycle of every lane has one cause. (The RTL tests compare the cycles.)"""

import dataclasses
import random

import numpy as np
import pytest

from blocks import random_mapping
from onespike.hw.config import EngineConfig
from onespike.model.cost.cycles import CAUSES, predict, predict_all
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.codes import encode
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def random_fields(rng: random.Random, mapping: Mapping, share: float) -> dict[str, np.ndarray]:
    """Fields of one image, `share` of whose values are not zero."""
    fields = {}
    for name, tensor in mapping.tensors.items():
        shape = tensor.shape
        values = [rng.randint(1, tensor.top) if rng.random() < share else 0 for _ in range(np.prod(shape))]
        fields[name] = encode(np.array(values).reshape(shape), tensor.code, tensor.top)
    return fields


@pytest.mark.parametrize("seed", range(40))
def test_causes_add_up(seed):
    rng = random.Random(seed)
    mapping = random_mapping(rng)
    config = mapping.config
    for layer in predict(mapping, random_fields(rng, mapping, rng.choice([0.05, 0.5, 0.9, 1]))):
        causes = layer.lane_cycles(config.banks, config.lanes)
        assert tuple(causes) == CAUSES and min(causes.values()) >= 0, causes
        assert sum(causes.values()) == config.banks * config.lanes * layer.cycles, layer.name


def depthwise_net() -> SpikeNet:
    """16 channels of 15 at 6 x 6 places, and a depthwise kernel of 3 x 3 on them."""
    first = Source(tensor=INPUT, weights=np.full((16, 1, 1, 1), 15))
    middle = Source(tensor="a", weights=np.ones((16, 1, 3, 3), int), padding=(1, 1, 1, 1), groups=16)
    last = Source(tensor="b", weights=np.ones((2, 16, 6, 6), int))
    layers = [
        Layer(name=name, sources=(source,), bias=np.zeros(out, int), shift=np.zeros(out, int), groups=g)
        for name, source, out, g in (("a", first, 16, 15), ("b", middle, 16, 15), ("c", last, 2, 0))
    ]
    return SpikeNet(image=Image(shape=(1, 6, 6), bits=1), layers=tuple(layers))


def one_layer(jobs: int, channels: int, *, banks: int, value: int) -> tuple[dict[str, int], int]:
    """Lane-cycles of a linear layer on `jobs` x 4 equal pixels, and its cycles; 1x1 kernels, then a head."""
    hidden = Source(tensor=INPUT, weights=np.ones((channels, 32, 1, 1), int))
    head = Source(tensor="hidden", weights=np.ones((1, channels, 1, jobs), int))
    zero = np.zeros(channels, int)
    net = SpikeNet(
        image=Image(shape=(32, 1, jobs), bits=1),
        layers=(
            Layer(name="hidden", sources=(hidden,), bias=zero, shift=zero, groups=1),
            Layer(name="head", sources=(head,), bias=zero[:1], shift=zero[:1], groups=0),
        ),
    )
    config = fit_config(net, EngineConfig(banks=banks, lanes=4, fire_lanes=4))
    mapping = map_network(net, config)
    codes = np.full((32, 1, jobs), value)
    found = predict(mapping, {INPUT: codes, "hidden": np.full((channels, 1, jobs), value)})[0]
    return found.lane_cycles(banks, 4), found.cycles


def test_full_words_never_starve():
    """32 events a word: nothing is idle but at both ends, and a lane in four without a channel."""
    causes, cycles = one_layer(5, 3, banks=1, value=1)
    assert causes["useful"] == 5 * 32 * 3 and causes["no_channel"] == 5 * 32
    assert causes["starved"] == causes["waiting"] == causes["empty"] == causes["finished"] == 0
    assert causes["starting"] + causes["closing"] == 4 * (cycles - 5 * 32)


def test_empty_jobs_cost_a_slot_each():
    causes, _ = one_layer(6, 4, banks=2, value=0)
    assert causes["useful"] == causes["no_channel"] == 0
    assert causes["empty"] == 6 * 4


def test_banks_without_a_job_have_finished():
    causes, cycles = one_layer(1, 4, banks=4, value=1)
    assert causes["useful"] == 32 * 4
    assert causes["finished"] == 3 * (4 * cycles - causes["closing"] / 4)


@pytest.mark.parametrize("seed", range(6))
def test_masks_cost_no_cycle(seed):
    """Networks without rows of zeros take the same cycles on an engine with masks, layer by layer, cause by cause."""
    rng = random.Random(seed)
    mapping = random_mapping(rng, row_masks=True)
    slices = {layer.name: layer.slices for layer in mapping.layers}
    code = mapping.tensors[INPUT].code
    room = {"mask_depth": 1 << 14, "weight_depth": 1 << 14, "program_depth": 1 << 10}
    without, masked = (
        map_network(
            mapping.net, dataclasses.replace(mapping.config, row_masks=masks, **room), slices=slices, image_code=code
        )
        for masks in (False, True)
    )
    fields = random_fields(rng, masked, 0.5)
    assert predict(masked, fields) == predict(without, fields)


def test_a_depthwise_layer_does_what_its_kernel_says():
    """9 additions a value of 15 that is not 0, whichever way the engine makes them; the rest adds zeros."""
    net = depthwise_net()
    found = {}
    for masks, own in ((False, False), (True, False), (True, True)):
        fixed = {"row_masks": masks, "depthwise": own}
        config = fit_config(net, EngineConfig(banks=1, lanes=16, fire_lanes=8, **fixed), fixed=fixed)
        mapping = map_network(net, config)
        codes = np.ones((1, 1, 6, 6), np.uint8)
        layer = predict_all(mapping, net.golden(codes, layers=True))[0][1]
        found[masks, own] = layer
        assert layer.useful == 16 * (4 * 4 + 4 * 4 * 6 + 16 * 9) * 2  # at corners, sides and inside; 15 is 16 - 1
    dense, masked, own = found.values()
    assert dense.event == masked.event == 16 * (16 + 96 + 144) * 2
    # Two blocks, jobs of two columns: 4 taps, at the map's sides 3, in 4 rows of 3 taps and 2 of 2; two events each.
    assert own.event == 2 * (3 + 4 + 3) * (4 * 3 + 2 * 2) * 2
    assert own.cycles < masked.cycles <= dense.cycles
