# SPDX-License-Identifier: Apache-2.0
"""Graph networks as people write them: each is compared with its module in float64 by the import itself."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modules import Plain
from onespike.model.convert.converter import convert, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend import aten_nodes
from onespike.model.frontend.importer import import_module, import_program
from onespike.model.network.judge import answers
from onespike.model.training.graphs import normalised

RNG = np.random.default_rng(5)
NODES, FEATURES, HIDDEN, CLASSES = 7, 5, 4, 3
EDGES = np.array([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 6, 3, 6]])
MATRIX = torch.from_numpy(normalised(EDGES, NODES)).float()
X = RNG.random((NODES, FEATURES)).astype(np.float32)
SETS = RNG.random((20, NODES, FEATURES)).astype(np.float32)


class Network(nn.Module):
    """W1, b1 and a linear layer under a function of (self, x); the graph as `A` and as weighted edges."""

    def __init__(self, function, matrix=MATRIX):
        super().__init__()
        torch.manual_seed(1)
        self.function = function
        self.register_buffer("A", matrix)
        ends = MATRIX.nonzero().T
        self.register_buffer("ends", ends)
        self.register_buffer("share", MATRIX[ends[0], ends[1]])
        self.W1, self.b1 = nn.Parameter(torch.randn(FEATURES, HIDDEN)), nn.Parameter(torch.randn(HIDDEN))
        self.a, self.b = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        self.norm = nn.BatchNorm1d(HIDDEN)

    def forward(self, x):
        return self.function(self, x)


def over_edges(m, x, layer):
    """torch_geometric's GCNConv, as its export shows it: messages along edges, added up where they arrive."""
    messages = layer(x).index_select(-2, m.ends[1]) * m.share.view(-1, 1)
    index = m.ends[0].view(-1, 1).expand(-1, messages.shape[-1])
    return messages.new_zeros(NODES, messages.shape[-1]).scatter_add(0, index, messages)


def added(m, messages):
    return torch.zeros(NODES, messages.shape[-1]).index_add(0, m.ends[0], messages * m.share[:, None])


