# SPDX-License-Identifier: Apache-2.0
"""Channels, branches and tensors that calibration images leave silent are converted, and said to be."""

import dataclasses

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.converter import prepare
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.spec import INPUT


def with_bias(graph: Graph, index: int, bias: np.ndarray) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = dataclasses.replace(nodes[index], bias=bias)
    return dataclasses.replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("refit", [False, True])
def test_a_silent_tensor(refit):
    """The branch b of c = relu(conv(b) + a) never fires; what a gives reaches the logits as before."""
    graph, images = float_graph()
    silent = with_bias(graph, 1, np.full(12, -50.0))
    conversion = prepare(silent, None, images[:128], groups=15, refit=refit)
    result = conversion.net.golden(images, layers=True)
    assert not result.codes["b"].any()
    assert [note for note in conversion.notes if note.startswith("Layer 'b': 12 channels (0, 1, 2,")]
    wanted = silent.run(images)
    found = result.logits * conversion.net.layers[-1].step
    assert ((found - wanted) ** 2).mean() < 0.01 * wanted.var()
    # Were it to fire after all, its counts would be worth what the weights make of one count of a.
    reads = np.abs(graph.nodes[1].terms[0].weights * conversion.steps["a"][:, None, None]).max((1, 2, 3))
    np.testing.assert_allclose(conversion.steps["b"], reads)


def test_a_channel_that_fires_once_in_a_thousand():
    """Its clip level asks for a step that 8-bit weights do not fit; the other channels keep theirs."""
    rng = np.random.default_rng(0)
    weights = np.stack([rng.normal(size=16), 40 * rng.normal(size=16)])
    images = rng.random((1000, 16, 1, 1)).astype(np.float32)
    sums = images[:, :, 0, 0] @ weights.T
    bias = np.array([0.0, 0.02 - sums[:, 1].max()])
    first = Node(name="n", terms=(Term(tensor=INPUT, weights=weights[:, :, None, None]),), bias=bias)
    last = Node(name="l", terms=(Term(tensor="n", weights=np.ones((2, 2, 1, 1))),), bias=np.zeros(2), fires=False)
    graph = Graph(shape=(16, 1, 1), nodes=(first, last))
    for groups in (63, 255):
        conversion = prepare(graph, None, images, groups=groups, weight_bits=4)
        assert conversion.notes == (
            "Layer 'n': channel 1 hardly fires on the calibration images, or too little for the weights; the step of a "
            "count there comes from the weights.",
        )
        term = Term(tensor=INPUT, weights=weights[:1, :, None, None])
        alone = dataclasses.replace(first, terms=(term,), bias=bias[:1])
        short = dataclasses.replace(last, terms=(Term(tensor="n", weights=np.ones((2, 1, 1, 1))),))
        other = prepare(Graph(shape=(16, 1, 1), nodes=(alone, short)), None, images, groups=groups, weight_bits=4)
        assert conversion.steps["n"][0] == pytest.approx(other.steps["n"][0], rel=0.03)
