# SPDX-License-Identifier: Apache-2.0
"""What ZigZag is told: every product of the dense network once, and the table's prices; ZigZag itself is optional."""

import importlib.util
import math

import pytest

from command_line import small_net
from networks import grouped_network
from onespike.bench.zigzag import accelerator, second_opinion, workload
from onespike.hw.config import EngineConfig
from onespike.model.cost.energy import access, add, multiply
from onespike.model.cost.sensitivity import file_pj
from onespike.model.errors import OneSpikeError
from onespike.model.network.operations import dense_macs


def test_every_layer_and_product():
    net = small_net()
    layers = workload(net)
    products = sum(math.prod(layer["loop_sizes"]) for layer in layers)
    assert products == sum(dense_macs(net, layer) for layer in net.layers)
    assert [layer["id"] for layer in layers] == list(range(len(layers)))
    with pytest.raises(OneSpikeError, match=r"^Layer 'a' has a kernel in groups, which this comparison does"):
        workload(grouped_network(grouped=True))


def test_the_tables_prices():
    """A row of 4 x 8 bits; a value of 8 bits; sums of 20 bits, eight of them in a file."""
    config = EngineConfig(lanes=4, fire_lanes=4, acc_bits=20)
    plain, filed = accelerator(config, 1), accelerator(config, 8)
    rows = config.weight_depth * 4 * 8
    assert plain["memories"]["weights"]["r_cost"] == pytest.approx(32 * access(rows))
    assert plain["memories"]["file"]["r_cost"] == 0 and "register" not in plain["memories"]
    assert filed["memories"]["file"]["r_cost"] == pytest.approx(20 * file_pj(8, 20)) and "register" in filed["memories"]
    assert plain["operational_array"]["unit_energy"] == multiply(8, 8) + add(20)


@pytest.mark.skipif(importlib.util.find_spec("zigzag") is not None, reason="ZigZag is installed")
def test_without_zigzag(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^The second opinion needs ZigZag: run `pip install zigzag-dse`\.$"):
        second_opinion(small_net(), EngineConfig(), 1, tmp_path)
