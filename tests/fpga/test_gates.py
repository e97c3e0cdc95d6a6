# SPDX-License-Identifier: Apache-2.0
"""Netlists: after synthesis every word, logit, class and counter is still the model's."""

import numpy as np
import pytest

from networks import random_codes, random_network
from onespike.fpga.netlist import cell_models, netlist
from onespike.hw.config import EngineConfig
from onespike.model.cost.area import single_ports
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.sim.engine import simulate


@pytest.mark.slow
@pytest.mark.parametrize(("family", "through_load"), [("ecp5", True), ("ecp5", False), ("ice40", True)])
def test_netlist_equals_model(family, through_load, tmp_path):
    rng = np.random.default_rng(3)
    net = random_network(rng, (3, 8, 15), 60)
    config = EngineConfig(banks=2, lanes=4, fire_lanes=4, word_bits=16, max_code=60, loadable=through_load)
    mapping = map_network(net, fit_config(net, config))
    found = simulate(mapping, random_codes(rng, net, 3), tmp_path, gates=family, through_load=through_load)
    assert found.mismatches == found.cycle_mismatches == 0 and found.words > 20
    # The netlist is that of the router: registers have moved into block RAMs.
    netlists = [path.read_text() for path in tmp_path.rglob("netlist.v")]
    assert netlists and all(("OUTREG" in text) == (family == "ecp5") for text in netlists)


@pytest.mark.slow
def test_weights_in_single_port_rams(tmp_path):
    """The weights become the part's RAMs, as Yosys models them, and are loaded before the images."""
    rng = np.random.default_rng(4)
    net = random_network(rng, (3, 8, 15), 60)
    config = EngineConfig(banks=1, lanes=4, fire_lanes=4, word_bits=16, max_code=60, single_port=True)
    mapping = map_network(net, fit_config(net, config))
    found = simulate(mapping, random_codes(rng, net, 2), tmp_path, gates="ice40", through_load=True)
    assert found.mismatches == found.cycle_mismatches == 0 and found.words > 20
    (text,) = (path.read_text() for path in tmp_path.rglob("netlist.v"))
    assert text.count("  SB_SPRAM256KA ") == single_ports(mapping.config) == 2


def test_cell_models_are_whole():
    text = cell_models("ecp5")
    assert text.count("\nmodule DP16KD") == 1 and "specify" not in text and "`include" not in text


def test_unknown_family(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^No cell models for 'max10'; choose one of ecp5, ice40\.$"):
        netlist("", "max10", tmp_path)
