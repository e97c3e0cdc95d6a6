# SPDX-License-Identifier: Apache-2.0
"""Networks that were quantised in torch keep their steps: no recalibration, the same counts, ties reported."""

import re

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed  # registers the operations that PT2E leaves in a graph
from torch import nn
from torch.nn import functional as F

from modules import Plain, conv, randomise
from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_module


class Floor(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.floor()


def qcfs(x):
    """Quantisation, clip, floor, shift: lambda = 2, T = 8."""
    x = torch.clamp(x / 2.0, 0, 1)
    return Floor.apply(x * 8 + 0.5) / 8 * 2.0


def straight_through(x):
    x = F.hardtanh(x / 0.13, 0, 15)
    return ((x.round() - x).detach() + x) * 0.13


def brevitas(x):
    """An unsigned activation, written as Brevitas computes it."""
    x = torch.round(F.relu(x) / 0.125 + torch.tensor(0.0))
    x = torch.where(x > torch.tensor(15.0), torch.tensor(15.0), x)
    return (torch.where(x < torch.tensor(0.0), torch.tensor(0.0), x) - torch.tensor(0.0)) * 0.125


def qdq(x, step, zero=0, low=0, high=255):
    ops = torch.ops.quantized_decomposed
    dtype = torch.uint8 if low == 0 else torch.int8
    whole = ops.quantize_per_tensor(x, step, zero, low, high, dtype)
    return ops.dequantize_per_tensor(whole, step, zero, low, high, dtype)


def fake(*settings):
    return lambda x: torch.fake_quantize_per_tensor_affine(F.relu(x), *settings)


# name: activation, its groups, its rounding
QUANTISED = {
    "QCFS": (qcfs, 8, "half up"),
    "straight-through": (straight_through, 15, "half even"),
    "round, then clamp": (lambda x: torch.clamp(torch.round(x / 0.1), 0, 15) * 0.1, 15, "half even"),
    "ReLU, floor, minimum": (lambda x: torch.clamp(torch.floor(F.relu(x) / 0.125), max=7) * 0.125, 7, "floor"),
    "clamp, then round": (lambda x: torch.round(torch.clamp(x, 0, 1) * 49) / 49, 49, "half even"),
    "Brevitas": (brevitas, 15, "half even"),
    "fake quantisation": (fake(0.125, 0, 0, 15), 15, "half even"),
    "fake quantisation, signed integers": (fake(0.125, -128, -128, 127), 255, "half even"),
    "quantize, dequantize": (lambda x: qdq(F.relu(x), 0.031), 255, "half even"),
    "quantized tensors": (
        lambda x: torch.quantize_per_tensor(F.relu(x), 0.1, 0, torch.quint8).dequantize(), 255, "half even",
    ),
}  # fmt: skip


def network(activation):
    """Two layers, so that codes of one feed the other."""
    torch.manual_seed(0)
    layers = {"a": conv(1, 4, padding=1), "norm": nn.BatchNorm2d(4), "b": conv(4, 4), "z": nn.Linear(36, 3)}
    forward = lambda m, x: m.z(activation(m.b(activation(m.norm(m.a(x)))))[:, :, ::2, ::2].flatten(1))  # noqa: E731
    return randomise(Plain(forward, **layers))


PICTURES = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.float32) / 255


@pytest.mark.parametrize("name", QUANTISED)
def test_steps_come_with_the_network(name):
    activation, groups, rounding = QUANTISED[name]
    module = network(activation)
    graph = import_module(module, torch.zeros(1, 1, 8, 8))
    stairs = [node.staircase for node in graph.nodes]
    assert [(s.groups, s.rounding) for s in stairs[:-1]] == [(groups, rounding)] * 2 and stairs[-1] is None
    # No calibration images; with wide weights only a value next to the edge of a step can fall on its other side.
    net = prepare(graph, weight_bits=16, accumulator_bits=40).net
    assert [layer.groups for layer in net.layers] == [groups, groups, 0]
    wanted = module(torch.from_numpy(PICTURES)).detach().numpy()
    found = net.golden(PICTURES) * net.layers[-1].step
    assert np.median(np.abs(found - wanted)) < 2e-3 * np.abs(wanted).max()


