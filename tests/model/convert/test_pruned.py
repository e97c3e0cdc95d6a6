# SPDX-License-Identifier: Apache-2.0
"""Weights that are zero in the user's layers, pruned or between groups, stay zero whatever moves the others."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from modules import Plain, conv, randomise
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import Conversion, convert, graph_of, prepare
from onespike.model.cost.cycles import predict_all
from onespike.model.frontend.graph import Graph
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.operations import count
from onespike.model.network.spec import SpikeNet
from onespike.model.training.data import Dataset
from onespike.model.training.finetune import finetune

IMAGES = np.random.default_rng(0).random((64, 3, 8, 8)).astype(np.float32)
LAYERS = ("first", "own", "point", "some", "beside", "last")


def body(m, x):
    """A depthwise separable layer, and an addition beside a kernel in groups."""
    x = torch.relu(m.norm(m.first(x)))
    x = torch.relu(m.own_norm(m.own(x)))
    x = torch.relu(m.some(torch.relu(m.point(x))) + m.beside(x))
    return m.last(x.mean((2, 3)))


def pruned(*, remove: bool = False, share: float = 0.5) -> nn.Module:
    """The smallest weights of every layer set to zero, as PyTorch does it: by a mask in front of every call."""
    torch.manual_seed(0)
    module = Plain(
        body, first=conv(3, 8, bias=False, padding=1), norm=nn.BatchNorm2d(8), own=conv(8, 8, groups=8, stride=2),
        own_norm=nn.BatchNorm2d(8), point=conv(8, 16, 1), some=conv(16, 16, padding=1, groups=4),
        beside=conv(8, 16, 1), last=nn.Linear(16, 5),
    )  # fmt: skip
    for name in LAYERS if share else ():
        prune.l1_unstructured(getattr(module, name), "weight", share)
        if remove:
            prune.remove(getattr(module, name), "weight")
    return randomise(module)


@pytest.fixture(scope="module")
def masked() -> tuple[nn.Module, Graph]:
    """A pruned module whose masks are still in place, and its float graph."""
    module = pruned()
    return module, graph_of(module, torch.from_numpy(IMAGES[:2]))


def kernels(net: SpikeNet) -> list[np.ndarray]:
    """The dense integer kernels of layers that compute, in the order of LAYERS."""
    return [source.dense for layer in net.layers for source in layer.sources]


def check(module: nn.Module, net: SpikeNet) -> None:
    found = kernels(net)
    assert len(found) == len(LAYERS)
    for name, integers in zip(LAYERS, found, strict=True):
        layer = getattr(module, name)
        weights = layer.weight.detach().numpy()
        weights = weights.reshape(*weights.shape, *[1] * (4 - weights.ndim))
        groups = getattr(layer, "groups", 1)
        outputs, inputs = integers.shape[:2]
        inside = np.arange(outputs)[:, None] * groups // outputs == np.arange(inputs) * groups // inputs
        assert not integers[~inside].any(), name
        at = integers[inside].reshape(weights.shape)
        assert not at[weights == 0].any() and at[weights != 0].any(), name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weight_bits": 4},
        {"refit": False},
        {"levels": "short"},
        {"groups": 15, "accumulator_bits": 16},
        {"method": "phase"},
    ],
)
def test_zeros_survive_the_conversion(masked, settings):
    module, graph = masked
    net = convert(graph, calibration=IMAGES, **settings)
    check(module, net)
    assert [source.groups for layer in net.layers for source in layer.sources] == [1, 8, 1, 4, 1, 1]


def test_zeros_survive_in_a_file(tmp_path):
    module = pruned(remove=True)
    dynamic = {0: torch.export.Dim("batch")}
    program = torch.export.export(module, (torch.from_numpy(IMAGES[:2]),), dynamic_shapes=(dynamic,))
    torch.export.save(program, tmp_path / "pruned.pt2")
    check(module, convert(tmp_path / "pruned.pt2", calibration=IMAGES))


def test_zeros_survive_fine_tuning(masked):
    module, graph = masked
    before = prepare(graph, None, IMAGES)
    data = Dataset(name="noise", images=IMAGES, labels=np.arange(64) % 5)
    after = finetune(before, data, epochs=1, batch=16, shift=0, progress=False)
    assert isinstance(after, Conversion)
    check(module, after.net)
    assert any(not np.array_equal(a, b) for a, b in zip(kernels(before.net), kernels(after.net), strict=True))


def test_a_layer_whose_weights_are_all_pruned_is_a_constant(masked):
    _, graph = masked
    nodes = list(graph.nodes)
    term = nodes[2].terms[0]
    nodes[2] = dataclasses.replace(nodes[2], terms=(dataclasses.replace(term, weights=0 * term.weights),))
    net = convert(dataclasses.replace(graph, nodes=tuple(nodes)), calibration=IMAGES)
    found = net.golden(IMAGES, layers=True).codes
    assert all(len(np.unique(found[net.layers[2].name][:, channel])) == 1 for channel in range(16))


def test_a_depthwise_network_runs_as_if_dense():
    """From PyTorch to file, mapping and cycles: the same integers as its dense kernels, and real MACs only."""
    net = convert(pruned(share=0), calibration=IMAGES)
    config = fit_config(net, EngineConfig(banks=2, lanes=4, fire_lanes=4))
    mapping = map_network(net, config)
    result = net.golden(IMAGES[:2], layers=True)
    for mapped, layer in zip(mapping.layers, net.layers, strict=True):
        for stored, source in zip(mapped.sources, layer.sources, strict=True):
            assert stored.tensor.unroll is not None or np.array_equal(stored.weights, source.dense)
    cycles = predict_all(mapping, result)
    assert [layer.name for layer in cycles[0]] == [layer.name for layer in net.layers]
    macs = {layer.name: layer.macs for layer in count(net, result.codes).layers}
    places = [64 * 8 * 27, 9 * 8 * 9, 9 * 8 * 16, 9 * 16 * (4 * 9 + 8), 5 * 16]
    assert list(macs.values()) == [2 * number for number in places]
