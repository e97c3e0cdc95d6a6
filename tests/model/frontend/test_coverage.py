# SPDX-License-Identifier: Apache-2.0
"""What users bring: every kind of graph equals the module in float64; its integers agree in torch, golden and RTL."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modules import Plain, conv, randomise
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.frontend import aten, onnx_ops
from onespike.model.frontend.builder import Builder
from onespike.model.frontend.importer import import_module
from onespike.model.frontend.onnx_import import import_onnx
from onespike.model.mapping.mapper import map_network
from onespike.model.training.clamped import ClampQuantised
from onespike.model.training.gcn import Gcn
from onespike.model.training.graphs import normalised
from onespike.sim.engine import simulate
from paths import BUILD

# One engine, built once, holds every network of this file.
ROOMY = EngineConfig(
    banks=1, lanes=8, acc_bits=28, max_shift=12, max_groups=1023, max_code=1023, segments=4, spike_depth=4096,
    weight_depth=8192,
    channel_depth=256, walk_depth=512, program_depth=512, pool_depth=64, class_depth=32, signed_codes=True,
)  # fmt: skip


class PreActivation(nn.Module):
    """BN, ReLU, convolution, twice; the shortcut takes the raw sum, or a projection of the activation."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, stride=stride, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, padding=1, bias=False)
        self.project = conv(inputs, outputs, 1, stride=stride, bias=False) if stride > 1 else None

    def forward(self, x):
        y = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        return self.conv2(F.relu(self.norm2(self.conv1(y)))) + shortcut


def ending(features):
    return nn.Flatten(), nn.Linear(features, 3)


def start(channels=4):
    return conv(1, channels, padding=1), nn.ReLU()


def two(function, features, **layers):
    """A first convolution `a` with ReLU, then `function`, then a linear layer `z`."""
    layers |= {"a": conv(1, 4, padding=1), "z": nn.Linear(features, 3)}
    return Plain(lambda m, x: m.z(function(m, F.relu(m.a(x))).flatten(1)), **layers)


RING = np.stack([np.arange(12), np.roll(np.arange(12), 1)])  # edges of a graph