def test_quantised_image_and_weights():
    """As PT2E leaves them: int8 weights with a scale per channel, quantisers around the pool, the image quantised."""

    class Exported(nn.Module):
        def __init__(self):
            super().__init__()
            self.z = nn.Linear(36, 3)
            generator = torch.Generator().manual_seed(0)
            whole = torch.randint(-127, 128, (4, 1, 3, 3), generator=generator)
            self.register_buffer("whole", whole.to(torch.int8))
            self.register_buffer("scales", torch.tensor([2.0**-7, 2.0**-8, 2.0**-7, 2.0**-9]))
            self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

        def forward(self, x):
            x = qdq(x, 2.0**-6, -128, -128, 127)
            weights = torch.ops.quantized_decomposed.dequantize_per_channel(
                self.whole, self.scales, self.zeros, 0, -127, 127, torch.int8
            )
            x = qdq(F.relu(F.conv2d(x, weights)), 2.0**-5)
            return self.z(qdq(F.max_pool2d(x, 2), 2.0**-5).flatten(1))

    torch.manual_seed(0)
    graph = import_module(Exported().eval(), torch.zeros(1, 1, 8, 8))
    assert [node.name for node in graph.nodes] == ["conv2d", "z"]
    assert graph.image is not None and graph.image.scale == (2.0**-6,) and graph.image.offset == (0.0,)
    net = prepare(graph).net
    assert np.abs(net.layers[0].sources[0].weights).max() <= 127
    codes = graph.image.quantise(PICTURES)
    real = (codes * 2.0**-6).astype(np.float64)
    counts = net.golden(PICTURES, layers=True).codes["conv2d"]
    kernel = graph.nodes[0].terms[0].weights
    sums = (
        F.conv2d(torch.from_numpy(real), torch.from_numpy(kernel))
        + torch.from_numpy(graph.nodes[0].bias)[:, None, None]
    )
    # Powers of two: every sum is exact, so that only ties may differ, and ours go up.
    expected = F.max_pool2d(torch.floor(sums / 2.0**-5 + 0.5).clamp(0, 255), 2)
    np.testing.assert_array_equal(counts, expected.numpy().astype(int))


def test_ties_are_reported():
    module = network(fake(0.5, 0, 0, 3))
    with torch.no_grad():
        for layer in (module.a, module.norm):
            for parameter in layer.parameters():
                parameter.zero_()
        module.norm.bias.fill_(0.25)  # halfway between 0 and one step of 0.5
    conversion = prepare(module, None, PICTURES)
    assert conversion.graph.notes == (
        f"{20 * 4 * 64:,} of {20 * 4 * 100:,} activations lie halfway between two steps on the calibration images; the "
        f"imported network rounds these to even, the spikes up.",
    )


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (
            lambda x: torch.fake_quantize_per_channel_affine(
                x, torch.full((4,), 0.125), torch.tensor([0, 1, 2, 3], dtype=torch.int32), 1, 0, 15
            ),
            r"fake_quantize.*: its zero point is 0 to 3 in 0\.\.15; use one whole number of these \[\w+\.py, line ",
        ),
        (fake(0.125, 0, 0, 65535), r"it has 65536 levels, more than the 4096 of a spike count; use 12 bits or fewer"),
        (
            lambda x: torch.round(F.relu(x)),
            r"it rounds without a clamp; add clamp\(0, 2\*\*bits - 1\) behind the round",
        ),
        (
            lambda x: torch.clamp(torch.round(x), -8, 7),
            r"it clamps what was rounded from -8; clamp\(0, 2\*\*bits - 1\) is a spike count",
        ),
        (
            lambda x: torch.clamp(torch.round(x / 0.1) * 0.1, 0, 0.77),
            r"it clamps to 7\.7 steps; a spike count ends at a whole number, the same in all channels",
        ),
        (lambda x: qdq(x, 0.0), r"its scale is 0; a scale must be a positive number, so calibrate it again"),
        (lambda x: torch.round(x).round(), r"it rounds what was rounded already; clamp between the two"),
        (lambda x: torch.round(x, decimals=1), r"rounding to decimals is not supported; scale, round to whole"),
        (
            lambda x: torch.where(x > 1, x, 0.1 * x),
            r"only the choice between an activation and one number is supported",
        ),
    ],
)
def test_what_no_spike_count_can_be_is_refused(activation, message):
    with pytest.raises(OneSpikeError) as caught:
        import_module(network(activation), torch.zeros(1, 1, 8, 8))
    assert re.search(message, str(caught.value)), str(caught.value)


def test_switching_fake_quantisers_are_named():
    module = Plain(lambda m, x: m.z(m.q(x).flatten(1)), q=nn.Identity(), z=nn.Linear(64, 3)).eval()
    module.q.fake_quant_enabled = torch.ones(1)
    module.q.forward = lambda x: x * 2 if module.q.fake_quant_enabled[0] == 1 else x
    with pytest.raises(OneSpikeError, match=r"^Layer 'q' \(Identity\) switches itself on and off by its data, which"):
        import_module(module, torch.zeros(1, 1, 8, 8))
