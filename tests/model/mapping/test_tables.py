# SPDX-License-Identifier: Apache-2.0
"""Tables of a mapped network: which there are, what the engine needs for them, and what it cannot hold."""

import numpy as np
import pytest

from described import layer, source
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.tables import count_range
from onespike.model.network.levels import Levels, nearest
from onespike.model.network.spec import INPUT, Image, Layer, Pool, SpikeNet
from onespike.model.neurons.count import count
from onespike.model.neurons.levels import levels


def chain(*options: dict) -> SpikeNet:
    """Layers of one channel in a row, each with these options, and a last one."""
    layers, tensor, side = [], INPUT, 2 ** len(options)
    for number, own in enumerate(options):
        if "levels" in own:
            own = own | {"groups": own["levels"].top, "low": own["levels"].low}
        layers.append(layer(f"l{number}", source(tensor, (1, 1, 1, 1)), **own))
        tensor, side = f"l{number}", side // own["pool"].stride[0] if "pool" in own else side
    layers.append(layer("out", source(tensor, (2, 1, side, side)), groups=0, shift=np.zeros(2, int)))
    return SpikeNet(image=Image(shape=(1, 2 ** len(options), 2 ** len(options))), layers=tuple(layers))


def ascending(number: int) -> Levels:
    return nearest(range(number))


SUM = Pool(kind="sum", kernel=(2, 2), stride=(2, 2))


@pytest.mark.parametrize("known", [(0, 1, 4), (-6, -1, 0, 2), (-3, 0, 5)])
@pytest.mark.parametrize("first", [-9, -1, 0, 1, 4])
def test_what_is_clipped_before_the_search_changes_no_level(known, first):
    """The count unit stops at both ends; beyond the first and the last threshold nothing is lost."""
    table = Levels(known, tuple(range(first, first + len(known) - 1)))
    low, top = count_range(Layer(
        name="a", sources=(source(INPUT, (1, 1, 1, 1)),), bias=np.zeros(1, int), shift=np.zeros(1, int),
        groups=table.top, low=table.low, levels=table,
    ))  # fmt: skip
    values = np.arange(-30, 31)
    clipped = count(values, 0, top, -low)
    wanted = levels(values, table.thresholds, table.levels)
    np.testing.assert_array_equal(levels(clipped, table.thresholds, table.levels), wanted)
    assert low <= 0 <= top and (low == 0 or first < 1) and (top == 0 or top == table.thresholds[-1])


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ([{"groups": 8}], {"max_groups": 8, "max_code": 8}),
        ([{"groups": 7, "low": -8}], {"max_groups": 8, "max_code": 15, "signed_codes": True}),
        ([{"groups": 20, "low": -3}], {"max_groups": 20, "max_code": 255, "signed_codes": True}),
        ([{"levels": ascending(16)}], {"max_groups": 58, "max_code": 15, "tables": 1, "table_codes": 16}),
        ([{"levels": ascending(17)}], {"max_groups": 62, "max_code": 255, "tables": 1, "table_codes": 32}),
        ([{"levels": ascending(4)}] * 3, {"max_groups": 10, "max_code": 15, "tables": 1, "table_codes": 16}),
        ([{"levels": ascending(n)} for n in (3, 4)], {"tables": 2}),
        ([{"levels": ascending(n)} for n in (3, 4, 5)], {"tables": 4}),
        ([{"levels": ascending(4), "pool": SUM}, {"levels": ascending(4)}], {"tables": 2, "max_code": 15}),
        ([{"levels": nearest((-2, 0, 2))}], {"signed_codes": True, "tables": 1, "max_groups": 5}),
        ([{"levels": Levels((0, 2), (0,))}], {"signed_codes": True, "max_groups": 1}),
        ([{"levels": Levels((0, 2), (1,))}], {"max_groups": 1}),
    ],
)
def test_what_an_engine_needs(options, needs):
    net = chain(*options)
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=1, fire_lanes=1)))
    names = ("signed_codes", "tables", "table_codes")
    assert {name: mapping.needs[name] for name in needs} == needs
    if "signed_codes" not in needs:
        assert "signed_codes" not in mapping.needs
    if not any("levels" in own for own in options):
        assert not {*names[1:]} & mapping.needs.keys()
    assert len(mapping.tables) <= mapping.config.tables


def test_equal_tables_are_one_whatever_their_fraction_means():
    one, other = Levels((0, 1, 2), (1, 3), 0), Levels((0, 1, 2), (1, 3), 1)
    net = chain({"levels": one}, {"levels": other})
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=1, fire_lanes=1)))
    assert len(mapping.tables) == 1 and [layer.table for layer in mapping.layers] == [0, 0, None]


def test_more_tables_than_an_engine_holds():
    """Each of five tables is stored as numbers by one layer, and as levels in front of a sum by another."""
    options = [{"levels": ascending(n)} | more for n in (3, 4, 5, 6, 7) for more in ({}, {"pool": SUM})]
    net = chain(*options)
    with pytest.raises(OneSpikeError, match=r"^The layers have 10 different tables of levels, more than the 8 that an"):
        fit_config(net, EngineConfig(banks=1, lanes=1, fire_lanes=1))


def test_engines_that_cannot_hold_the_values():
    signed, tabled = chain({"low": -3}), chain({"levels": ascending(4)})
    with pytest.raises(OneSpikeError, match=r"^Layer 'l0' counts down to -3, but the engine has no signed codes; "):
        map_network(signed, EngineConfig())
    with pytest.raises(OneSpikeError, match=r"^The network needs tables = 1, but the engine has 0; raise tables or"):
        map_network(tabled, EngineConfig())
    for net, kind in ((signed, "signed counts"), (tabled, "the levels of a table")):
        sentence = rf"^An engine with the unary code needs .*, but layer 'l0' fires {kind}; use the radix code\.$"
        with pytest.raises(OneSpikeError, match=sentence):
            map_network(net, EngineConfig(code="unary"))
