# SPDX-License-Identifier: Apache-2.0
"""What networks of well-known structures multiply, beside the module: no more than it asks for, or a note says so."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from modules import Plain
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import graph_of, prepare
from onespike.model.cost.choose import choose_for
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.own_cost import work
from onespike.model.network.judge import judge
from onespike.model.training.clamped import ClampQuantised
from published import densenet, ghostnet, mobilenet_v2, normalised, shufflenet_v2, tcn
from published_costs import calibration, own
from sparse_networks import sparse_network

# name: module, shape of an image, the most that its multiplications and weights may be of the module's own
SMALL = {
    "inverted residuals": (
        lambda: mobilenet_v2(1.0, ((1, 8, 1, 1), (4, 8, 2, 2), (4, 16, 2, 1)), 32, 4), (3, 16, 16), 1.2,
    ),
    "dense blocks with bottlenecks": (lambda: densenet((3, 3), 4), (3, 8, 8), 1.1),
    "a dense block of many layers": (lambda: densenet((10,), 2, bottleneck=False), (3, 6, 6), 1.01),
    "shuffle units": (lambda: shufflenet_v2(((16, 2),), 16, 4), (3, 16, 16), 1.3),
    "causal convolutions with gaps": (lambda: tcn(2, 8, 3, classes=4), (2, 32), 1.01),
    "ghost blocks": (lambda: ghostnet(((16, 24), (16, 24))), (3, 12, 12), 1.3),
}  # fmt: skip


def made(name):
    make, shape, _ = SMALL[name]
    images = calibration(shape, 8)
    return normalised(make(), torch.from_numpy(images)), images


@pytest.mark.parametrize("name", SMALL)
def test_no_more_than_the_module_asks_for(name):
    module, images = made(name)
    graph, most = graph_of(module, torch.from_numpy(images[:2])), SMALL[name][2]
    asked = own(module, torch.from_numpy(images))
    found = work(graph).values()
    assert sum(node.macs for node in found) <= most * asked.macs
    assert sum(node.weights for node in found) <= most * asked.weights
    assert not any("of the module (" in note for note in graph.notes)


def test_an_onnx_file_costs_what_the_module_does(tmp_path):
    """A sum that one activation of a concatenation reads would be a kernel with rows of zeros for the others."""
    module, images = made("dense blocks with bottlenecks")
    path = tmp_path / "dense.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.from_numpy(images[:1]),), str(path), dynamo=False, opset_version=17)
    sizes = [
        sum(term.weights.size for node in graph.nodes for term in node.terms)
        for graph in (graph_of(module, torch.from_numpy(images[:2])), graph_of(path))
    ]
    assert sizes[0] == sizes[1]


def test_tensors_side_by_side_become_one_without_rounding():
    module, images = made("a dense block of many layers")
    conversion = prepare(module, images[:2], images)
    joined = [node for node in conversion.graph.nodes if node.exact and len(node.terms) > 1]
    assert len(joined) == 1 and len(joined[0].terms) == 9
    assert max(len(node.terms) for node in conversion.graph.nodes) == 9
    net = conversion.net
    codes = net.golden(images, layers=True).codes
    beside = np.concatenate([codes[term.tensor] for term in joined[0].terms], 1)
    np.testing.assert_array_equal(codes[joined[0].name], beside)
    found = ClampQuantised(conversion)(torch.from_numpy(images)).detach().numpy().astype(np.float64)
    np.testing.assert_array_equal(np.rint(found / net.layers[-1].step), net.golden(images))
    # Sums of eight bits behind shifted weights: the engine's lanes shift as far as that.
    choose_for(net, EngineConfig(banks=2, lanes=8), net.golden(images[:1], layers=True), more_shadows=False)


def test_gaps_lie_along_rows():
    """The walk reads a tap row as one run of words: gaps along it would be taps of weight zero."""
    module, images = made("causal convolutions with gaps")
    conversion = prepare(module, images[:2], images)
    net = conversion.net
    assert net.image.shape == (2, 32, 1) and net.image.arrangement.taken == (2, 32)
    assert all(source.dilation[1] == 1 for layer in net.layers for source in layer.sources)
    assert max(source.dilation[0] for layer in net.layers for source in layer.sources) == 4
    found = ClampQuantised(conversion)(torch.from_numpy(images.reshape(-1, 2, 32, 1))).detach().numpy()
    np.testing.assert_array_equal(np.rint(found.astype(np.float64) / net.layers[-1].step), net.golden(images))
    plain = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 2)).eval()
    assert graph_of(plain, images[:2]).shape == (2, 1, 32)


def test_labels_of_every_step_of_an_upright_sequence():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv1d(2, 3, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(3, 4, 1)).eval()
    images = calibration((2, 8), 8)
    net = prepare(module, images[:2], images).net
    assert net.output == (4, 8, 1)
    answers = module(torch.from_numpy(images)).argmax(1).numpy()
    assert judge(net.output, answers).share(net.golden(images)) > 0.8


def again(m, x):
    """A sum that two layers read, or compute anew for themselves."""
    x = m.a(x)
    return m.z(torch.relu(torch.cat([m.b(x), m.c(x)], 1)).flatten(1))


def test_a_note_names_the_layers_that_cost_more():
    torch.manual_seed(0)
    convs = {key: nn.Conv2d(2, 8, 3) for key in "bc"}
    module = Plain(again, a=nn.Conv2d(4, 2, 3), **convs, z=nn.Linear(1024, 1)).eval()
    images = torch.zeros(2, 4, 12, 12)
    never, auto = (graph_of(module, images, sign) for sign in (False, "auto"))
    (note,) = never.notes
    asked = own(module, images)
    has, weights = (sum(getattr(node, what) for node in work(never).values()) for what in ("macs", "weights"))
    assert note == (
        f"The integer network has {has / asked.macs:.1f} times the multiplications of the module ({has:,} for "
        f"{asked.macs:,}) and {weights / asked.weights:.1f} times the weights of the module ({weights:,} for "
        f"{asked.weights:,}), most of all in 'b'; sums that several layers read, or one reads in a large kernel, are "
        f"computed anew: allow signed values (signed='auto')."
    )
    assert (has, weights) == (64 * 16 * 100 + 1024, 16 * 100 + 1024)  # a kernel of 5 x 5 on the image
    assert not any("of the module (" in note for note in auto.notes)


def test_no_engine_is_one_sentence():
    """Where no number of slices fits, its reason is told."""
    net = sparse_network(np.random.default_rng(0))
    first, layer, *rest = net.layers
    assert first.groups > 1
    wide = dataclasses.replace(layer.sources[0], shift=15)
    broken = dataclasses.replace(net, layers=(first, dataclasses.replace(layer, sources=(wide,)), *rest))
    images = np.zeros((1, *net.image.shape), np.uint8)
    with pytest.raises(OneSpikeError, match=r"^max_shift must lie in 0\.\.15, not "):
        choose_for(broken, EngineConfig(banks=1, lanes=8), broken.golden(images, layers=True))
