# SPDX-License-Identifier: Apache-2.0
"""Shards of images through RTL are one run; what is kept is not run again."""

import dataclasses

import numpy as np
import pytest

from command_line import small_net
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.sim import shards
from onespike.sim.engine import simulate
from onespike.sim.shards import Settings, simulate_shards
from paths import BUILD

NET = small_net()
CODES = np.random.default_rng(4).integers(0, 256, (5, *NET.image.shape), dtype=np.uint8)


def test_shards_are_one_run(tmp_path, monkeypatch):
    mapping = map_network(NET, fit_config(NET, EngineConfig(banks=2, lanes=4, fire_lanes=4)))
    whole = simulate(mapping, CODES, BUILD)
    told = []
    found = simulate_shards(mapping, CODES, BUILD, Settings(), executor="local:2", keep=tmp_path, shard=2,
                            done=lambda *numbers: told.append(numbers))  # fmt: skip
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    for field in dataclasses.fields(whole):
        if field.name not in ("finished", "simulated_cycles", "seconds"):
            np.testing.assert_equal(getattr(found, field.name), getattr(whole, field.name))
    assert len(found.finished) == 5 and (np.diff(found.finished) > 0).all()

    def refuse(*arguments, **options):
        raise AssertionError("this was kept")

    monkeypatch.setattr(shards, "simulate", refuse)
    again = simulate_shards(mapping, CODES, BUILD, Settings(), keep=tmp_path, shard=2)
    np.testing.assert_array_equal(again.logits, NET.golden(CODES))
    with pytest.raises(AssertionError, match="this was kept"):  # other pauses are another simulation
        simulate_shards(mapping, CODES, BUILD, Settings(stall=(0.5, 0.0)), keep=tmp_path, shard=2)


def test_a_worker_with_another_simulator_is_refused(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^A worker has Verilator .*, this command 4\.2; install"):
        shards.work(None, CODES, Settings(), 0, "4.2", folder=tmp_path)
    with pytest.raises(OneSpikeError, match=r"^Nothing to simulate"):
        simulate_shards(None, CODES[:0], tmp_path, Settings())
