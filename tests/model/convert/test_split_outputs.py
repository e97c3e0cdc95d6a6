# SPDX-License-Identifier: Apache-2.0
"""Outputs of very different scale keep their bits, and nothing that rounds away does so without a word."""

import dataclasses

import numpy as np
import pytest

from networks import float_graph
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.cost.cycles import predict_all
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import golden
from onespike.model.network.spec import INPUT


def scaled(graph: Graph, scale: np.ndarray) -> Graph:
    """The last node's outputs times `scale`."""
    last = graph.nodes[-1]
    terms = tuple(dataclasses.replace(t, weights=t.weights * scale[:, None, None, None]) for t in last.terms)
    return dataclasses.replace(
        graph, nodes=(*graph.nodes[:-1], dataclasses.replace(last, terms=terms, bias=last.bias * scale))
    )


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("scale", [(1, 1000, 1, 1000), (1, 30, 1000, 30000), (1e-3, 1, 1, 1)])
def test_every_output_follows_the_float_network(scale, refit):
    graph, images = float_graph()
    plain = prepare(graph, None, images[:128], groups=15, refit=refit)
    graph = scaled(graph, np.array(scale))
    conversion = prepare(graph, None, images[:128], groups=15, accumulator_bits=32, refit=refit)
    wanted = graph.run(images)
    found = conversion.net.golden(images) * conversion.net.layers[-1].step
    error = ((found - wanted) ** 2).mean(0) / wanted.var(0)
    plain_wanted = wanted / scale
    even = plain.net.golden(images) * plain.net.layers[-1].step - plain_wanted
    even = (even**2).mean(0) / plain_wanted.var(0)
    assert (error < 1.3 * even + 0.002).all() and not conversion.notes
    assert conversion.net.accumulator_bits <= 32
    # Outputs of one source share their bits: the largest has nearly all of them.
    assert min(np.abs(source.weights).max() for source in conversion.net.layers[-1].sources) > 31


def test_outputs_of_one_scale_stay_one_source():
    graph, images = float_graph()
    for scale in ((1, 1, 1, 1), (1, 2, 4, 8), (0, 1, 1, 1)):
        net = prepare(scaled(graph, np.array(scale, float)), None, images[:64]).net
        assert [source.shift for source in net.layers[-1].sources] == [0]


def test_an_accumulator_too_narrow_for_all_outputs():
    """As many places as there are, and a sentence on the output that is constant all the same."""
    graph, images = float_graph()
    conversion = prepare(scaled(graph, np.array([1, 1, 1, 1e-7])), None, images[:64], groups=15)
    assert conversion.net.accumulator_bits <= 24
    assert conversion.notes == (
        "Output 3 of layer 'd' is constant: its weights are too small beside those of other outputs; allow more weight "
        "bits and accumulator bits, or scale it up.",
    )


def test_a_tensor_that_rounds_away():
    term = Term(tensor=INPUT, weights=np.ones((4, 1, 1, 1)))
    small, large = (Term(tensor=t, weights=w * np.ones((2, 4, 1, 1))) for t, w in (("a", 0.002), ("b", 1.0)))
    nodes = (
        Node(name="a", terms=(term,), bias=np.zeros(4)),
        Node(name="b", terms=(term,), bias=np.zeros(4)),
        Node(name="c", terms=(small, large), bias=np.zeros(2)),
        Node(name="d", terms=(Term(tensor="c", weights=np.eye(2)[:, :, None, None]),), bias=np.zeros(2), fires=False),
    )
    images = np.random.default_rng(0).random((32, 1, 2, 2)).astype(np.float32)
    conversion = prepare(Graph(shape=(1, 2, 2), nodes=nodes), None, images, groups=255, refit=False)
    assert conversion.notes == (
        "Layer 'c' ignores 'a': all weights on it are too small beside others; allow more weight bits.",
    )
    assert prepare(Graph(shape=(1, 2, 2), nodes=nodes), None, images, groups=255, weight_bits=12).notes == ()


def test_the_engine_takes_several_sources_on_one_tensor():
    graph, images = float_graph()
    net = prepare(scaled(graph, np.array([1, 1000, 1, 1])), None, images[:64]).net
    mapping = map_network(net, fit_config(net, EngineConfig(banks=2, lanes=8), slices=1), slices=1)
    result = golden.run(net, net.image.quantise(images[:2]), layers=True)
    assert len(net.layers[-1].sources) == 2 and predict_all(mapping, result)[1][-1].total > 0