ANY = {  # of one graph [nodes, features] and of several
    "A (X W)": lambda m, x: m.A @ m.b(F.relu(m.A @ (x @ m.W1) + m.b1)),
    "(A X) W": lambda m, x: m.b(m.A @ F.relu((m.A @ x) @ m.W1 + m.b1)),
    "bias inside": lambda m, x: m.A @ m.b(F.relu(m.A @ m.a(x))),
    "F.linear": lambda m, x: m.A @ F.linear(F.relu(torch.matmul(m.A, F.linear(x, m.W1.T, m.b1))), m.b.weight),
    "log_softmax": lambda m, x: F.log_softmax(m.A @ m.b(F.dropout(F.relu(m.A @ m.a(x)), 0.5, m.training)), -1),
    "argmax": lambda m, x: (m.A @ m.b(F.relu(m.A @ m.a(x)))).argmax(-1),
    "skip": lambda m, x: m.A @ m.b(F.relu(m.A @ m.a(x) + x @ m.W1)),
    "concatenated": lambda m, x: m.A @ m.b(F.relu(torch.cat([m.A @ m.a(x)[..., :2], m.a(x)[..., 1:3]], -1))),
    "two hops": lambda m, x: m.b(m.A @ (m.A @ m.a(x))),
    "no graph behind": lambda m, x: m.b(F.relu(m.A @ m.a(x))),
    "no graph before": lambda m, x: m.A @ m.b(F.relu(m.a(x))),
    "bias of each node": lambda m, x: m.A @ m.b(F.relu(m.A @ m.a(x) + torch.arange(7.0)[:, None] / 9)),
    "degree apart": lambda m, x: m.A @ m.b(F.relu(m.share[:7, None] * (m.A @ m.a(x / m.share[:7, None])))),
    "LeakyReLU": lambda m, x: m.A @ m.b(F.leaky_relu(m.A @ m.a(x), 0.1)),
    "clip and floor": lambda m, x: m.A @ m.b(torch.floor(torch.clamp(m.A @ m.a(x) / 2, 0, 1) * 8 + 0.5) / 4),
    "coarser": lambda m, x: m.b(F.relu(m.A[:3] @ m.a(x))),
    "mean of all nodes": lambda m, x: m.b(F.relu(m.A @ m.a(x)).mean(-2)),
    "some nodes": lambda m, x: m.b(F.relu(m.A @ m.a(x))[..., torch.tensor([1, 4]), :]),
}
ONE = {  # of [nodes, features] alone
    "addmm": lambda m, x: m.A @ m.b(F.relu(torch.addmm(m.b1, m.A, x @ m.W1))),
    "einsum": lambda m, x: torch.einsum("ij,jk->ik", m.A, m.b(F.relu(m.A @ torch.einsum("nf,fo->no", x, m.W1)))),
    "batch norm": lambda m, x: m.A @ m.b(F.relu(m.norm(m.A @ m.a(x)))),
    "scatter_add": lambda m, x: over_edges(m, F.relu(over_edges(m, x, m.a) + m.b1), m.b),
    "index_add": lambda m, x: added(m, m.b(F.relu(added(m, m.a(x)[m.ends[1]])))[m.ends[1]]),
}
SPARSE = {
    "sparse.mm": (lambda m, x: torch.sparse.mm(m.A, m.b(F.relu(torch.spmm(m.A, m.a(x))))), MATRIX.to_sparse()),
    "sparse @": (lambda m, x: m.A @ m.b(F.relu(m.A @ m.a(x))), MATRIX.to_sparse()),
}
CASES = [(name, ANY[name], MATRIX, (X, SETS)[place % 2]) for place, name in enumerate(ANY)]
CASES += [("A (X W) of sets", ANY["A (X W)"], MATRIX, SETS), ("mean of one", ANY["mean of all nodes"], MATRIX, X)]
CASES += [(name, ONE[name], MATRIX, X) for name in ONE] + [(name, *case, X) for name, case in SPARSE.items()]
CASES += [("einsum of sets", lambda m, x: m.b(F.relu(torch.einsum("ij,bjk->bik", m.A, m.a(x)))), MATRIX, SETS)]


