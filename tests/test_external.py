# SPDX-License-Identifier: Apache-2.0
"""Engines whose weights are streamed from external memory: bit-exact for any latency, to the cycle for a steady one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from networks import random_codes, random_network

from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.external import ExternalMemory
from onespike.model.mapper import Mapping, fit_config, map_network
from onespike.sim.engine import simulate

BUILD = Path(__file__).parents[1] / "build" / "sim"

# Weight memories far smaller than the networks: each is cut into many parts.
SMALL = EngineConfig(
    acc_bits=28, max_shift=12, max_groups=20, max_code=255, segments=3, spike_depth=2048, weight_depth=512,
    channel_depth=256, walk_depth=512, program_depth=2048, pool_depth=64, class_depth=32, external_weights=64,
)  # fmt: skip
ENGINES = {
    "4x16, 64 bits": SMALL,
    "1x4, 32 bits": dataclasses.replace(SMALL, banks=1, lanes=4, fire_lanes=1, external_weights=32, burst=4, bursts=2),
    "8x8, 128 bits": dataclasses.replace(SMALL, banks=8, lanes=8, fire_lanes=4, external_weights=128, loadable=False),
}


def drawn(config: EngineConfig, seeds: range) -> list[tuple[int, Mapping]]:
    """Random networks that the engine can hold, each with a random number of slices."""
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        net = random_network(rng, (1, 3, 8, 15, 20), config.max_code)
        slices = int(2 ** rng.integers(0, config.banks.bit_length()))
        try:
            found.append((seed, map_network(net, config, slices=slices)))
        except OneSpikeError as error:
            known = ("too large", "lies wholly in the padding", "smallest part")
            assert any(words in str(error) for words in known), f"seed {seed}: {error}"
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_random_networks(engine: str) -> None:
    config = ENGINES[engine]
    networks = drawn(config, range(14))
    assert len(networks) >= 5
    for seed, mapping in networks[:7]:
        rng = np.random.default_rng(seed)
        memory = ExternalMemory(
            latency=int(rng.integers(2, 90)), interval=int(rng.integers(1, 4)), varied=bool(rng.random() < 0.3)
        )
        result = simulate(
            mapping, random_codes(rng, mapping.net, 2), BUILD, memory=memory, seed=seed,
            through_load=config.loadable and bool(rng.random() < 0.5),
        )  # fmt: skip
        assert result.mismatches == 0 and result.cycle_mismatches == 0, f"seed {seed}"
        print(seed, len(mapping.layers), memory, result.counters[:, :, 4].tolist())
