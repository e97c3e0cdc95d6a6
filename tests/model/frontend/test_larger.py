# SPDX-License-Identifier: Apache-2.0
"""Maps that become larger: transposed convolutions and nearest upsampling, equal in torch, golden model and cycles."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from modules import Plain, conv, randomise
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import graph_of, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.own_cost import work
from onespike.model.mapping.depthwise import is_depthwise
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import spike_file
from onespike.model.network.source import Source
from onespike.model.network.spread import spread
from onespike.model.training.clamped import ClampQuantised, FloatGraph


def unet(m, x):
    """Encoder, decoder by a transposed convolution, and a way around."""
    x = F.relu(m.a(x))
    y = F.relu(m.b(F.max_pool2d(x, 2)))
    return m.z(F.relu(m.c(torch.cat([x, m.up(y)], 1))).flatten(1))


def decoder(m, x):
    """Upsampled counts, padded convolution; upsampled sums, which are stored."""
    x = F.interpolate(F.relu(m.a(F.avg_pool2d(x, 2))), scale_factor=(2, 3))
    return m.z(F.relu(m.b(F.interpolate(m.c(x), scale_factor=2))).flatten(1))


# name: module, shape of an image, copies into larger maps
LARGER = {
    "U-Net": (
        lambda: Plain(unet, a=conv(1, 4, padding=1), b=conv(4, 6, padding=1), c=conv(8, 3, padding=1),
                      up=nn.ConvTranspose2d(6, 4, 2, 2), z=nn.Linear(192, 3)), (1, 8, 8), 1,
    ),
    "nearest upsampling": (
        lambda: Plain(decoder, a=conv(1, 3), c=conv(3, 2, 1), b=conv(2, 2, padding=1), z=nn.Linear(192, 2)), (1, 8, 8),
        2,
    ),
    "strides, gaps, groups, cropped": (
        lambda: nn.Sequential(
            conv(1, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 4, (4, 3), (2, 3), (1, 0), (1, 2), groups=2),
            nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, padding=1, dilation=2), nn.ReLU(), nn.Flatten(), nn.Linear(154, 2),
        ), (1, 8, 8), 1,
    ),
    "one axis": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3, 2), nn.ReLU(), nn.ConvTranspose1d(4, 3, 4, 4), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv1d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2),
        ), (2, 15), 2,
    ),
    "ends with upsampling": (
        lambda: nn.Sequential(conv(1, 3), nn.ReLU(), conv(3, 2, 1), nn.Upsample(scale_factor=2)), (1, 5, 5), 1,
    ),
}  # fmt: skip


def made(name):
    make, shape, _ = LARGER[name]
    torch.manual_seed(0)
    images = np.random.default_rng(0).random((12, *shape)).astype(np.float32)
    return prepare(randomise(make()), images[:2], images, groups=15), images


@pytest.mark.parametrize("name", LARGER)
def test_larger_maps_agree(name):
    conversion, images = made(name)
    net = conversion.net
    copies = [source for layer in net.layers for source in layer.sources if source.up != (1, 1)]
    assert len(copies) == LARGER[name][2]
    maps = torch.from_numpy(images.reshape(-1, *net.image.shape))
    found = ClampQuantised(conversion)(maps).detach().numpy().astype(np.float64)
    np.testing.assert_array_equal(np.rint(found / net.layers[-1].step), net.golden(images))
    wanted = conversion.original.run(maps.numpy())
    np.testing.assert_allclose(FloatGraph(conversion)(maps).detach(), wanted, atol=1e-4 * np.abs(wanted).max())


def test_only_sums_beside_counts_are_stored():
    """Padding wants zeros around the sums of the transposed convolution; the way around stays counts."""
    net = made("U-Net")[0].net
    assert {source.tensor for source in net.by_name["c"].sources} == {"a", "up"}
    assert [layer.name for layer in net.layers if layer.low] == ["up"]


def test_zeros_between_multiply_nothing():
    """A transposed convolution has as many multiplications as places of its input times weights."""
    module = nn.Sequential(conv(1, 4), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, 2, bias=False), nn.ReLU(), nn.Flatten(),
                           nn.Linear(192, 1)).eval()  # fmt: skip
    graph = graph_of(module, torch.zeros(2, 1, 6, 6))
    assert work(graph)["2"].macs == 4 * 3 * 4 * 16 and graph.notes == ()


def test_spread():
    values = np.arange(1, 7).reshape(1, 2, 3, 1)
    weights = np.ones((1, 1, 1, 1), int)
    for held, wanted in (
        (True, [[1, 1, 2, 2, 3, 3]] * 3 + [[4, 4, 5, 5, 6, 6]] * 3),
        (False, [[1, 0, 2, 0, 3, 0], [0] * 6, [0] * 6, [4, 0, 5, 0, 6, 0], [0] * 6, [0] * 6]),
    ):
        source = Source(tensor="a", weights=weights, up=(3, 2), held=held)
        np.testing.assert_array_equal(spread(values, source)[0, :, :, 0], wanted)
        assert source.output_shape(2, 3) == (6, 6)


@pytest.mark.parametrize(
    "changed", [{"stride": (2, 1)}, {"padding": (0, 1, 0, 0)}, {"tensor": "input"}, {"up": (17, 1)}, {"up": (0, 1)}]
)
def test_what_makes_a_map_larger_is_a_copy(changed):
    arguments = {"tensor": "a", "weights": np.ones((1, 1, 1, 1), int), "up": (2, 2)} | changed
    with pytest.raises(OneSpikeError, match=r"^A source that makes a larger map, up = \(\d+, \d\), must be a"):
        Source(**arguments)


def test_file_and_tables(tmp_path):
    """Version 7; a row of zeros has a tap row of zeros, and lanes take no values of their own in a copy."""
    net = made("U-Net")[0].net
    net.save(tmp_path / "net.spike")
    again = type(net).load(tmp_path / "net.spike")
    assert again.hash == net.hash and spike_file.UP_VERSION == 7
    assert [s.up for layer in again.layers for s in layer.sources] == [s.up for x in net.layers for s in x.sources]
    mapping = map_network(net, fit_config(net, EngineConfig(banks=2, lanes=8)))
    larger = next(layer for layer in mapping.layers if layer.sources[0].up != (1, 1))
    assert [larger.sources[0].taps(0, y) for y in range(4)] == [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert np.count_nonzero(larger.sources[0].weights) == np.count_nonzero(larger.sources[0].weights[:, :, 0, 0]) == 6
    assert larger.sources[0].weights.shape[2:] == (2, 2)
    assert not is_depthwise(net, larger.layer)
    memory_images(mapping)


def test_what_is_refused():
    images = torch.zeros(2, 1, 6, 6)
    module = nn.Sequential(nn.ConvTranspose2d(1, 2, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2)).eval()
    with pytest.raises(OneSpikeError, match=r"a transposed convolution of the image itself is not supported; put a "):
        graph_of(module, images)
    module = nn.Sequential(conv(1, 2), nn.ReLU(), nn.Upsample(scale_factor=17), conv(2, 2), nn.ReLU(), nn.Flatten(),
                           nn.Linear(2 * 66 * 66, 2)).eval()  # fmt: skip
    with pytest.raises(OneSpikeError, match=r"it makes the map 17 times larger; up to 16 times are supported"):
        graph_of(module, images)
    from onespike.model.export.onnx_export import to_qonnx

    net = dataclasses.replace(made("U-Net")[0].net, meta={})
    with pytest.raises(OneSpikeError, match=r"^A QONNX model cannot hold layer 'b\.larger', which makes a map larger;"):
        to_qonnx(net)