@pytest.mark.parametrize(("function", "matrix", "x"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_form_is_the_module(function, matrix, x):
    graph = import_module(Network(function, matrix).eval(), torch.from_numpy(x))  # to 1e-9 of the largest logit
    assert graph.channels_last and graph.shape == (FEATURES, 1, NODES)


def test_compressed_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns once that they are new
        matrix = MATRIX.to_sparse_csr()
    graph = import_module(Network(ANY["bias inside"], matrix).eval(), torch.from_numpy(X))
    assert graph.output == (CLASSES, 1, NODES)


def test_program_and_module_are_the_same_network():
    module = Network(ANY["A (X W)"]).eval()
    program = torch.export.export(module, (torch.from_numpy(SETS),), dynamic_shapes=({0: torch.export.Dim("sets")},))
    graph, other = import_program(program), import_module(module, torch.from_numpy(SETS))
    assert graph.output == other.output == (CLASSES, 1, NODES)
    images = SETS.transpose(0, 2, 1)[:, :, None]
    np.testing.assert_allclose(graph.run(images), other.run(images), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("x", [X, SETS])
def test_answers_are_the_nodes(x):
    """Golden model and module answer alike where the counts are fine; features are given as the module takes them."""
    module = Network(ANY["A (X W)"]).eval()
    net = convert(module, calibration=x, groups=255, weight_bits=12)
    wanted = module(torch.from_numpy(x)).detach().numpy().reshape(-1, NODES, CLASSES)
    logits = net.golden(x)
    found = logits.reshape(-1, CLASSES, NODES).transpose(0, 2, 1) * net.layers[-1].step
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert (answers(logits, net.output)[:, 0] == wanted.argmax(-1)).mean() > 0.98
    np.testing.assert_array_equal(net.golden(np.swapaxes(x.reshape(-1, NODES, FEATURES), 1, 2)[:, :, None]), logits)


def test_weights_of_a_wide_layer_stay_few():
    """X W1 is stored node by node, whatever the order in which it was written, so that W1 is there once."""
    wide = Plain(lambda m, x: m.b((m.A @ x) @ m.W), b=nn.ReLU())
    wide.register_buffer("A", MATRIX)
    wide.W = nn.Parameter(torch.randn(60, 4))
    graph = import_module(wide.eval(), torch.zeros(1, NODES, 60))
    assert [node.terms[0].weights.shape for node in graph.nodes] == [(4, 60, 1, 1), (28, 4, 1, 7)]


def test_levels_of_a_table():
    net = prepare(Network(ANY["A (X W)"]).eval(), calibration=SETS, levels="short").net
    assert [layer.levels is not None for layer in net.layers] == [False, True, False, False]  # the others: sums
    assert net.golden(SETS).shape == (20, CLASSES * NODES)


FITS = r"The graph's matrix 'A' \[%s\] does not fit \[%s\], 5 nodes with 5 features; it must have a row and a col"
REFUSED = {
    "five nodes": (ANY["A (X W)"], MATRIX, X[:5], FITS % ("7, 7", "5, 5")),
    "sets of five nodes": (ANY["A (X W)"], MATRIX, SETS[:, :5], FITS % ("7, 7", "1, 5, 5")),
    "not square": (ANY["A (X W)"], MATRIX[:6], X, r"The graph's matrix 'A' \[6, 7\] does not fit \[7, 5\]"),
    "sparse, five nodes": (SPARSE["sparse.mm"][0], MATRIX.to_sparse(), X[:5], "The graph's matrix 'A'"),
    "not finite": (ANY["A (X W)"], MATRIX / 0, X,
        r"^The matrix 'A' holds NaN or infinite values; where it is a graph's, give each node an edge to itself before "
        r"degrees divide\.$"),
    "maximum": (lambda m, x: m.b(F.relu(m.A @ m.a(x)).amax(-2)), MATRIX, X, "choice is mean or sum over the neigh"),
    "softmax over nodes": (lambda m, x: F.softmax(m.A @ m.a(x), 0), MATRIX, X, "give it the axis of classes, dim=-1"),
    "transposed": (lambda m, x: (m.A @ m.a(x)).T, MATRIX, X, r"choice is \[nodes, features\] as it is"),
    "matrix of the data": (lambda m, x: m.A @ (x @ x.T) @ m.a(x), MATRIX, X, r"choice is \[nodes, features\] as it is"),
    "another einsum": (lambda m, x: torch.einsum("ij,jk->ki", m.A, m.a(x)), MATRIX, X, "choice is matmul"),
    "square": (lambda m, x: m.b((m.A @ m.a(x)) ** 2), MATRIX, X, "pow.*not supported in a graph network"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence(name):
    function, matrix, x, sentence = REFUSED[name]
    with pytest.raises(OneSpikeError, match=sentence):
        convert(Network(function, matrix).eval(), calibration=x)


def test_what_is_refused_has_no_method():
    assert not [name for name in aten_nodes.NEAREST if hasattr(aten_nodes.NodeOperations, f"op_{name}")]


def test_too_large():
    big = Plain(lambda m, x: F.relu(m.A @ m.a(x)), a=nn.Linear(2, 64))
    big.register_buffer("A", torch.eye(300))
    with pytest.raises(OneSpikeError, match=r"300 nodes with 64 features need a kernel of 368,640,000 weights"):
        import_module(big.eval(), torch.zeros(1, 300, 2))


def test_features_of_another_shape():
    net = convert(Network(ANY["A (X W)"]).eval(), calibration=SETS)
    sentence = r"^Images must have the shape \(N, 7, 5\) or \(7, 5\), 7 nodes with 5 features, not \(5, 7\)\.$"
    with pytest.raises(OneSpikeError, match=sentence):
        net.golden(X.T)
