# SPDX-License-Identifier: Apache-2.0
"""One table of short levels for a whole network: cheaper than a fixed one, dearer events make it sparser."""

import dataclasses

import numpy as np

from networks import float_graph
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.rounding import SHORT
from onespike.model.convert.short_choice import network_levels
from onespike.model.convert.short_levels import events_of
from onespike.model.network.spec import INPUT


def cost(conversion, images):
    """(squared error of the logits relative to the float network's power, events of all hidden values)."""
    net = conversion.net
    found = net.golden(images, layers=True)
    real = conversion.original.run(images, np.float32)
    counts = [np.unique(found.codes[layer.name], return_counts=True) for layer in net.layers[:-1]]
    events = sum(events_of(int(v)) * int(n) for values, numbers in counts for v, n in zip(values, numbers, strict=True))
    return float(((found.logits * net.layers[-1].step - real) ** 2).sum() / (real**2).sum()), events


def test_dearer_events_are_fewer_and_the_fixed_table_is_no_better_at_both():
    graph, images = float_graph(5)
    tables = [network_levels(graph, images, price) for price in (0.0, 0.01, 0.2)]
    found = [cost(prepare(graph, calibration=images, levels=table), images) for table in tables]
    events = [number for _, number in found]
    assert events == sorted(events, reverse=True) and events[0] > 1.1 * events[-1]
    fixed = cost(prepare(graph, calibration=images, levels=SHORT), images)
    assert all(error < fixed[0] or number < fixed[1] for error, number in found)
    assert all(len(table.levels) == 16 and table.low == 0 and table.top <= 40 for table in tables)


def test_convert_takes_the_networks_own_table():
    graph, images = float_graph(5)
    own = network_levels(graph, images)
    found = prepare(graph, calibration=images, levels="short").levels
    assert found and set(found.values()) == {own}
    hashes = {convert(graph, calibration=images, levels="short", threads=threads).hash for threads in (1, 3)}
    assert len(hashes) == 1


def test_only_the_shape_of_activations_counts():
    graph, images = float_graph(5)

    def louder(node):
        terms = tuple(
            dataclasses.replace(term, weights=term.weights * 4) if term.tensor == INPUT else term for term in node.terms
        )
        return dataclasses.replace(node, terms=terms, bias=node.bias * 4)

    loud = dataclasses.replace(graph, nodes=tuple(map(louder, graph.nodes)))
    assert np.array_equal(loud.run(images, np.float32), 4 * graph.run(images, np.float32))
    assert network_levels(loud, images) == network_levels(graph, images)


def test_a_network_without_relus_has_no_table():
    graph, images = float_graph(5)
    signed = dataclasses.replace(graph, nodes=tuple(dataclasses.replace(node, floor=None) for node in graph.nodes))
    assert network_levels(signed, images) is None
