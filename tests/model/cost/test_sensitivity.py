# SPDX-License-Identifier: Apache-2.0
"""Sensitivity and reuse: closed forms by hand, at the boundary and on either side."""

import math

import pytest

from onespike.hw.config import EngineConfig
from onespike.model.cost.energy import Energy, System, access, add
from onespike.model.cost.sensitivity import FILE_PJ, best, file_pj, flip, flips, reuse, reuses, table_ratio
from onespike.model.errors import OneSpikeError


def system(name, arithmetic, weights, activations=0.0, registers=1e6):
    return System(
        name=name, label=name, operations=1.0, fp32_uj=None, int8_uj=1.0, bits={"registers": registers},
        memory_uj={"arithmetic": arithmetic, "weights": weights, "activations": activations, "parameters": 0.0},
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "rival", "wins", "flips_at"), [
    ((1.0, 3.0), (2.0, 2.5), True, 20.0),  # k = (2 - 1) / (3 - 2.5) = 2 .. at a ratio of 10
    ((1.0, 3.0), (3.0, 2.5), True, 40.0),
    ((2.0, 2.5), (1.0, 3.0), False, 20.0),
    ((1.0, 2.0), (2.0, 3.0), True, None),  # less of both
    ((2.0, 3.0), (1.0, 2.0), False, None),  # more of both
    ((1.0, 2.0), (2.0, 2.0), True, None),  # the same memory
    ((1.0, 3.0), (1.0, 2.0), False, None),  # the same arithmetic: only at no price at all
])  # fmt: skip
def test_where_a_verdict_flips(ours, rival, wins, flips_at):
    found = flip(system("onespike", *ours), system("dense", *rival), 10.0)
    assert (found.wins, found.flips_at) == (wins, flips_at)


def test_both_cost_the_same_where_it_flips():
    ours, rival = system("onespike", 1.0, 3.0), system("dense", 2.0, 2.5)
    k = flip(ours, rival, 10.0).flips_at / 10.0
    assert 1.0 + 3.0 * k == 2.0 + 2.5 * k
    assert 1.0 + 3.0 * (k + 0.1) > 2.0 + 2.5 * (k + 0.1) and 1.0 + 3.0 * (k - 0.1) < 2.0 + 2.5 * (k - 0.1)


def test_sentences_name_what_they_mean():
    wins, never = (flip(system("onespike", 1, 3), system("dense", *r), 10.0) for r in ((3, 2.5), (2, 4)))
    assert wins.sentence("dense INT8 network") == (
        "Against the dense INT8 network, OneSpike wins where a byte of weights costs 10.0 additions, as in the table "
        "with memory; the verdict flips at 40.0."
    )
    assert never.sentence("rival") == "Against the rival, OneSpike wins at every price of memory."


def test_the_tables_ratio():
    config = EngineConfig(lanes=8, fire_lanes=8, weight_depth=1024, weight_bits=8, acc_bits=20)
    assert table_ratio(config) == pytest.approx(8 * access(65536) / add(20))  # 8 KB: 10 pJ for 64 bits
    assert access(65536) == 10 / 64


def test_reuse_by_hand():
    """8 sums of 20 bits in each lane: a file of 160 bits."""
    assert pytest.approx((0.2 * 256 / 64 + 0.03 + 8 * 0.07 / 24) / 16) == FILE_PJ
    assert file_pj(1, 20) == 0 and file_pj(8, 20) == pytest.approx(FILE_PJ * math.sqrt(160 / 4096))
    rival = system("dense", 1.0, 8.0, 0.5, registers=1e6)
    found = reuse(rival, 20, 8)
    assert found.weights_uj == 1.0 and found.file_uj == pytest.approx(2e6 * file_pj(8, 20) * 1e-6)
    assert found.total_uj == pytest.approx(1.5 + 1.0 + found.file_uj)
    assert reuse(rival, 20, 1).total_uj == rival.total_uj
    with pytest.raises(OneSpikeError, match=r"^A weight is used for 1 pixel or more, not 0\.$"):
        reuse(rival, 20, 0)


def test_all_rivals_and_their_best():
    names = ("dense", "quantised", "quantised_skip", "unary", "onespike")
    energy = Energy(images=1, systems=tuple(system(name, 1.0, 4.0) for name in names))
    config = EngineConfig(acc_bits=20)
    assert [found.rival for found in flips(energy, config)] == list(names[:-1])
    found = reuses(energy, config, (1, 2, 4))
    assert [(one.rival, one.pixels) for one in found[:3]] == [("dense", 1), ("dense", 2), ("dense", 4)]
    assert best(found, "quantised_skip").total_uj == min(one.total_uj for one in found)
