# SPDX-License-Identifier: Apache-2.0
"""Drawn networks through RTL, one over the other in one engine; a fault of one kind is found and made small."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import map_network
from onespike.model.network import golden
from onespike.model.network.spec import SpikeNet
from onespike.sim import shrink as shrinking
from onespike.sim.as_test import as_test, expression
from onespike.sim.campaign import ENGINES, TOGETHER, case_of, episode, jobs, minimised, options, reason, work
from onespike.sim.engine import simulate_series
from onespike.sim.episode import Episode
from onespike.sim.shrink import shrink
from paths import BUILD

ENGINE = "streamed, sparse"  # of the rarest options, and one of the smallest to compile


def test_networks_one_over_the_other() -> None:
    found = work(ENGINE, 0, TOGETHER, False, BUILD)
    assert found["failures"] == [] and found["networks"] == TOGETHER
    assert found["totals"]["words"] > 1000 and found["totals"]["counters"] > 500
    assert {"random latency", "several sources", "slices", "back to back"} <= set(found["options"])


def off_by_one(net: SpikeNet) -> SpikeNet:
    """The network with every threshold one higher, as if > stood for >=."""
    layers = [dataclasses.replace(layer, bias=layer.bias - 1) if layer.fires else layer for layer in net.layers]
    return dataclasses.replace(net, layers=tuple(layers))


def test_a_fault_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden.run
    monkeypatch.setattr(golden, "run", lambda net, *rest, **options: run(off_by_one(net), *rest, **options))
    found = work(ENGINE, 0, 2, False, BUILD)
    assert found["failures"]
    monkeypatch.setattr(shrinking, "FEW", 2)
    text = minimised(ENGINE, found["failures"][0]["seed"], BUILD, optimise=False, rounds=2)
    space: dict = {}
    exec(text, space)
    with pytest.raises(AssertionError):
        space["test_found_by_a_campaign"]()
    (made,) = [line for line in text.splitlines() if "net = SpikeNet(" in line]
    drawn = expression(episode(ENGINE, found["failures"][0]["seed"])[0].mapping.net)
    assert len(made) < len(drawn) / 2
    monkeypatch.undo()
    space["test_found_by_a_campaign"]()  # the hardware itself is right


def test_every_network_is_drawn_again_alike() -> None:
    for engine in ENGINES:
        one, other = (episode(engine, 3)[0] for _ in range(2))
        assert one.mapping.net.hash == other.mapping.net.hash and one.seed == other.seed
        np.testing.assert_array_equal(one.codes, other.codes)


def test_what_is_drawn() -> None:
    seen = Counter(name for engine in ("sparse", "tables", "many banks") for seed in range(12)
                   for name in options(episode(engine, seed)[0]))  # fmt: skip
    rare = {"copy into a larger map", "groups and slices", "stride in a further source", "dilation", "levels",
            "image around zero", "signed counts", "maximum past the map", "sum pool", "one-pixel image"}  # fmt: skip
    assert not rare - set(seen), seen
    assert reason("The network needs acc_bits = 40, but") == "the engine is too small"
    with pytest.raises(AssertionError, match="a drawn network is refused: nonsense"):
        reason("nonsense")


def test_jobs_share_out_networks_among_engines(tmp_path) -> None:
    made = list(jobs(10_000, list(ENGINES), tmp_path))
    assert len(made) * TOGETHER == 10_000 and len({job.key for job in made}) == len(made)
    assert [job.arguments[0] for job in made[: len(ENGINES)]] == list(ENGINES)


def strided(episodes: list[Episode]) -> list[str]:
    """A fault of sources that move on by more than one row."""
    return ["bad" * any(s.stride[0] > 1 and bool(s.weights.any()) for x in e.mapping.net.layers for s in x.sources)
            for e in episodes]  # fmt: skip


def test_shrinking_keeps_the_fault() -> None:
    case = next(case for seed in range(20) if strided([(case := case_of(episode("tables", seed)[0])).episode()])[0])
    small = shrink(case, strided)
    assert strided([small.episode()]) == ["bad"] and small.size < min(300, case.size / 2)
    made = eval(expression(small.net), vars(__import__("onespike.model.network.spec", fromlist=["spec"])))
    assert made.hash == small.net.hash
    assert f"slices={small.slices}" in as_test([small], "bad")


def test_what_cannot_run_in_series() -> None:
    net = episode("plain", 0)[0].mapping.net
    one = Episode(mapping=map_network(net, ENGINES["plain"]), codes=np.zeros((1, *net.image.shape), np.uint8))
    with pytest.raises(OneSpikeError, match="must come through the load stream"):
        simulate_series([one, one], BUILD)
    other = dataclasses.replace(ENGINES["plain"], shadows=2)
    with pytest.raises(OneSpikeError, match="need mappings of one configuration"):
        simulate_series([one, dataclasses.replace(one, mapping=map_network(net, other))], BUILD)
    assert isinstance(other, EngineConfig)
