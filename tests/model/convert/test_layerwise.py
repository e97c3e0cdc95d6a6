# SPDX-License-Identifier: Apache-2.0
"""Where accuracy is lost: the ends of the chain are the float network and the integers themselves."""

import dataclasses

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.converter import prepare
from onespike.model.convert.layerwise import float_tensors, layer_losses, occupancy, resume, rounder
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden


@pytest.fixture(scope="module")
def made():
    graph, images = float_graph()
    labels = graph.run(images).argmax(1)
    return graph, images, labels, prepare(graph, None, images[:128], groups=3).net


def test_ends_of_the_chain(made):
    graph, images, labels, net = made
    found = layer_losses(graph, net, images, labels)
    assert [layer.name for layer in found.layers] == ["a", "b", "c", "d"]
    last = found.layers[-1]
    assert last.alone == 1.0  # the labels are the float network's own answers
    assert last.upto == (net.golden(images).argmax(1) == labels).mean() < 1
    assert all(0 < layer.error < 0.1 for layer in found.layers)
    logits = net.golden(images).astype(float)
    worth = (logits * graph.run(images)).sum() / (logits**2).sum()
    assert found.worths["d"] == pytest.approx(worth)


def test_fine_steps_lose_nothing(made):
    graph, images, labels, _ = made
    net = prepare(graph, None, images, groups=255, weight_bits=14, accumulator_bits=40).net
    found = layer_losses(graph, net, images, labels)
    assert min(min(layer.alone, layer.upto) for layer in found.layers) > 0.97
    assert max(layer.error for layer in found.layers) < 1e-3
    quantised = graph.run(images, np.float32, rounder(net, found.worths)).argmax(1)
    assert (quantised == labels).mean() > 0.97


def test_resuming_unchanged_gives_the_network_itself(made):
    graph, images, _, _ = made
    real = float_tensors(graph, images[:7])
    wanted = graph.run(images[:7], np.float32)
    for index, node in enumerate(graph.nodes):
        again = resume(graph, index, {node.name: real[node.name].copy()}, real)
        np.testing.assert_allclose(again.reshape(7, -1), wanted, rtol=1e-4, atol=1e-5)


def test_occupancy_counts_every_value(made):
    _, images, _, net = made
    codes = net.image.quantise(images[:130])  # more than one chunk
    found = occupancy(net, codes)
    counts = golden.run(net, codes, layers=True).codes
    assert [layer.name for layer in found] == ["a", "b", "c"]
    for layer in found:
        values = counts[layer.name]
        assert layer.zero == (values == 0).mean()
        assert layer.saturated == (values == net.top_code[layer.name]).mean()
        assert layer.mean == pytest.approx(values.mean())


def test_networks_that_do_not_belong_together(made):
    graph, images, labels, net = made
    nodes = (dataclasses.replace(graph.nodes[0], name="z"), *graph.nodes[1:])
    other = dataclasses.replace(graph, nodes=nodes)
    with pytest.raises(
        OneSpikeError,
        match=r"^The layers of the integer network \(a, b, c, d\) are not those of the float network \(z, b, c, d\); "
        r"give the model that it was converted from\.$",
    ):
        layer_losses(other, net, images, labels)
