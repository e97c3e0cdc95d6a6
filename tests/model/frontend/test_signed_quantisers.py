# SPDX-License-Identifier: Apache-2.0
"""Quantised activations with a sign or a zero point: counts with a sign, as other runtimes have them."""

import numpy as np
import pytest
import torch

from onespike import EngineConfig, fit_config, map_network
from onespike.model.convert.converter import convert, prepare
from onnx_files import QONNX, node, run_qonnx, write

RNG = np.random.default_rng(0)
OFF = 1 / 512  # in every bias: no sum lies halfway between two steps
SIGNED = {"domain": QONNX, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


def grid(step, most, *shape):
    """Random multiples of step up to `most` of them."""
    return step * RNG.integers(-most, most + 1, shape)


QUANTISERS = {  # the nodes from "a" to "q", least and largest count as stored
    "four bits": ([node("Quant", "a s zero bits4", "q", **SIGNED)], -8, 7),
    "narrow": ([node("Quant", "a s zero bits4", "q", **SIGNED | {"narrow": 1})], -7, 7),
    "rounded down": ([node("Quant", "a s zero bits4", "q", **SIGNED | {"rounding_mode": "FLOOR"})], -8, 7),
    "int8": ([node("QuantizeLinear", "a s i0", "k"), node("DequantizeLinear", "k s i0", "q")], -128, 127),
    "zero point": ([node("QuantizeLinear", "a s i38", "k"), node("DequantizeLinear", "k s i38", "q")], -128, 127),
    "other way": ([node("QuantizeLinear", "a s i20", "k"), node("DequantizeLinear", "k s i20", "q")], -128, 127),
    "uint8": ([node("QuantizeLinear", "a s u100", "k"), node("DequantizeLinear", "k s u100", "q")], -128, 127),
    "thresholds": (
        [node("MultiThreshold", "a even", "q", domain=QONNX, out_dtype="INT3", out_scale=0.25, out_bias=-1.0)], -4, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", QUANTISERS)
def test_runtimes_agree(name, tmp_path):
    """A convolution, the quantiser, and another convolution; padded where counts are not moved, and exact then."""
    quantiser, low, top = QUANTISERS[name]
    pad = int(name not in ("zero point", "other way", "uint8"))
    constants = {
        "w": grid(1 / 8, 7, 4, 2, 3, 3), "b": grid(1 / 16, 9, 4) + OFF, "u": grid(1 / 8, 3, 3, 4, 3, 3),
        "c": grid(1 / 16, 9, 3) + OFF, "v": grid(1 / 4, 7, 5, 48 if pad else 12), "s": np.float32(0.25),
        "zero": np.float32(0), "bits4": np.float32(4), "i0": np.int8(0), "i38": np.int8(38), "i20": np.int8(-20),
        "u100": np.uint8(100), "even": 0.25 * np.arange(-3, 4)[None] - 0.125, "s2": np.float32(0.5), "u0": np.uint8(0),
        "sx": np.float32(1 / 16), "four": np.float32(4),
    }  # fmt: skip
    nodes = [
        node("Quant", "x sx zero four", "xq", **SIGNED | {"signed": 0}), node("Conv", "xq w b", "a"), *quantiser,
        node("Conv", "q u c", "e", pads=[pad] * 4), node("Relu", "e", "r"),
        node("QuantizeLinear", "r s2 u0", "rk"), node("DequantizeLinear", "rk s2 u0", "rq"),
        node("Flatten", "rq", "f"), node("Gemm", "f v", "y", transB=1),
    ]  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, constants, [1, 2, 6, 6])
    net = convert(path)
    found = [layer for layer in net.layers if layer.low]
    assert [(layer.low, layer.groups) for layer in found] == [(low, top)]
    images = RNG.integers(0, 16, (4, 2, 6, 6)) / 16.0
    assert np.array_equal(net.golden(images) * net.layers[-1].step, run_qonnx(path, images))
    codes = net.golden(images, layers=True).codes[found[0].name]
    assert len(np.unique(codes)) > 3
    config = fit_config(net, EngineConfig(banks=2, lanes=8))
    assert map_network(net, config).config == config


def residual(path):
    """QDQ as onnxruntime writes it: int8 weights by channel, and an addition of two scales."""
    constants = {"sx": np.float32(1 / 16), "s1": np.float32(0.25), "s2": np.float32(0.5), "s3": np.float32(0.125),
                 "i0": np.int8(0), "i9": np.int8(9), "low": np.int8(-128),
                 "w": RNG.integers(-9, 9, (3, 2, 3, 3)).astype(np.int8), "sw": 2.0 ** np.array([-4, -3, -4]),
                 "zw": np.zeros(3, np.int8), "b": grid(1 / 16, 9, 3) + OFF, "u": grid(1 / 8, 7, 3, 3, 3, 3),
                 "v": grid(1 / 4, 7, 4, 48)}  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x sx i9", "xk"), node("DequantizeLinear", "xk sx i9", "xq"),
        node("DequantizeLinear", "w sw zw", "wr", axis=0), node("Conv", "xq wr b", "a"), node("Relu", "a", "ar"),
        node("QuantizeLinear", "ar s1 low", "ak"), node("DequantizeLinear", "ak s1 low", "aq"),
        node("Conv", "aq u b", "e", pads=[1, 1, 1, 1]),
        node("QuantizeLinear", "e s2 i9", "ek"), node("DequantizeLinear", "ek s2 i9", "eq"),
        node("Add", "aq eq", "d"), node("Relu", "d", "dr"),
        node("QuantizeLinear", "dr s3 low", "dk"), node("DequantizeLinear", "dk s3 low", "dq"),
        node("Flatten", "dq", "f"), node("Gemm", "f v", "y", transB=1),
    ]  # fmt: skip
    return write(path, nodes, constants, [1, 2, 6, 6])


@pytest.mark.parametrize("signed", ["auto", False])
def test_residual_additions(signed, tmp_path):
    path = residual(tmp_path / "m.onnx")
    conversion = prepare(path, signed=signed)
    net = conversion.net
    assert "All weights are exact." in conversion.notes
    images = RNG.uniform(-8, 7, (10, 2, 6, 6))
    codes = net.image.quantise(images)
    real = codes * net.image.scale[0] + net.image.offset[0]
    # onnxruntime, which runs whole graphs, would round the biases, too.
    np.testing.assert_array_equal(net.golden(real) * net.layers[-1].step, run_qonnx(path, real))
    assert any(layer.low for layer in net.layers) == (signed == "auto")  # else all counts are moved above 0


def test_torchs_fake_quantisation_with_a_zero_point():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(2, 3, 3), torch.nn.Linear(48, 4)

        def forward(self, x):
            x = torch.fake_quantize_per_tensor_affine(x, 1 / 16, 0, 0, 15)
            x = torch.fake_quantize_per_tensor_affine(self.a(x), 0.25, 5, 0, 15)
            return self.b(x.flatten(1))

    module = Net().eval()
    with torch.no_grad():
        for layer in (module.a, module.b):
            layer.weight.copy_(torch.from_numpy(grid(1 / 8, 7, *layer.weight.shape)))
            layer.bias.copy_(torch.from_numpy(grid(1 / 16, 7, *layer.bias.shape)) + OFF)
    images = torch.from_numpy(RNG.integers(0, 16, (10, 2, 6, 6)) / 16.0).float()
    net = convert(module, images)
    assert (net.layers[0].low, net.layers[0].groups) == (-5, 10)
    found = net.golden(images.numpy()) * net.layers[-1].step
    np.testing.assert_allclose(found, module(images).detach().numpy(), rtol=0, atol=0.02)  # the last bias is rounded
