# SPDX-License-Identifier: Apache-2.0
"""Fit: what is tried where a part is too small for the usual engines."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from onespike.fpga import fit as fitting
from onespike.fpga.boards import find_board
from onespike.hw.config import EngineConfig
from onespike.model.cost.area import Area
from onespike.model.cost.explore import Point, excess
from onespike.model.errors import OneSpikeError
from onespike.model.network.spec import SpikeNet
from small_engine import small_net


@pytest.fixture(scope="module")
def net() -> SpikeNet:
    return small_net(1, 7, 5, 7, 8)


def test_small_parts_go_without_counters_and_loading(net: SpikeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where no engine with them fits; the small engines with short queues come first."""
    seen = []

    def fake(net: SpikeNet, config: EngineConfig, target: Any, codes: Any, *, margin: float) -> Point:
        seen.append(config)
        area = Area(luts=9000, flip_flops=0, block_rams=1, by_block={})
        refused = "" if not config.loadable and config.lanes <= 2 else "needs more."
        return Point(net="", config=config, area=area, cycles=100 / config.lanes, utilisation=1.0, refused=refused)

    monkeypatch.setattr(fitting, "evaluate", fake)
    config = fitting.fit(net, find_board("icebreaker").part, np.zeros((1, 1, 7, 7), np.uint8))
    assert (config.banks, config.lanes, config.counters, config.loadable) == (1, 2, False, False)
    stages = [(c.counters, c.loadable, c.word_fifo == 2) for c in seen]
    assert list(dict.fromkeys(stages)) == [
        (True, True, False), (True, True, True), (False, True, True), (False, False, True)
    ]  # fmt: skip


def test_weights_go_to_single_port_rams(net: SpikeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where block RAMs are short and the part has some; never built in for good, as these start empty."""
    seen = []

    def fake(net: SpikeNet, config: EngineConfig, target: Any, codes: Any, *, margin: float) -> Point:
        seen.append(config)
        rams, ports = (10, 2) if config.single_port else (40, 0)
        area = Area(luts=1000 * config.lanes, flip_flops=0, block_rams=rams, by_block={}, single_ports=ports)
        refused = excess(area, target, margin)
        return Point(net="", config=config, area=area, cycles=100 / config.lanes, utilisation=1.0, refused=refused)

    monkeypatch.setattr(fitting, "evaluate", fake)
    part, codes = find_board("icebreaker").part, np.zeros((1, 1, 7, 7), np.uint8)
    config = fitting.fit(net, part, codes)
    assert (config.single_port, config.lanes, config.counters, config.loadable) == (True, 4, True, True)
    assert all(c.loadable for c in seen if c.single_port)
    sentence = r"1 x 1 lanes needs 40 block RAMs, 10 more than the 30 of ice40-up5k \(spikes fill 2 KiB, weights 0"
    with pytest.raises(OneSpikeError, match=sentence):
        fitting.fit(net, dataclasses.replace(part, single_ports=0), codes)
    with pytest.raises(OneSpikeError, match=r"needs 2 single-port RAMs, 1 more than the 1 of ice40-up5k; "):
        fitting.fit(net, dataclasses.replace(part, single_ports=1), codes, base=EngineConfig(single_port=True))


def test_small_engines_may_be_tried_at_a_risk(net: SpikeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none fits the estimate: the fastest whose block RAMs fit and whose LUTs are little too many."""
    part = find_board("icebreaker").part

    def fake(net: SpikeNet, config: EngineConfig, target: Any, codes: Any, *, margin: float) -> Point:
        rams = 33 if config.loadable else 24
        area = Area(luts=4300 + 200 * config.lanes, flip_flops=0, block_rams=rams, by_block={})
        refused = excess(area, target, margin)
        return Point(net="", config=config, area=area, cycles=100 / config.lanes, utilisation=1.0, refused=refused)

    monkeypatch.setattr(fitting, "evaluate", fake)
    codes = np.zeros((1, 1, 7, 7), np.uint8)
    config = fitting.fit(net, part, codes)
    most = fitting.MARGIN * fitting.RISK * part.luts
    assert 4300 + 200 * 4 <= most < 4300 + 200 * 8
    assert (config.lanes, config.word_bits, config.word_fifo, config.loadable) == (4, 16, 2, False)
    with pytest.raises(OneSpikeError, match="No engine fits"):
        fitting.fit(net, dataclasses.replace(part, block_rams=23), codes)
