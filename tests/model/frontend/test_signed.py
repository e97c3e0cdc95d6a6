# SPDX-License-Identifier: Apache-2.0
"""Values with a sign: sums that are stored, and activations that are not a ReLU; equal in torch and golden model."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modules import Plain, conv, randomise
from onespike.model.convert.converter import graph_of, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_module
from onespike.model.training.clamped import ClampQuantised, FloatGraph


def around(*layers, features=144):
    """A convolution, `layers` on its 4 channels of 6x6 places, and a linear layer."""
    return nn.Sequential(conv(1, 4, padding=1), *layers, nn.Flatten(), nn.Linear(features, 3))


def two(function, features=144, **layers):
    layers |= {"a": conv(1, 4, padding=1), "z": nn.Linear(features, 3)}
    return Plain(lambda m, x: m.z(function(m, m.a(x)).flatten(1)), **layers)


def bottleneck(m, x):
    """MobileNetV2: expand, depthwise, project without a ReLU, and add what came in."""
    return x + m.c(F.relu6(m.b(F.relu6(m.e(x)))))


def sums(m, x):
    """Pre-activation: the sum itself goes on."""
    for layer in m.b:
        x = x + layer(F.relu(x))
    return F.relu(x)


def dense(m, x):
    """DenseNet: every layer reads all sums before it, normalised its own way."""
    for norm, layer in zip(m.norms, m.layers, strict=True):
        x = torch.cat([x, layer(F.relu(norm(x)))], 1)
    return F.relu(x)


# name: module, how many tensors hold values below 0
STORED = {
    "padding behind a convolution": (lambda: around(conv(4, 4, padding=1), nn.ReLU()), 1),
    "maximum of sums, no ReLU": (lambda: around(nn.MaxPool2d(2), features=36), 1),
    "two maxima of sums": (lambda: around(nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.ReLU(), features=16), 1),
    "padded average of sums": (lambda: around(nn.AvgPool2d(2, 2, 1), nn.ReLU(), features=64), 1),
    "average of stored sums": (
        lambda: around(conv(4, 4, padding=1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2), features=36), 2,
    ),
    "linear bottlenecks": (
        lambda: two(
            lambda m, x: bottleneck(m.m2, bottleneck(m.m1, x)),
            **{
                f"m{i}": Plain(bottleneck, e=conv(4, 24, 1), b=conv(24, 24, padding=1, groups=24), c=conv(24, 4, 1))
                for i in (1, 2)
            },
        ), 3,
    ),
    "depthwise, no ReLU, 1x1, as in ShuffleNetV2": (
        lambda: around(nn.ReLU(), conv(4, 4, padding=1, groups=4), conv(4, 4, 1), nn.ReLU()), 1,
    ),
    "sums of sums": (
        lambda: two(
            sums, b=nn.ModuleList(conv(4, 4, padding=1) for _ in range(4)),
        ), 4,
    ),
    "dense block": (
        lambda: two(
            dense, 360, norms=nn.ModuleList(nn.BatchNorm2d(4 + 2 * i) for i in range(3)),
            layers=nn.ModuleList(conv(4 + 2 * i, 2, padding=1) for i in range(3)),
        ), 4,
    ),
    "twenty branches": (
        lambda: two(
            lambda m, x: F.relu(sum(b(F.relu(c(x))) for b, c in zip(m.b, m.c, strict=True))),
            b=nn.ModuleList(conv(2, 4, 1) for _ in range(20)), c=nn.ModuleList(conv(4, 2, 1) for _ in range(20)),
        ), 2,
    ),
    "ends with a maximum of sums": (lambda: nn.Sequential(conv(1, 3, 3), nn.MaxPool2d(4), nn.Flatten()), 1),
    "clamp around 0": (lambda: around(nn.Hardtanh(-0.3, 0.5)), 1),
    "clamp from below 0": (lambda: two(lambda m, x: x.clamp(min=-0.2)), 1),
    "clamp to above 0": (lambda: two(lambda m, x: torch.minimum(x, torch.tensor(0.3))), 1),
    "clamp above 0": (lambda: two(lambda m, x: x.clamp(0.1, 0.4)), 0),
    "clamp below 0": (lambda: two(lambda m, x: x.clamp(max=-0.1)), 0),
    "LeakyReLU": (lambda: around(nn.MaxPool2d(2), nn.LeakyReLU(0.3), features=36), 1),
    "PReLU, one slope": (lambda: around(nn.PReLU(init=0.2)), 1),
    "PReLU, a slope per channel": (lambda: around(with_slopes([0.3, -0.5, 0.0, 1.0])), 0),
    "absolute value": (lambda: two(lambda m, x: x.abs()), 0),
    "ELU": (lambda: around(nn.ELU(0.8)), 1),
    "SELU": (lambda: around(nn.SELU()), 1),
    "CELU": (lambda: around(nn.CELU(0.5)), 1),
    "tanh": (lambda: around(nn.Tanh()), 1),
    "sigmoid": (lambda: around(nn.Sigmoid()), 1),
    "hard sigmoid": (lambda: around(nn.Hardsigmoid()), 0),
}  # fmt: skip
FEW = 32  # levels of a table: what is finer than they are cannot be asked of it


def with_slopes(slopes):
    layer = nn.PReLU(len(slopes))
    layer.weight.data[:] = torch.tensor(slopes)
    return layer


def imported(name, signed="auto"):
    torch.manual_seed(0)
    return import_module(randomise(STORED[name][0]()), torch.zeros(1, 1, 6, 6), signed)  # checks itself to 1e-9


IMAGES = np.random.default_rng(0).random((12, 1, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("name", STORED)
def test_values_with_a_sign_agree(name):
    graph = imported(name)
    assert sum(node.signed for node in graph.nodes) == STORED[name][1]
    conversion = prepare(graph, None, IMAGES)
    codes = torch.from_numpy(IMAGES)
    found = ClampQuantised(conversion)(codes).detach().numpy().astype(np.float64)
    np.testing.assert_array_equal(np.rint(found / conversion.net.layers[-1].step), conversion.net.golden(IMAGES))
    wanted = graph.run(IMAGES)
    np.testing.assert_allclose(FloatGraph(conversion)(codes).detach(), wanted, atol=1e-4 * np.abs(wanted).max())
    for node, layer in zip(graph.nodes, conversion.net.layers, strict=True):
        assert (layer.low < 0) == (node.signed or (node.exact and conversion.net.by_name[node.terms[0].tensor].low < 0))
    # With fine steps the integers follow the float network closely, as far as tables can.
    curved = any(node.curve is not None for node in graph.nodes)
    fine = prepare(
        graph, None, IMAGES, groups=2047, signed_groups=127, weight_bits=16, accumulator_bits=48, refit=False,
        clip="percentile", percentile=100,
    )  # fmt: skip
    error = fine.net.golden(IMAGES) * fine.net.layers[-1].step - wanted
    assert np.abs(error).max() < (0.3 if curved else 0.05) * np.abs(wanted - wanted.mean(0)).max()


NOT_STORED = {
    "padding behind a convolution": r"padding follows a convolution or linear layer without a ReLU between them; put "
    r"one there, or signed values \(signed='auto'\)\.$",
    "two maxima of sums": r"two max pools over signed values need a ReLU between them, or signed values",
    "maximum of sums, no ReLU": r"a max pool over signed values needs a ReLU before the next layer, or signed values",
    "padded average of sums": r"an average pool with padding over signed values needs a ReLU before it, or signed",
    "twenty branches": r"it depends on 20 tensors without a ReLU .*, or allow signed values \(signed='auto'\)",
    "ends with a maximum of sums": r"the network must end with .*, not with a pool of signed values, or signed",
    "tanh": r"its values have a sign; allow signed values \(signed='auto'\), or use ReLU\.$",
}


@pytest.mark.parametrize("name", NOT_STORED)
def test_without_signs_they_are_refused(name):
    with pytest.raises(OneSpikeError, match=NOT_STORED[name]):
        imported(name, signed=False)


@pytest.mark.parametrize("name", ["clamp around 0", "clamp from below 0", "clamp to above 0", "LeakyReLU"])
def test_without_signs_others_are_seen_from_one_end(name):
    """clip(x, a, b) = a + clip(x - a, 0, b - a); leak(x) = relu(x) - slope * relu(-x), if no pool is in the way."""
    if name == "LeakyReLU":
        graph = import_module(around(nn.LeakyReLU(0.3)).eval(), torch.zeros(1, 1, 6, 6), signed=False)
    else:
        graph = imported(name, signed=False)
    assert not any(node.signed for node in graph.nodes)


def macs(graph):
    shapes = graph.shapes()
    return sum(t.weights.size * np.prod(t.output_shape(*shapes[t.tensor][1:])) for n in graph.nodes for t in n.terms)


@pytest.mark.parametrize("name", ["linear bottlenecks", "dense block", "sums of sums"])
def test_sums_are_stored_where_that_is_cheaper(name):
    auto, never, always = (imported(name, signed) for signed in ("auto", False, True))
    assert macs(auto) < macs(never)
    assert len(never.notes) == 1 and "of the module (" in never.notes[0] and len(auto.notes) == 1
    assert "are stored with a sign" in auto.notes[0] or "is stored with a sign" in auto.notes[0]
    assert "events an image; signed=False computes" in auto.notes[0]
    assert sum(node.signed for node in always.nodes) >= STORED[name][1]


def test_one_reader_computes_a_sum_itself():
    """A sum that one ReLU reads, or one small layer, is not worth storing; signed=True stores it for the layer."""
    module = around(conv(4, 4, 1), nn.ReLU()).eval()
    counts = [
        sum(node.signed for node in import_module(module, torch.zeros(1, 1, 6, 6), signed).nodes)
        for signed in ("auto", False, True)
    ]
    assert counts == [0, 0, 0]  # a kernel of one place is no reader that a tensor helps
    module = around(conv(4, 4), nn.ReLU(), features=64).eval()
    assert sum(node.signed for node in import_module(module, torch.zeros(1, 1, 6, 6), True).nodes) == 1


@pytest.mark.parametrize("value", ["always", 1, None])
def test_what_signed_may_be(value):
    with pytest.raises(OneSpikeError, match=r"^signed must be 'auto', True or False, not "):
        prepare(imported("tanh"), None, IMAGES, signed=value)


def test_the_end_is_left_to_the_host():
    for layer, name in (
        (nn.ReLU(), "relu"),
        (nn.Tanh(), "tanh"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.ReLU6(), "relu6"),
    ):
        module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), layer).eval()
        graph = graph_of(module, torch.zeros(2, 1, 6, 6))
        assert len(graph.nodes) == 1
        assert graph.notes[0].endswith("is left out: the numbers before it are given, argmax stays the same."), name
