# SPDX-License-Identifier: Apache-2.0
"""No image takes longer than the bound, and one that fills every chunk takes as long."""

import dataclasses

import numpy as np
import pytest

from networks import random_codes, random_network
from onespike.hw.config import EngineConfig
from onespike.model.cost.bound import check_watchdog, most_cycles
from onespike.model.cost.cycles import predict, predict_all
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import golden
from small_engine import SMALL, small_net

ENGINES = {
    "spikes": EngineConfig(banks=2, lanes=8),
    "unary": EngineConfig(banks=2, lanes=8, fire_lanes=4, code="unary"),
    "masks": EngineConfig(banks=4, lanes=8, row_masks=True, shadows=2),
    "dense": EngineConfig(banks=2, lanes=8, arithmetic="dense", multiples=(1, 3, 5)),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_no_image_takes_longer(engine: str) -> None:
    rng = np.random.default_rng(5)
    checked = 0
    while checked < 4:
        net = random_network(rng, (3, 8), 32)
        try:
            mapping = map_network(net, fit_config(net, ENGINES[engine]))
        except OneSpikeError:
            continue
        bound = most_cycles(mapping)
        result = golden.run(net, random_codes(rng, net, 4), layers=True)
        for image in predict_all(mapping, result):
            assert [layer.cycles <= most for layer, most in zip(image, bound, strict=True)] == [True] * len(bound)
        checked += 1


def test_an_image_that_takes_as_long() -> None:
    """Pixels of 7, 119 = 7 * 16 + 7 have two events a chunk, as have counts of 7."""
    net = small_net(1, 8, 6, 5, 8)
    net = dataclasses.replace(net, image=dataclasses.replace(net.image, bits=4))
    mapping = map_network(net, dataclasses.replace(SMALL))
    fields = {name: np.full(tensor.shape, 7) for name, tensor in mapping.tensors.items()}
    assert [layer.cycles for layer in predict(mapping, fields)] == most_cycles(mapping)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_watchdog_that_could_end_a_long_layer(more: int) -> None:
    net = small_net(1, 12, 12, 5, 8)
    roomy = dataclasses.replace(SMALL, spike_depth=256, weight_depth=512)
    most = max(most_cycles(map_network(net, roomy)))
    mapping = map_network(net, dataclasses.replace(roomy, watchdog=most + more))
    if more >= 0:
        check_watchdog(mapping)
    else:
        with pytest.raises(OneSpikeError, match=rf"can take {most:,} cycles.*watchdog = {most} or more"):
            check_watchdog(mapping)
