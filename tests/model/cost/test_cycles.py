# SPDX-License-Identifier: Apache-2.0
"""The cycle model explains itself: every cycle of every lane has one cause. (The RTL tests compare the cycles.)"""

import random

import numpy as np
import pytest

from blocks import random_mapping
from onespike.hw.config import EngineConfig
from onespike.model.cost.cycles import CAUSES, predict
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
