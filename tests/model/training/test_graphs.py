# SPDX-License-Identifier: Apache-2.0
"""Graphs: integers classify their nodes as the float network does; files are read, damage is refused."""

import functools
import json
import textwrap

import numpy as np
import pytest
import torch

import onespike
from cited import LABELS, PAIRS, WORDS, content, planetoid
from command_line import fails
from onespike.cli import main
from onespike.model.convert.converter import prepare
from onespike.model.convert.evaluate import evaluate
from onespike.model.errors import OneSpikeError
from onespike.model.network.judge import judge
from onespike.model.training import gcn
from onespike.model.training.data import load
from onespike.model.training.finetune import finetune
from onespike.model.training.gcn import Gcn, GraphTraining, node_accuracy, train_gcn
from onespike.model.training.graphs import GraphData, load_graph, normalised, synthetic
from paths import ROOT


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_integers_lose_less_than_a_point(seed):
    train, test = synthetic("train", 24, seed), synthetic("test", 24, seed)
    module = train_gcn(train, GraphTraining(epochs=60, rate=0.03, seed=seed))
    features_alone = Gcn(np.eye(24), 16, 4)
    features_alone.load_state_dict(module.state_dict() | {"matrix": torch.eye(24)})
    assert node_accuracy(module, test) > node_accuracy(features_alone.eval(), test) + 0.05  # the graph tells much
    for settings in ({}, {"levels": "short"}):
        found = evaluate(prepare(module, calibration=train.features, **settings), test.features, test.labels)
        assert found.real == pytest.approx(node_accuracy(module, test), abs=1e-3)  # of 2400 nodes
        assert found.golden > found.real - 0.01


def test_nodes_are_not_fine_tuned():
    data = synthetic("train", 12)
    conversion = prepare(Gcn(data.matrix, 16, 4).eval(), calibration=data.features)
    with pytest.raises(OneSpikeError, match=r"once an image, but this one answers at 12 places; convert it without"):
        finetune(conversion, data.images(), epochs=1)


def test_the_page_of_methods_runs_as_it_stands(monkeypatch):
    lines = (ROOT / "docs" / "methods.md").read_text().split("<!-- gcn: begin -->\n")[1].split("<!-- gcn: end -->")[0]
    monkeypatch.setattr(gcn, "GraphTraining", functools.partial(GraphTraining, epochs=3))
    names = {"onespike": onespike}
    exec(textwrap.dedent(lines), names)
    judged = judge(names["net"].output, names["test"].labels)
    assert judged.share(names["logits"]) == (names["classes"] == names["test"].labels).mean()


def test_synthetic_graph_follows_its_seed():
    one, same, other = synthetic("train", 24), synthetic("train", 24), synthetic("test", 24)
    np.testing.assert_array_equal(one.features, same.features)
    np.testing.assert_array_equal(one.matrix, other.matrix)
    assert not np.array_equal(one.features, other.features)
    assert one.features.min() == 0 and one.features.max() == 1 and one.classes == 4


def test_normalised_adjacency():
    """Three nodes in a row: degrees with the node itself are 2, 3, 2."""
    matrix = normalised(np.array([[0, 2], [1, 1]]), 3)
    a, b = 1 / 2, 6**-0.5
    np.testing.assert_allclose(matrix, [[a, b, 0], [b, 1 / 3, b], [0, b, a]])


