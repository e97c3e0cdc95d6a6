# SPDX-License-Identifier: Apache-2.0
"""SRAM: the formula by hand, its sizes from an engine, and CACTI's own figures beside it."""

import math

import pytest

from onespike.hw.config import EngineConfig
from onespike.model.cost import sram
from onespike.model.cost.sram import ONE_PORT, TWO_PORTS, leakage_uw, of_engine, read_pj, scale, write_pj
from onespike.model.errors import OneSpikeError

# CACTI 7, 90 nm, itrs-lstp: width, depth, ports, pJ of a read and of a write.
CACTI = [
    (64, 1024, ONE_PORT, 15.79, 36.87),
    (32, 2048, ONE_PORT, 10.53, 21.07),
    (128, 512, ONE_PORT, 19.42, 68.68),
    (256, 1024, ONE_PORT, 61.72, 260.00),
    (64, 1024, TWO_PORTS, 19.37, 46.05),
    (32, 2048, TWO_PORTS, 16.95, 25.83),
    (256, 1024, TWO_PORTS, 79.23, 329.10),
]


def test_formula_by_hand():
    """64 bits in each of 1024 rows: a side of 256."""
    assert read_pj(64, 1024, ONE_PORT) == pytest.approx((0.000535 * 64 + 0.0265) * 256)
    assert write_pj(64, 1024, TWO_PORTS) == pytest.approx((0.00172 * 64 + 0.0376) * 256)
    assert leakage_uw(64, 1024, ONE_PORT) == pytest.approx(0.013e-3 * 65536)


@pytest.mark.parametrize(("width", "depth", "ports", "read", "write"), CACTI)
def test_formula_is_near_cacti(width, depth, ports, read, write):
    assert 0.6 < read_pj(width, depth, ports) / read < 1.5
    assert 0.6 < write_pj(width, depth, ports) / write < 1.5


def test_other_processes_scale_with_c_v_squared():
    assert scale(90, 1.3) == 1
    assert scale(130, 1.8) == pytest.approx(130 / 90 * (1.8 / 1.3) ** 2)
    assert read_pj(8, 64, ONE_PORT, 180, 1.3) == pytest.approx(2 * read_pj(8, 64, ONE_PORT))
    for node, voltage in ((4, 1.0), (1001, 1.0), (130, 0.0), (math.nan, 1.0)):
        with pytest.raises(OneSpikeError, match=r"^No memory of .* nm at .* V; a node lies in 5\.\.1000 nm, such as"):
            scale(node, voltage)


def test_an_engines_memories():
    """Bits moved become rows moved; small memories are flip-flops already, and a rival's words have their own width."""
    config = EngineConfig(banks=2, lanes=4, fire_lanes=4, weight_depth=128, spike_depth=256, pool_depth=8)
    moved = dict.fromkeys(("activations_read", "activations_written", "weights_read", "parameters_read", "pool"), 3200)
    found = {memory.name: memory for memory in of_engine(config, moved, least_rows=64)}
    assert set(found) == {"spikes", "weights", "channels", "walk", "program"}
    assert (found["weights"].width, found["weights"].depth, found["weights"].copies) == (32, 128, 2)
    assert (found["weights"].reads, found["weights"].writes) == (100, 0)
    assert (found["spikes"].reads, found["spikes"].writes) == (100, 100)
    weights = found["weights"]
    assert weights.uj(2.0) == pytest.approx(100 * weights.read_pj * 1e-6 + 2 * leakage_uw(32, 128, ONE_PORT) * 2.0)
    assert weights.figures(2.0)["uj"] == weights.uj(2.0)
    rival = {memory.name: memory for memory in of_engine(config, moved, weight_bits=16, word_bits=64)}
    assert rival["weights"].reads == rival["spikes"].reads == 50
    assert sram.source(130, 1.8).startswith("CACTI 7 (90 nm")
