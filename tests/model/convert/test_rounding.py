# SPDX-License-Identifier: Apache-2.0
"""Sums become counts or levels: the float rule, the integer layer and the golden model agree at every threshold."""

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.evaluate import quantised_logits
from onespike.model.convert.rounding import SHORT, levels_by_layer, places, rounded, values_of
from onespike.model.errors import OneSpikeError
from onespike.model.network.codes import level_terms
from onespike.model.network.levels import Levels, nearest
from onespike.model.network.spec import SpikeNet


@pytest.mark.parametrize("levels", [None, (0, 1), (0, 1, 2, 3, 4, 6, 8), (0, 3, 4, 9)])
@pytest.mark.parametrize("to_nearest", [True, False])
def test_the_rule_at_every_threshold(levels, to_nearest):
    known = np.array(range(9) if levels is None else levels)
    values = np.arange(-8, 8 * 12, dtype=np.float32) / 8
    distances = values[:, None] - known
    if to_nearest:  # the nearest, of two the larger
        wanted = known[::-1][np.abs(distances)[:, ::-1].argmin(1)]
    else:
        wanted = [known[known <= max(value, 0)].max() for value in values]
    table = None if levels is None else nearest(levels) if to_nearest else Levels(levels, levels[1:])
    np.testing.assert_array_equal(rounded(values, known[-1], table, to_nearest), wanted)


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
@pytest.mark.parametrize("levels", [SHORT, (0, 1, 2, 5), (2, 3, 4, 6, 8, 12, 16)])
def test_converted_layers_fire_their_levels(levels, rounding):
    graph, images = float_graph(2)
    conversion = prepare(graph, calibration=images, levels=levels, rounding=rounding)
    net = conversion.net
    known = (0, *levels) if levels[0] else levels
    codes = net.golden(images, layers=True).codes
    for layer in net.layers[:-1]:
        if layer.levels is None:
            continue
        assert layer.levels.levels == known and conversion.groups[layer.name] == layer.groups == known[-1]
        if layer.pool is None:
            assert set(np.unique(codes[layer.name])) <= set(known)
        # A sum of one unit's size fires by the rule, at both sides of every threshold.
        unit = 1 << int(places(layer)[0])
        sums = np.array([t * unit // 2 + d for t in range(2 * known[-1] + 3) for d in (-1, 0, 1)], np.float64)
        fired = values_of(layer, np.repeat(sums[:, None], layer.channels, 1))[:, 0]
        table = nearest(known) if rounding == "nearest" else Levels(known, known[1:])
        np.testing.assert_array_equal(fired, rounded(sums / unit, known[-1], table))
    real = conversion.original.run(images, np.float32)
    error = np.abs(net.golden(images) * net.layers[-1].step - quantised_logits(conversion, images)).mean()
    assert error < 0.05 * np.abs(real).mean()  # 8-bit weights and moved biases alone are between them


def test_more_levels_come_closer():
    graph, images = float_graph(3)
    errors = []
    for levels in ((1, 4), (1, 2, 4, 8), SHORT):
        net = convert(graph, calibration=images, levels=levels)
        real = graph.run(images, np.float32)
        errors.append(np.abs(net.golden(images) * net.layers[-1].step - real).mean())
    assert errors[0] > errors[1] > 1.5 * errors[2]


def test_short_levels_are_one_event_each():
    assert len(SHORT) == 15 and all(len(level_terms(level, (1, 3, 5)) or ()) == 1 for level in SHORT)
    graph, images = float_graph(2)
    assert {table.levels for table in levels_by_layer(graph, "short").values()} == {(0, *SHORT)}
    assert levels_by_layer(graph, "uniform") == {}
    net = convert(graph, calibration=images, levels="short")
    assert isinstance(net, SpikeNet) and net.layers[0].levels is not None


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ("long", r"^levels must be 'uniform', 'short' or a list of whole levels, not 'long'\.$"),
        ((1, 3, 2), r"^The levels of a table must rise strictly, but 2 follows 3\.$"),
        ((-1, 0, 1), r"^levels must begin at 0 behind a ReLU, not at -1; leave the negative ones out\.$"),
        ((), r"^A table must have 2\.\.32 levels, not 1\.$"),
        ((0.5,), r"^A level must be an integer, not 0\.5\.$"),
    ],
)
def test_levels_that_cannot_be(levels, message):
    graph, images = float_graph(2)
    with pytest.raises(OneSpikeError, match=message):
        convert(graph, calibration=images, levels=levels)
    with pytest.raises(OneSpikeError, match=r"^groups='auto' chooses counts; leave levels='uniform'"):
        convert(graph, calibration=images, levels="short", groups="auto")
