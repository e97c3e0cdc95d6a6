# SPDX-License-Identifier: Apache-2.0
"""g by layer: the events are those of the integer network, the budget holds, and the logits' error falls."""

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.calibrate import Clipping
from onespike.model.convert.converter import prepare
from onespike.model.convert.sensitivity import Sensitivity, choose_groups, sensitivities, uniform_events
from onespike.model.errors import OneSpikeError
from onespike.model.network.operations import count


@pytest.fixture(scope="module")
def measured():
    graph, images = float_graph()
    return graph, images, sensitivities(graph, images[:64], True, Clipping(), (3, 4, 6, 8, 10, 15, 31))


def test_more_groups_mean_less_error(measured):
    _, _, found = measured
    assert [layer.name for layer in found] == ["a", "b", "c"]
    for layer in found:
        assert layer.errors[3] > layer.errors[8] > layer.errors[31] > 0
        # Counts up to 3 go bit by bit; larger ones are digits, so that 8 groups may cost less than 3.
        assert layer.events[4] < layer.events[8] < layer.events[15] < layer.events[31] < 2 * layer.events[3]


def test_events_are_those_of_the_integer_network(measured):
    graph, images, found = measured
    net = prepare(graph, None, images[:64], groups=8, refit=False, bias_correction=False).net
    operations = count(net, net.image.quantise(images[:64]))
    hidden = sum(layer.events_radix for layer in operations.layers[1:]) / 64  # the first layer reads pixels
    assert uniform_events(found, 8) == pytest.approx(hidden, rel=0.05)


def test_mixed_groups_are_better_for_the_same_events(measured):
    graph, images, found = measured
    budget = uniform_events(found, 6)
    chosen = choose_groups(found, budget)
    assert len(set(chosen.values())) > 1
    assert sum(layer.events[chosen[layer.name]] for layer in found) <= budget
    wanted, errors = graph.run(images[128:]), []
    for groups in (6, chosen):
        net = prepare(graph, None, images[:128], groups=groups).net
        errors.append(float(((net.golden(images[128:]) * net.layers[-1].step - wanted) ** 2).mean()))
    assert errors[1] < errors[0]
    automatic = prepare(graph, None, images[:128], groups="auto", budget=6)
    assert set(automatic.groups) == {"a", "b", "c"}


def test_choice_of_a_worked_example():
    """From 3 and 3: raising y saves 6 an event, x only 2; the last step of 10 does not fit any more."""
    x = Sensitivity(name="x", errors={3: 30.0, 7: 10.0}, events={3: 10.0, 7: 20.0})
    y = Sensitivity(name="y", errors={3: 40.0, 7: 10.0, 15: 1.0}, events={3: 5.0, 7: 10.0, 15: 20.0})
    assert choose_groups([x, y], 24) == {"x": 3, "y": 7}
    assert choose_groups([x, y], 30) == {"x": 7, "y": 7}
    assert choose_groups([x, y], 39) == {"x": 7, "y": 7}
    assert choose_groups([x, y], 40) == {"x": 7, "y": 15}
    with pytest.raises(OneSpikeError, match=r"^A budget of 14 events is too small: the least groups need 15\.$"):
        choose_groups([x, y], 14)


def test_other_words_are_refused():
    graph, images = float_graph()
    with pytest.raises(OneSpikeError, match=r"^groups of layer 'a' must be a whole number in 1\.\.4095, not 'many'\.$"):
        prepare(graph, None, images, groups="many")


def test_silent_layers_cost_nothing():
    graph, images = float_graph()
    for node in graph.nodes[:3]:
        node.bias[:] = -1e3
    found = sensitivities(graph, images[:4], True, Clipping(), (3, 8))
    assert all(not np.any(list(layer.events.values())) for layer in found)
    assert choose_groups(found, 0.0) == {"a": 3, "b": 3, "c": 3}
