# SPDX-License-Identifier: Apache-2.0
"""Answers by the shape of outputs and labels; a network that cannot be judged by the labels at hand is refused."""

import json

import numpy as np
import pytest

from command_line import fails, write_idx
from networks import float_graph
from one_output import one_output
from onespike.cli import main
from onespike.model.convert.converter import prepare
from onespike.model.convert.evaluate import evaluate, float_accuracy
from onespike.model.convert.layerwise import layer_losses
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.judge import answers, judge

RNG = np.random.default_rng(3)


def with_outputs(kernel):
    """The float graph of networks.py with another last layer; its images."""
    graph, images = float_graph()
    last = graph.nodes[-1]
    channels, height, width = graph.shapes()[last.terms[0].tensor]
    weights = RNG.standard_normal((kernel[0], channels, *(kernel[1:] or (height, width)))) / 8
    term = Term(tensor=last.terms[0].tensor, weights=weights)
    node = Node(name=last.name, terms=(term,), bias=np.zeros(kernel[0]), fires=False)
    return Graph(shape=graph.shape, nodes=(*graph.nodes[:-1], node)), images


def balanced(graph, images):
    """The graph with its last bias moved so that every output is above 0 for half of the images."""
    last = graph.nodes[-1]
    sums = graph.run(images).reshape(len(images), last.channels, -1)
    bias = -np.median(sums.transpose(1, 0, 2).reshape(last.channels, -1), axis=1)
    moved = Node(name=last.name, terms=last.terms, bias=bias, fires=False)
    return Graph(shape=graph.shape, nodes=(*graph.nodes[:-1], moved))


def test_answers():
    logits = np.array([[-1], [0], [1]])
    assert answers(logits, (1, 1, 1)).tolist() == answers(logits / 2, (1, 1, 1)).tolist() == [0, 1, 1]
    logits = np.array([[-1, 3, 3], [-1, -2, -3]])
    assert answers(logits, (3, 1, 1)).tolist() == [1, 0]
    assert answers(logits, (3, 1, 1), several=True).tolist() == [[0, 1, 1], [0, 0, 0]]
    maps = RNG.integers(-9, 9, (2, 3 * 2 * 4))
    assert np.array_equal(answers(maps, (3, 2, 4)), maps.reshape(2, 3, 2, 4).argmax(1))
    assert np.array_equal(answers(maps, (1, 4, 6)), maps.reshape(2, 4, 6) >= 0)


def test_nodes_of_a_graph():
    """A map of height 1; -1 is not judged, and one graph needs no axis of its own."""
    logits = np.array([[5, 0, 3, 4, 1, 6, 2, 3]])  # of class 0 at four nodes, then of class 1
    shape = (2, 1, 4)
    assert answers(logits, shape).tolist() == [[[0, 1, 0, 0]]]
    assert judge(shape, [0, 1, 1, -1]).share(logits) == judge(shape, [[0, 1, 1, -1]]).share(logits) == 2 / 3
    judged = judge(shape, [[[0, 1, 1, -1]], [[-1, -1, -1, 1]]])
    both = np.concatenate([logits, logits])
    assert judged.share(both) == 2 / 4 and judged.right(both).tolist() == [2 / 3, 0]
    flat = judge(shape, [[0, 1, 1, -1], [-1, -1, -1, 1]])  # as files of graphs hold them
    assert flat.right(both).tolist() == judged.right(both).tolist()
    with pytest.raises(OneSpikeError, match=r"^No place of 'g' has a label; those that count are 0 or more\.$"):
        judge(shape, [[-1] * 4], "'g'")
    with pytest.raises(OneSpikeError, match=r"range from -2 to 1"):
        judge(shape, [0, 1, -2, -1])


