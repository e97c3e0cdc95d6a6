# SPDX-License-Identifier: Apache-2.0
"""Our networks as NIR: the graph that the nir package reads back gives the golden model's logits."""

import dataclasses

import nir
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from networks import grouped_network, random_codes, random_network
from onespike.cli import main
from onespike.model.errors import OneSpikeError
from onespike.model.export.nir_export import export_nir, to_nir
from onespike.model.export.onnx_export import to_qonnx
from onespike.model.network import golden
from onespike.model.network.levels import Levels
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


@pytest.mark.parametrize("low", [-1, 0])
def test_values_that_are_no_counts_are_refused(low):
    net = random_network(np.random.default_rng(0), (8,), 255)
    options = {"low": low} if low else {"levels": Levels(tuple(range(9)), tuple(range(1, 9)))}
    net = dataclasses.replace(net, layers=(dataclasses.replace(net.layers[0], **options), *net.layers[1:]))
    kind = "signed counts" if low else "the levels of a table"
    with pytest.raises(OneSpikeError, match=rf"^NIR, whose .* needs counts .* fires {kind}; export QONNX\.$"):
        to_nir(net)
    to_qonnx(net)  # as it says


def step(node: nir.NIRNode, x: torch.Tensor) -> torch.Tensor:
    """One timestep of one node, as the NIR specification has it."""
    if isinstance(node, nir.Conv2d):
        weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
        stride, padding, dilation = (tuple(map(int, v)) for v in (node.stride, node.padding, node.dilation))
        return F.conv2d(x.to(weight.dtype), weight, bias, stride, padding, dilation, int(node.groups))
    if isinstance(node, nir.Affine):
        weight = torch.from_numpy(node.weight)
        return x.to(weight.dtype) @ weight.T + torch.from_numpy(node.bias)
    if isinstance(node, nir.Threshold):
        return (x > torch.from_numpy(node.threshold)).to(x.dtype)
    if isinstance(node, nir.SumPool2d):
        kernel, stride, padding = (tuple(map(int, v)) for v in (node.kernel_size, node.stride, node.padding))
        return F.avg_pool2d(x, kernel, stride, padding, divisor_override=1)
    if isinstance(node, nir.Flatten):
        return x.flatten(1 + int(node.start_dim))
    assert isinstance(node, nir.Output)
    return x


def run(graph: nir.NIRGraph, codes: np.ndarray) -> np.ndarray:
    """One timestep of the graph on a batch of codes; edges that meet add up."""
    values = {INPUT: torch.from_numpy(codes.astype(np.float32))}
    waiting = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes if name != INPUT}
    while waiting:
        ready = [name for name, readers in waiting.items() if all(reader in values for reader in readers)]
        for name in ready:
            values[name] = step(graph.nodes[name], sum(values[reader] for reader in waiting.pop(name)))
    return values["output"].numpy()


def test_random_networks(tmp_path):
    exact, refused = 0, 0
    for seed in range(36):
        rng = np.random.default_rng(seed)
        net = random_network(rng, (1, 2, 3, 8), 300)
        codes = random_codes(rng, net, 3)
        path = tmp_path / "net.nir"
        try:
            export_nir(net, path)
        except OneSpikeError as error:
            assert "has no square form" in str(error)
            refused += 1
            continue
        assert np.array_equal(run(nir.read(path), codes), golden.run(net, codes)), seed
        exact += 1
    assert exact > 15 and refused > 5  # the random kernels are often taller or wider by one


def one_layer(groups: int, kernel: tuple[int, int], padding: tuple[int, int, int, int], pad_code: int = 0) -> SpikeNet:
    rng = np.random.default_rng(3)
    source = Source(tensor=INPUT, weights=rng.integers(-9, 9, (2, 1, *kernel)), padding=padding)
    layer = Layer(name="a/b", sources=(source,), bias=np.array([3, 50]), shift=np.array([4, 5]), groups=groups)
    rows, columns = source.output_shape(6, 5)
    last = Layer(
        name="output",
        sources=(Source(tensor="a/b", weights=rng.integers(-9, 9, (3, 2, rows, columns))),),
        bias=np.arange(3),
        shift=np.zeros(3, int),
        groups=0,
    )
    return SpikeNet(image=Image(shape=(1, 6, 5), pad_code=(pad_code,)), layers=(layer, last))


@pytest.mark.parametrize("padding", [(0, 1, 0, 1), (1, 0, 2, 1), (2, 2, 0, 0)])
@pytest.mark.parametrize("pad_code", [0, 117])
def test_uneven_padding_and_pad_codes(padding, pad_code, tmp_path):
    kernel = (3, 3 if sum(padding) % 2 == 0 else 2)
    net = one_layer(5, kernel, padding, pad_code)
    codes = np.random.default_rng(1).integers(0, 256, (9, 1, 6, 5)).astype(np.uint8)
    export_nir(net, tmp_path / "net.nir")
    assert np.array_equal(run(nir.read(tmp_path / "net.nir"), codes), golden.run(net, codes))


def test_groups_are_zeros(tmp_path):
    """The package reads no Conv2d of more channels than one group has."""
    net = grouped_network(grouped=True)
    codes = random_codes(np.random.default_rng(0), net, 5)
    export_nir(net, tmp_path / "net.nir")
    assert np.array_equal(run(nir.read(tmp_path / "net.nir"), codes), golden.run(net, codes))


def test_every_spike_is_a_neuron():
    graph = to_nir(one_layer(5, (3, 3), (0, 0, 0, 0)))
    neurons = [node for node in graph.nodes.values() if isinstance(node, nir.Threshold)]
    assert [float(node.threshold[0, 0, 0]) for node in neurons] == [15.5, 31.5, 47.5, 63.5, 79.5]
    assert neurons[0].threshold.dtype == np.float32 and neurons[0].threshold.shape == (2, 4, 3)


def test_what_nir_cannot_hold_is_refused(tmp_path, capsys):
    sentence = (
        r"^Layer 'a/b' has 65 spikes for each of 24 values; NIR needs a neuron for every one, at most 64 for a value"
    )
    with pytest.raises(OneSpikeError, match=sentence):
        to_nir(one_layer(65, (3, 3), (0, 0, 0, 0)))
    one_layer(5, (2, 3), (0, 0, 0, 0)).save(tmp_path / "net.spike")
    assert main(["export", str(tmp_path / "net.spike"), "-o", str(tmp_path / "net.nir")]) == 2
    assert capsys.readouterr().err == (
        "onespike: Layer 'a/b': a kernel of 2x3 taps with padding (0, 0, 0, 0) has no square form, which the shape "
        "rule of NIR needs; export QONNX instead.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["net.spike"]
