# SPDX-License-Identifier: Apache-2.0
"""NeuroBench's terms: by hand, by counting every product, and by the package itself where it is installed."""

import numpy as np
import pytest

from networks import grouped_network, random_codes
from onespike.model.cost.neurobench import standard, synapses, terms
from onespike.model.network import golden
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def small_network(bits=4):
    """A row of four pixels, a kernel of three with a zero in the middle, and two classes."""
    first = Source(tensor=INPUT, weights=np.array([2, 0, 1]).reshape(1, 1, 1, 3), padding=(0, 0, 1, 1))
    last = Source(tensor="a", weights=np.array([[1, 0, 1, 1], [0, 1, 1, 1]]).reshape(2, 1, 1, 4))
    layers = (
        Layer(name="a", sources=(first,), bias=np.zeros(1, int), shift=np.zeros(1, int), groups=3),
        Layer(name="out", sources=(last,), bias=np.zeros(2, int), shift=np.zeros(2, int), groups=0),
    )
    return SpikeNet(image=Image(shape=(1, 1, 4), bits=bits), layers=layers)


def test_by_hand():
    """Pixels 0 5 0 1. Output x: 2 p[x-1] + p[x+1], that is 5, 0, 11, 0: clipped to 3, 0, 3, 0.

    Dense: taps inside the row are 2 + 3 + 3 + 2 = 10, and 8 of the last layer. Effective: a pixel that is not 0 with a
    tap of weight 2 or 1 inside: pixel 5 with outputs 0 and 2, pixel 1 with output 2: 3; 3 in output 0 with one weight,
    3 in output 2 with two: 3. Spikes: those 3 count three times.
    """
    net = small_network()
    codes = np.array([0, 5, 0, 1], np.uint8).reshape(1, 1, 1, 4)
    found = terms(net, codes)
    assert golden.run(net, codes, layers=True).codes["a"].ravel().tolist() == [3, 0, 3, 0]
    assert (found.dense, found.effective_macs, found.effective_acs) == (18, 6, 0)
    assert (found.spike_macs, found.spike_acs) == (3, 9)
    assert found.connection_sparsity == 3 / 11 and found.activation_sparsity == 0.5
    assert found.footprint == (11 * net.weight_bits + 3 * (net.accumulator_bits + 5)) / 8
    assert found.spikes_per_synapse == 12 / 18
    assert terms(net, np.repeat(codes, 3, 0)).dense == 18  # per image


def test_single_spikes_are_accumulated():
    """Inputs of 0 and 1 make ACs, as in the package: here the image's."""
    found = terms(small_network(bits=1), np.array([0, 1, 0, 1], np.uint8).reshape(1, 1, 1, 4))
    assert found.effective_acs == 3 and found.effective_macs > 0


def test_every_product_is_counted_once():
    """Grouped kernels, strides and shortcuts, against loops; grouped or written densely, the products are the same."""
    rng = np.random.default_rng(5)
    net, dense = grouped_network(grouped=True), grouped_network(grouped=False)
    codes = random_codes(rng, net, 2)
    result = golden.run(net, codes, layers=True)
    for layer, wide in zip(net.layers, dense.layers, strict=True):
        places = net.conv_shapes[layer.name][1:]
        for source, written in zip(layer.sources, wide.sources, strict=True):
            values = np.asarray(result.codes[source.tensor]).astype(np.int64)
            expected = 0
            top, _, left, _ = source.padding
            padded = np.pad(values, [(0, 0), (0, 0), (top, 9), (left, 9)])
            for y in range(places[0]):
                for x in range(places[1]):
                    (down, across), (tall, wide_) = source.stride, source.weights.shape[2:]
                    window = padded[:, :, y * down : y * down + tall, x * across : x * across + wide_]
                    expected += int(np.einsum("nchw,ochw->", window, (written.weights != 0).astype(np.int64)))
            assert synapses(values, source, places) == synapses(values, written, places) == expected


def test_what_is_printed():
    rows = dict(standard(terms(small_network(), np.zeros((1, 1, 1, 4), np.uint8)).figures()))
    assert rows["synaptic operations"] == "Dense 18, Effective_MACs 0, Effective_ACs 0"
    assert rows["activation sparsity"] == "1.000" and rows["spikes per synapse"] == "0.000"


def test_the_package_agrees():
    """The same network in PyTorch, measured by NeuroBench."""
    pytest.importorskip("neurobench", reason="NeuroBench is not installed")
    torch = pytest.importorskip("torch")
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import TorchModel

    rng = np.random.default_rng(11)
    weights = [rng.integers(-3, 4, (4, 2, 3, 3)), rng.integers(-2, 3, (6, 4, 3, 3)), rng.integers(-2, 3, (5, 6, 6, 6))]
    sources = (
        Source(tensor=INPUT, weights=weights[0], padding=(1, 1, 1, 1)),
        Source(tensor="a", weights=weights[1], padding=(1, 1, 1, 1)),
        Source(tensor="b", weights=weights[2]),
    )
    groups, names = (7, 1, 0), ("a", "b", "out")
    layers = tuple(
        Layer(name=name, sources=(source,), bias=np.full(len(source.weights), 3),
              shift=np.full(len(source.weights), 3 if g else 0), groups=g)
        for name, source, g in zip(names, sources, groups, strict=True)
    )
    net = SpikeNet(image=Image(shape=(2, 6, 6), bits=4), layers=layers)
    codes = random_codes(rng, net, 3)

    class Count(torch.nn.ReLU):
        def __init__(self, most: int):
            super().__init__()
            self.most = most

        def forward(self, value):
            return torch.clamp(torch.floor(value / 8), 0, self.most)

    def convolution(w, padding):
        made = torch.nn.Conv2d(w.shape[1], w.shape[0], w.shape[2:], padding=padding)
        made.weight.data, made.bias.data = torch.tensor(w, dtype=torch.float32), torch.full((len(w),), 3.0)
        return made

    parts = [convolution(weights[0], 1), Count(7), convolution(weights[1], 1), Count(1), convolution(weights[2], 0)]
    model = TorchModel(torch.nn.Sequential(*parts))
    model.register_hooks()
    operations, images = SynapticOperations(), torch.tensor(codes.astype(np.float32))
    logits = model(images)
    found = terms(net, codes)
    assert logits.detach().numpy().reshape(3, 5).tolist() == net.golden(codes).tolist()
    theirs = operations(model, logits, (images, None))
    assert theirs == {
        "Effective_MACs": found.effective_macs, "Effective_ACs": found.effective_acs, "Dense": found.dense,
    }  # fmt: skip
    assert found.effective_acs > 0 and found.effective_macs > 0
    assert ActivationSparsity()(model, logits, None) == pytest.approx(found.activation_sparsity, abs=1e-12)
    assert ConnectionSparsity()(model) == pytest.approx(found.connection_sparsity, abs=5e-5)
    # The package counts bytes of tensors as they are: 32 bits for everything.
    assert Footprint()(model) == 4 * (sum(w.size for w in weights) + sum(len(w) for w in weights))