# name: module, shape of an image, most sources of a layer, whether the RTL runs it
SQUARE = (1, 8, 8)
COVERED = {
    "pre-activation": (
        lambda: nn.Sequential(
            conv(1, 4, padding=1, bias=False), PreActivation(4, 4), PreActivation(4, 4), PreActivation(4, 8, 2),
            PreActivation(8, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), *ending(8),
        ), SQUARE, 2, True,
    ),
    "overlapping average": (
        lambda: nn.Sequential(*start(), nn.AvgPool2d(3, 2), conv(4, 4), nn.ReLU(), *ending(4)), SQUARE, 1, False,
    ),
    "overlapping, padded average": (
        lambda: nn.Sequential(*start(), nn.AvgPool2d(3, 2, 1), conv(4, 4, padding=1), nn.ReLU(), *ending(64)),
        SQUARE, 1, True,
    ),
    "average, ceil_mode": (
        lambda: nn.Sequential(*start(), nn.AvgPool2d(3, 2, ceil_mode=True), *ending(64)), SQUARE, 1, False,
    ),
    "average, padding not counted": (
        lambda: nn.Sequential(*start(), nn.AvgPool2d(3, 2, 1, count_include_pad=False), *ending(64)), SQUARE, 1, False,
    ),
    "average after batch norm, padded": (
        lambda: nn.Sequential(*start(), nn.BatchNorm2d(4), nn.AvgPool2d(2, 2, 1), *ending(100)), SQUARE, 2, True,
    ),
    "average of the image": (
        lambda: Plain(
            lambda m, x: m.z(F.relu(m.a(F.avg_pool2d((x - 0.4) / 0.3, 2))).flatten(1)),
            a=conv(1, 4, padding=1), z=nn.Linear(64, 3),
        ), SQUARE, 2, False,
    ),
    "maximum of the image": (
        lambda: nn.Sequential(nn.MaxPool2d(2), conv(1, 4), nn.ReLU(), *ending(16)), SQUARE, 1, False,
    ),
    "average of sums": (lambda: nn.Sequential(conv(1, 4), nn.AvgPool2d(2), nn.ReLU(), *ending(36)), SQUARE, 1, False),
    "maximum, padded": (lambda: nn.Sequential(*start(), nn.MaxPool2d(3, 2, 1), *ending(64)), SQUARE, 1, False),
    "maximum, ceil_mode": (
        lambda: nn.Sequential(*start(), nn.MaxPool2d(3, 2, ceil_mode=True), *ending(64)), SQUARE, 1, False,
    ),
    "adaptive, 2x2": (lambda: nn.Sequential(*start(), nn.AdaptiveAvgPool2d(2), *ending(16)), SQUARE, 1, False),
    "adaptive, uneven": (lambda: nn.Sequential(*start(), nn.AdaptiveAvgPool2d((3, 5)), *ending(60)), SQUARE, 1, False),
    "adaptive, larger than the map": (
        lambda: nn.Sequential(*start(), nn.AdaptiveAvgPool2d(7), nn.ReLU(), *ending(196)), (1, 3, 3), 1, False,
    ),
    "adaptive maximum": (lambda: nn.Sequential(*start(), nn.AdaptiveMaxPool2d(2), *ending(16)), SQUARE, 1, False),
    "linear alone": (lambda: nn.Linear(12, 3, bias=False), (12,), 1, False),
    "linear, linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 3)), SQUARE, 1, False),
    "convolution alone": (lambda: nn.Sequential(conv(1, 3, 8), nn.Flatten()), SQUARE, 1, False),
    "two convolutions, no ReLU between": (
        lambda: nn.Sequential(
            conv(1, 4, padding=1, stride=2, dilation=2), conv(4, 4, 2, dilation=2), nn.ReLU(), *ending(4)
        ), SQUARE, 1, True,
    ),
    "convolution and linear, no ReLU between": (
        lambda: nn.Sequential(conv(1, 4, padding=1), *ending(256)), SQUARE, 1, False,
    ),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool1d(3, 2, 1),
            nn.Conv1d(4, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), *ending(4),
        ), (2, 12), 1, False,
    ),
    "unused outputs": (
        lambda: Plain(
            lambda m, x: (m.b(y := F.relu(m.a(x))), m.z(F.relu(m.c(y)).flatten(1)))[1],
            a=conv(1, 4), b=conv(4, 2), c=conv(4, 2), z=nn.Linear(32, 3),
        ), SQUARE, 1, False,
    ),
    "padding layers, dropout, identity, nesting": (
        lambda: nn.Sequential(
            nn.ZeroPad2d((1, 2, 0, 1)), conv(1, 3), nn.Identity(), nn.ReLU(), nn.ConstantPad2d(1, 0.0), nn.Dropout(),
            nn.Sequential(nn.Sequential(conv(3, 3), nn.ReLU())), nn.Dropout2d(), *ending(189),
        ), SQUARE, 1, False,
    ),
    "shared convolution and ReLU": (
        lambda: two(lambda m, x: m.r(m.b(m.r(m.b(x)))), 256, b=conv(4, 4, padding=1), r=nn.ReLU()), SQUARE, 1, False,
    ),
    "strided slice, 1x1": (
        lambda: two(lambda m, x: F.relu(m.b(x[:, :, ::2, 1::2])), 64, b=conv(4, 4, 1)), SQUARE, 1, False,
    ),
    "crop": (lambda: two(lambda m, x: F.relu(m.b(x[:, 1:, 1:-1, 2:7])), 48, b=conv(3, 4)), SQUARE, 1, False),
    "crop, then padding": (
        lambda: two(lambda m, x: F.relu(m.b(F.pad(x, (-1, 1, 0, -2)))), 192, b=conv(4, 4, padding=1)), SQUARE, 1, True,
    ),
    "normalised image, cropped, then padded": (
        lambda: Plain(
            lambda m, x: m.z(F.relu(m.a(((x - 0.4) / 0.3)[:, :, 1:, :-1])).flatten(1)),
            a=conv(1, 4, padding=1), z=nn.Linear(196, 3),
        ), SQUARE, 2, False,
    ),
    "permuted before the linear layer": (lambda: two(lambda m, x: x.permute(0, 2, 3, 1), 256), SQUARE, 1, True),
    "linear along the channels": (
        lambda: two(lambda m, x: F.relu(m.b(x.permute(0, 2, 3, 1))), 320, b=nn.Linear(4, 5)), SQUARE, 1, False,
    ),
    "upsampled before the linear layer": (
        lambda: two(lambda m, x: F.interpolate(x, scale_factor=2), 256), (1, 4, 4), 1, False,
    ),
    "pixel shuffle before the linear layer": (lambda: two(lambda m, x: F.pixel_shuffle(x, 2), 64), (1, 4, 4), 1, False),
    "view of the batch size": (lambda: two(lambda m, x: x.view(x.size(0), -1), 256), SQUARE, 1, False),
    "channel shuffle": (
        lambda: two(
            lambda m, x: F.relu(m.b(x.view(-1, 2, 2, 8, 8).transpose(1, 2).reshape(-1, 4, 8, 8))), 144, b=conv(4, 4)
        ), SQUARE, 1, False,
    ),
    "chunks, joined again": (
        lambda: two(lambda m, x: torch.cat([F.relu(y) for y in m.b(x).chunk(2, 1)], 1), 256, b=conv(4, 4, padding=1)),
        SQUARE, 2, False,
    ),
    "sum over the map": (lambda: two(lambda m, x: x.sum((2, 3)), 4), SQUARE, 1, False),
    "maximum over the map": (lambda: two(lambda m, x: x.amax((2, 3)), 4), SQUARE, 1, False),
    "grouped, dilated": (
        lambda: nn.Sequential(
            conv(1, 4, dilation=(1, 2), padding=(0, 2)), nn.ReLU(), conv(4, 6, groups=2, dilation=(2, 1)), nn.ReLU(),
            *ending(72),
        ), SQUARE, 1, False,
    ),
    "batch norm first": (lambda: nn.Sequential(nn.BatchNorm2d(1), *start(), *ending(256)), SQUARE, 1, False),
    "batch norm after ReLU, padded": (
        lambda: nn.Sequential(*start(), nn.BatchNorm2d(4), conv(4, 4, padding=1), nn.ReLU(), *ending(256)),
        SQUARE, 2, True,
    ),
    "image channels mixed, padded": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), conv(3, 4, padding=1), nn.ReLU(), *ending(144)), (3, 6, 6), 2, False,
    ),
    "batch norm last": (lambda: nn.Sequential(*start(), *ending(256), nn.BatchNorm1d(3)), SQUARE, 1, False),
    "ends with an average": (
        lambda: nn.Sequential(*start(), conv(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        SQUARE, 1, False,
    ),
    "ReLU by other names": (
        lambda: two(lambda m, x: torch.maximum(F.threshold(m.b(x), 0, 0), torch.zeros(1)), 144, b=conv(4, 4)),
        SQUARE, 1, False,
    ),
    "own ReLUs": (
        lambda: two(
            lambda m, x: (y := torch.where((v := m.b(x)) > 0, v, torch.zeros_like(v)))
            + (w := m.c(y)) * (w > 0).float(),
            144, b=conv(4, 4), c=conv(4, 4, 1),
        ), SQUARE, 2, False,
    ),
    "own LeakyReLU, masks": (
        lambda: two(
            lambda m, x: torch.where((v := m.b(x)) < 0, 0.1 * v, v)
            + (u := m.c(x)).masked_fill(u < 0, 0.0).clip(max=1.0),
            144, b=conv(4, 4), c=conv(4, 4),
        ), SQUARE, 2, False,
    ),
    "mean of columns, then of rows": (lambda: two(lambda m, x: x.mean(3).mean(2), 4), SQUARE, 1, False),
    "sum of rows": (lambda: two(lambda m, x: x.sum(2, keepdim=True), 32), SQUARE, 1, False),
    "maximum of columns": (lambda: two(lambda m, x: x.flatten(2).view(-1, 4, 8, 8).max(-1)[0], 32), SQUARE, 1, False),
    "maximum over time": (
        lambda: Plain(
            lambda m, x: m.z(torch.max(F.adaptive_max_pool1d(F.relu(m.a(x)), 6), 2)[0]),
            a=nn.Conv1d(2, 4, 3, padding=1), z=nn.Linear(4, 3),
        ), (2, 12), 1, False,
    ),
    "a set of points": (
        lambda: Plain(
            lambda m, x: m.z(torch.max(y := F.relu(m.b(F.relu(m.a(x)))), 1)[0] + y.mean(1)),
            a=nn.Linear(3, 8), b=nn.Linear(8, 6), z=nn.Linear(6, 3),
        ), (10, 3), 2, False,
    ),
    "linear bottleneck": (
        lambda: two(lambda m, x: F.relu6(m.c(y := m.b(x)) + m.d(y)), 256, b=conv(4, 2, 1), c=conv(2, 4, 1),
                    d=conv(2, 4, 1)), SQUARE, 1, False,
    ),
    "graph network": (lambda: Gcn(normalised(RING, 12), 6, 3, hidden=8), (12, 6), 1, True),
}  # fmt: skip


def converted(name, **settings):
    make, shape, *_ = COVERED[name]
    torch.manual_seed(0)
    graph = import_module(randomise(make()), torch.zeros(1, *shape))  # checks itself against the module to 1e-9
    images = np.random.default_rng(0).random((20, *graph.shape)).astype(np.float32)
    return prepare(graph, None, images, **settings), images


@pytest.mark.parametrize("name", COVERED)
def test_torch_and_golden_model_compute_the_same_integers(name):
    conversion, images = converted(name)
    sources = [len(layer.sources) for layer in conversion.net.layers]
    assert max(sources) == COVERED[name][2], sources
    reference = ClampQuantised(conversion)(torch.from_numpy(images)).detach().numpy().astype(np.float64)
    np.testing.assert_array_equal(np.rint(reference / conversion.net.layers[-1].step), conversion.net.golden(images))


@pytest.mark.parametrize("name", [name for name, (*_, rtl) in COVERED.items() if rtl])
def test_hardware_computes_the_same_integers(name):
    conversion, images = converted(name)
    mapping = map_network(conversion.net, ROOMY)
    found = simulate(mapping, conversion.net.image.quantise(images[:2]), BUILD, through_load=True)
    assert (found.mismatches, found.cycle_mismatches) == (0, 0)


# What torch's exporter of ONNX cannot write, and what ONNX has no nodes for.
UNWRITTEN = {"adaptive, uneven", "adaptive, larger than the map", "graph network"}


@pytest.mark.parametrize("name", [name for name in COVERED if name not in UNWRITTEN])
def test_onnx_files_are_the_same_networks(name, tmp_path):
    make, shape, *_ = COVERED[name]
    torch.manual_seed(0)
    module, path = randomise(make()), tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, *shape),), str(path), dynamo=False, opset_version=17)
    graph = import_onnx(path)
    images = np.random.default_rng(0).normal(size=(2, *shape))
    wanted = module.double()(torch.from_numpy(images)).detach().numpy()
    laid = images if graph.arrangement is None else graph.arrangement.apply(images, graph.shape)
    found = graph.run(laid.reshape(-1, *graph.shape)).reshape(wanted.shape)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_preactivation_resnet_reads_few_tensors():
    """Where no value may have a sign, each reader computes the raw sum from the counts behind it: at most four."""
    widths = [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
    tail = (nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    body = [PreActivation(*width) for width in widths]
    graph = import_module(
        randomise(nn.Sequential(conv(3, 16, padding=1, bias=False), *body, *tail)), torch.zeros(1, 3, 32, 32), False
    )
    assert max(len(node.terms) for node in graph.nodes) == 4
    shapes = graph.shapes()
    macs = sum(t.weights.size * shapes[n.name][1] * shapes[n.name][2] for n in graph.nodes[:-1] for t in n.terms)
    assert macs < 1.7 * 40_551_040  # of ResNet-20, whose sums are stored


@pytest.mark.parametrize("kind", ["torch", "ONNX"])
def test_lists_of_operations_name_methods(kind):
    """Nothing is known and called unsupported at once, and what is said of an operation is said of one that exists."""
    builder = Builder(shape=(1, 1, 1))
    if kind == "torch":
        known, refused = aten.Operations(builder), aten.NEAREST.keys() | aten.CLASSIFIERS
        described = aten.ELEMENTWISE | aten.LINEAR
    else:
        known, refused, described = onnx_ops.OnnxOperations(builder), onnx_ops.NEAREST.keys(), onnx_ops.ANY_ORDER
    assert not [name for name in refused if known.find(name)]
    assert all(known.find(name) for name in described)
