# SPDX-License-Identifier: Apache-2.0
"""What the campaign of flipped bits draws, flips and says; in RTL, a few of each kind (slow)."""

import dataclasses
import re
from collections import Counter

import numpy as np
import pytest

from onespike.bench.faults import WATCHDOG, engines, markdown, summed
from onespike.hw.emit.verilog import to_verilog
from onespike.hw.engine.faults import FAULTS
from onespike.model.cost.bound import check_watchdog
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import map_network
from onespike.sim.faults import BEFORE, OUTCOMES, draw, outcome, used_rows, work
from onespike.sim.flips import OTHERS, REGISTERS, harness_text, kept_bits
from paths import BUILD
from small_engine import SMALL, small_net

ENGINES = {"plain": SMALL, "parity": dataclasses.replace(SMALL, parity=True, watchdog=1000)}
NET = small_net(1, 8, 6, 5, 8)
CODES = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_register_and_memory_is_found(engine: str) -> None:
    """As many as the text has clocked blocks in its modules, a bank's twice; memories with their shapes."""
    config = ENGINES[engine]
    verilog = to_verilog(config)
    kept = kept_bits(verilog)
    assert len({each.path for each in kept}) == len(kept)
    blocks = Counter[bool]()
    for name, text in re.findall(r"(?ms)^module (\S+)(.*?)^endmodule", verilog):
        clocked = len(set(re.findall(r"(?m)^\s+([^\s\[]+) ?(?:\[[^;]*\] )?<= ", text)))
        blocks[name.lstrip("\\").startswith("onespike_bank")] += clocked
    assert len(kept) == blocks[False] + config.banks * blocks[True]
    shapes = {each.path[-2:]: (each.width, each.rows) for each in kept if each.rows}
    row = config.stored_bits(config.lanes * config.weight_bits)
    assert shapes["bank1", "weight_memory"] == (row, config.weight_depth)
    assert shapes["fetch", "spike_memory"] == (config.stored_bits(config.word_bits), config.spike_depth)
    kinds = {each.kind for each in kept}
    assert kinds == {"weights", "spikes", "program", "walk tables", "channels", OTHERS, REGISTERS}
    text = harness_text(config, kept, 10, 20, 3)
    assert f"{len(kept) - 1}: dut." in text and "`FLIPS" not in text and "parameter TRIALS = 3" in text


@pytest.mark.parametrize("side, longer", [(8, False), (40, True)])
def test_the_watchdog_allows_every_layer(side: int, longer: bool) -> None:
    """Also those of a network that somebody names."""
    net = small_net(1, side, 6, 5, 8)
    found = engines(net, 2, 8)
    assert found["plain"].watchdog == 0 and (found["parity"].watchdog > WATCHDOG) == longer
    check_watchdog(map_network(net, found["parity"]))


def test_only_rows_in_use_are_flipped() -> None:
    mapping = map_network(NET, SMALL)
    images, kept = memory_images(mapping), kept_bits(to_verilog(SMALL))
    used = {each.path: used_rows(each, mapping) for each in kept if each.rows}
    assert [used[f"bank{b}", "weight_memory"] for b in range(2)] == [len(rows) for rows in images.weights]
    assert used["sequencer", "program_memory"] == len(images.program)
    for kind in ("weights", "spikes", REGISTERS):
        flips = draw(np.random.default_rng(3), kept, kind, mapping, [50, 80], 300)
        for flip in flips:
            each = kept[flip.number]
            assert each.kind == kind and flip.bit < each.width and flip.row < max(1, used.get(each.path, 1))
            assert flip.at == BEFORE if kind == "weights" else flip.at < (50, 80)[flip.image]
        assert len({(flip.number, flip.row, flip.bit) for flip in flips}) > 200


def test_outcomes() -> None:
    right = np.array([3, 9, -1])
    whole = [(3, 0), (9, 1), (-1, 1)]
    noted, silent = 1 << FAULTS.index("weights"), 0
    assert outcome(right, 1, whole, True, silent) == "masked"
    assert outcome(right, 1, whole, True, noted) == "noted, right"
    assert outcome(right, 1, [(3, 0), (8, 1), (-1, 1)], True, noted) == "noted, wrong"
    assert outcome(right, 1, [(3, 0), (8, 1), (-1, 1)], True, silent) == "wrong logits"
    assert outcome(right, 1, [(3, 0), (2, 0), (-1, 0)], True, silent) == "wrong class"
    assert outcome(right, 1, whole[:2], True, silent) == "wrong logits"
    assert outcome(right, 1, [], False, silent) == "no end"
    assert outcome(right, 1, [], False, noted) == "noted, ended"


def test_the_table() -> None:
    part = {"trials": 4, "outcomes": {"masked": 3, "no end": 1}, "noted": {}, "silent": [["no end", "a", 0, 1, 2]]}
    text = markdown(summed([("plain", "weights", part), ("plain", "weights", part)]))
    assert "| plain | weights | 8 | 75.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 25.0 |" in text
    assert text.count("|") == 3 * (4 + len(OUTCOMES))


@pytest.mark.slow
def test_flips_in_rtl() -> None:
    """Parity notes every flip of the network's own memories that an image reads; none of them goes by unnoticed."""
    mapping = map_network(NET, ENGINES["parity"])
    for kind in ("weights", "program", "walk tables", "channels", "spikes"):
        found = work(mapping, CODES, kind, 0, 40, folder=BUILD.absolute())
        assert not found["silent"], found["silent"]
        assert found["outcomes"]["masked"] < 40 and sum(found["outcomes"].values()) == 40