def test_part_of_a_graph():
    """Nodes around the one with the most edges, nearest first; then whatever is left."""
    star = np.array([[2, 2, 2, 0], [1, 3, 4, 1]])
    labels = np.arange(6)[None]
    data = GraphData(
        name="star", matrix=normalised(star, 6), features=np.eye(6, dtype=np.float32)[None], labels=labels
    )
    assert data.part(4).labels.tolist() == [[1, 2, 3, 4]] and data.part(6).labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(data.part(4).matrix, data.matrix[1:5, 1:5])
    with pytest.raises(OneSpikeError, match=r"^star has 6 nodes; a part has 2 to as many, not 7\.$"):
        data.part(7)


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [
        (np.ones((3, 4)), r"must be square, a row and a column for each node, not \(3, 4\)\.$"),
        (np.full((3, 3), np.nan), "holds NaN or infinite values; a node without edges needs one to itself.$"),
        (np.array([["a"]]), "must be one array of numbers.$"),
        (np.eye(4), r"^The features of g have the shape \(1, 3, 2\), but its matrix is for 4 nodes; give \(sets, 4, "),
    ],
)
def test_bad_matrices(matrix, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        GraphData(name="g", matrix=matrix, features=np.zeros((1, 3, 2), np.float32), labels=np.zeros((1, 3), int))


def test_other_mistakes():
    with pytest.raises(OneSpikeError, match=r"^Edges join nodes 0..2, but these name 0 to 3.$"):
        normalised(np.array([[0], [3]]), 3)
    with pytest.raises(OneSpikeError, match=r"^Edges must be whole numbers of the shape \(2, edges\), not float64"):
        normalised(np.zeros((2, 3)), 3)
    with pytest.raises(OneSpikeError, match=r"is for 3 nodes with 2 features; the input must be \(sets, 3, 2\), not"):
        Gcn(np.eye(3), 2, 2)(torch.zeros(1, 4, 2))
    with pytest.raises(OneSpikeError, match=r"^There is no graph 'nowhere': give 'graph', or a folder"):
        load_graph("nowhere")


# -- files --------------------------------------------------------------------------------------------------------

scipy_sparse = pytest.importorskip("scipy.sparse")  # of mlxtend: what wrote such files


def test_classic_files(tmp_path):
    content(tmp_path)
    train, test = load_graph(tmp_path), load_graph(tmp_path, "test")
    np.testing.assert_array_equal(train.features[0], WORDS)
    np.testing.assert_allclose(train.matrix, normalised(PAIRS.T, 50))
    learned, asked = train.labels[0] >= 0, test.labels[0] >= 0
    assert learned.sum() == 40 and asked.sum() == 10 and not (learned & asked).any()
    np.testing.assert_array_equal(np.where(learned, train.labels, test.labels)[0], LABELS)
    images = load(f"{tmp_path}@20", "test")
    assert images.images.shape == (1, 12, 1, 20) and images.labels.shape == (1, 1, 20)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_planetoid_files(tmp_path, protocol):
    planetoid(tmp_path, protocol)
    train, test = load_graph(tmp_path), load_graph(tmp_path, "test")
    known = np.arange(50) != 44
    np.testing.assert_array_equal(train.features[0], WORDS * known[:, None])
    np.testing.assert_allclose(train.matrix, normalised(PAIRS.T, 50))
    assert train.labels[0].tolist() == [0, 1, 0, 1] + [-1] * 46
    np.testing.assert_array_equal(test.labels[0], np.where((np.arange(50) >= 30) & known, LABELS, -1))


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


DAMAGED = {
    "harmful": ({"graph": Harm()}, r"ind\.cora\.graph: it asks for __builtin__\.print, which no such file holds"),
    "no pickle": ({"x": b"\x00\x01"}, r"ind\.cora\.x is no pickle"),
    "empty": ({"allx": b""}, r"ind\.cora\.allx is no pickle"),
    "huge memo": ({"y": b"\x80\x02Nr\xff\xff\xff\xff."}, "y is no matrix"),
    "objects": ({"ty": np.array([[None]])}, r"ind\.cora\.ty: an array"),
    "columns": ({"tx": scipy_sparse.csr_matrix(np.ones((19, 5)))}, "its parts tx, allx, y, ty and ally do not fit"),
    "rows": ({"tx": scipy_sparse.csr_matrix(WORDS[:7])}, "test.index does not name each row of tx once, behind"),
    "graph": ({"graph": {0: [50]}}, r"its graph names something else than the nodes 0\.\.49"),
    "no graph": ({"graph": [1]}, "its graph is no table of neighbours"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles(tmp_path, capsys, name):
    changes, sentence = DAMAGED[name]
    planetoid(tmp_path, **changes)
    with pytest.raises(OneSpikeError, match=f"is damaged: {sentence}.*; download it again"):
        load_graph(tmp_path)
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("indices", np.full(WORDS[:30].astype(bool).sum(), 12, np.int32), "allx names columns beyond its 12"),
        ("indptr", np.arange(5, dtype=np.int32), r"allx declares the shape \(30, 12\) for 4 rows"),
        ("indptr", np.arange(31, dtype=np.int32), "allx has rows that do not follow one another"),
        ("_shape", (30, 1 << 40), r"allx declares the shape \(30, 1099511627776\)"),
    ],
)
def test_damaged_matrices(tmp_path, name, value, sentence):
    """What a matrix of compressed rows declares must be what it holds."""
    matrix = scipy_sparse.csr_matrix(WORDS[:30])
    vars(matrix)[name] = value
    planetoid(tmp_path, allx=matrix)
    with pytest.raises(OneSpikeError, match=sentence):
        load_graph(tmp_path)


def test_damaged_text(tmp_path):
    content(tmp_path)
    cites, words = (tmp_path / "cora.cites"), (tmp_path / "cora.content")
    cites.write_text("p1 p2 p3")
    with pytest.raises(OneSpikeError, match=r"cora\.cites must have two papers in every line"):
        load_graph(tmp_path)
    words.write_text("p1 0 1 a\np2 0 x a")
    with pytest.raises(OneSpikeError, match="has a feature that is no number"):
        load_graph(tmp_path)
    words.write_text("p1 0 1 a\np2 0 a")
    with pytest.raises(OneSpikeError, match="the same number of words, three or more, in every line"):
        load_graph(tmp_path)


# -- command line -------------------------------------------------------------------------------------------------


def test_command_line(tmp_path, capsys):
    """Train, convert and evaluate on a part of a graph in files, whose nodes are one image."""
    content(tmp_path)
    model, net, data = str(tmp_path / "g.pt2"), str(tmp_path / "g.spike"), f"{tmp_path}@16"
    figures = str(tmp_path / "figures.json")
    main(["train", "--data", data, "--network", "gcn", "--epochs", "5", "-o", model])
    main(["convert", model, "--calibration", data, "-o", net])
    main(["eval", net, "--data", data, "--model", model, "--json", figures])
    found = json.loads((tmp_path / "figures.json").read_text())["accuracy"]
    assert found["images"] == 1 and 0 <= found["golden"] <= 1 and abs(found["golden"] - found["float"]) < 0.4
    capsys.readouterr()
    sentence = "The network 'gcn' takes a graph, which 'digits' is not; give 'graph' or a folder of a citation "
    sentence += "network's files."
    fails(capsys, sentence, "train", "--data", "digits", "--network", "gcn", "-o", model)
    sentence = "--shift and --flip move pictures; leave them out for 'gcn'."
    fails(capsys, sentence, "train", "--data", data, "--network", "gcn", "--flip", "-o", model)