def test_labels_of_several_kinds():
    logits = np.array([[5, -1, 2], [-5, -1, -2]])
    assert judge((3, 1, 1), [0, 2]).share(logits) == 0.5
    assert judge((3, 1, 1), [[1, 0, 0], [0, 0, 1]]).share(logits) == 0.5  # one-hot: classes
    assert judge((3, 1, 1), [[1, 0, 1], [0, 1, 0]]).share(logits) == pytest.approx(5 / 6)
    assert judge((1, 1, 1), [[1], [1]]).share(logits[:, :1]) == judge((1, 1, 1), [1, 1]).share(logits[:, :1]) == 0.5


REFUSED = {
    "more classes than outputs": ((5, 1, 1), [0, 7], r"^The network has 5 outputs, which tell classes 0\.\.4 apart,"),
    "ten classes, one output": ((1, 1, 1), [0, 9], r"^The network has 1 output, which tell classes 0\.\.1 apart, "),
    "negative": ((3, 1, 1), [-1, 0], "range from -1 to 0"),
    "real numbers": ((1, 1, 1), [0.5, 0.1], r"^The labels of the data are float64, not classes, so that no answer is"),
    "a map": ((2, 3, 4), [0, 1], r"^The network has 2 outputs at 3 x 4 places, so that labels must have the "),
    "another number of labels": ((3, 1, 1), [[1, 0], [0, 1]], r"must have the shape \(N\), but .* have \(2, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    shape, labels, sentence = REFUSED[name]
    with pytest.raises(OneSpikeError, match=sentence):
        judge(shape, labels)


@pytest.mark.parametrize(("kernel", "several"), [((1,), False), ((3,), True), ((1, 1, 1), False), ((4, 1, 1), False)])
def test_every_stage_judges_alike(kernel, several):
    """One output, several labels, maps of one and of more classes: the float network is right about its own answers."""
    graph, images = with_outputs(kernel)
    graph = balanced(graph, images)
    conversion = prepare(graph, None, images[:64], groups=63, weight_bits=12, accumulator_bits=40)
    net = conversion.net
    labels = answers(graph.run(images), net.output, several=several)
    assert len(np.unique(labels)) > 1
    found = evaluate(conversion, images, labels)
    assert found.real == float_accuracy(graph, images, labels) == 1.0
    assert min(found.quantised, found.golden, found.agreement) > 0.9
    losses = layer_losses(graph, net, images, labels)
    assert losses.layers[-1].alone == 1.0 and losses.layers[-1].upto == pytest.approx(found.golden)
    assert all(loss.error < 0.05 and min(loss.alone, loss.upto) > 0.9 for loss in losses.layers)


def test_commands_and_one_output(capsys, tmp_path):
    """Light pictures are class 1: all are right, though the only logit is always the largest."""
    net = one_output(tmp_path / "one.spike")
    labels = np.arange(8) % 2
    images = RNG.integers(0, 30, (8, 6, 6)) + 200 * labels[:, None, None]
    assert np.array_equal(net.golden(images[:, None])[:, 0] >= 0, labels == 1)
    data = write_idx(tmp_path / "two", images, labels)
    figures = tmp_path / "eval.json"
    report = ["report", str(tmp_path / "one.spike"), "--images", "8", "--json", str(figures), "--data"]
    assert main(["eval", str(tmp_path / "one.spike"), "--data", str(data), "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["accuracy"]["golden"] == 1.0
    assert "one output: class 1 where it is at least 0" in " ".join(capsys.readouterr().out.split())
    assert main([*report, str(data)]) == 0
    assert json.loads(figures.read_text())["accuracy"] == {"golden": 1.0, "images": 8}
    capsys.readouterr()

    # Data of other classes: no accuracy; what does not need one goes on.
    data = write_idx(tmp_path / "many", images, np.arange(8))
    sentence = (
        "The network has 1 output, which tell classes 0..1 apart, but the labels of 'many' range from 0 to 7; give "
        "data with the classes that it was trained on."
    )
    fails(capsys, sentence, "eval", tmp_path / "one.spike", "--data", data)
    assert main([*report, str(data)]) == 0
    assert json.loads(figures.read_text())["accuracy"]["golden"] is None
    assert f"No accuracy: {sentence}" in capsys.readouterr().out
