# SPDX-License-Identifier: Apache-2.0
"""Networks that rearrange their image before the first layer: the host does it, and answers are those of the module."""

import numpy as np
import pytest
import torch
from torch import nn

from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.onnx_import import import_onnx
from onnx_files import node, run_onnxruntime, write

RNG = np.random.default_rng(16)
MOVE = node("Transpose", "i", "t", perm=[0, 3, 1, 2])
BEHIND = [
    node("Conv", "t w", "a", pads=[1, 0, 1, 1]), node("Relu", "a", "r"), node("GlobalAveragePool", "r", "q"),
    node("Flatten", "q", "f"), node("Gemm", "f v", "y", transB=1),
]  # fmt: skip


def weights(channels, **more):
    return {"w": RNG.uniform(-1, 1, (4, channels, 3, 3)), "v": RNG.uniform(-1, 1, (3, 4)), **more}


S, Z, MEAN = np.float32(1 / 64), np.uint8(128), RNG.random(3)
ONNX = {  # nodes before the convolution, constants, the image as the file takes it, and as the network does
    "channels last": ([node("Identity", "x", "i"), MOVE], weights(3), (6, 8, 3), (3, 6, 8)),
    "normalised, channels last": (
        [node("Sub", "x m", "n"), node("Div", "n s", "i"), MOVE], weights(3, m=MEAN, s=MEAN[None, None] + 1),
        (6, 8, 3), (3, 6, 8),
    ),
    "quantised, channels last": (
        [node("QuantizeLinear", "x s z", "k"), node("DequantizeLinear", "k s z", "i"), MOVE],
        weights(3, s=S, z=Z), (6, 8, 3), (3, 6, 8),
    ),
    "flat": ([node("Reshape", "x to", "t")], weights(1, to=np.array([-1, 1, 6, 8])), (48,), (1, 6, 8)),
    "flat, channels last": (
        [node("Reshape", "x to", "i"), MOVE], weights(3, to=np.array([0, 6, 8, 3])), (144,), (3, 6, 8),
    ),
    "without channels": ([node("Unsqueeze", "x at", "t")], weights(1, at=np.array([1])), (6, 8), (1, 6, 8)),
    "space to depth": ([node("SpaceToDepth", "x", "t", blocksize=2)], weights(12), (3, 6, 8), (12, 3, 4)),
    "depth to space": ([node("DepthToSpace", "x", "t", blocksize=2)], weights(2), (8, 3, 4), (2, 6, 8)),
    "depth to space, CRD": (
        [node("DepthToSpace", "x", "t", blocksize=2, mode="CRD")], weights(2), (8, 3, 4), (2, 6, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONNX)
def test_onnx(name, tmp_path):
    before, constants, taken, shape = ONNX[name]
    path = write(tmp_path / "m.onnx", [*before, *BEHIND], constants, ["N", *taken])
    images = RNG.integers(0, 128, (32, *taken)).astype(np.float32) / 64
    scale = {} if name.startswith("quantised") else {"input_range": (0, 255 / 64)}
    net = convert(path, calibration=images, groups=255, weight_bits=16, **scale)
    assert net.image.shape == shape and net.image.arrangement.taken == taken
    wanted, found = run_onnxruntime(path, images), net.golden(images) * net.layers[-1].step
    assert np.abs(found - wanted).max() < 0.005 * np.abs(wanted).max()
    codes = net.image.quantise(images)
    assert np.array_equal(net.golden(codes), net.golden(images))
    assert np.array_equal(net.golden(net.image.arrangement.undo(codes)), net.golden(images))


def test_plain_networks_have_no_arrangement(tmp_path):
    last = [node("Transpose", "x", "i", perm=[0, 2, 3, 1]), node("Flatten", "i", "f"),
            node("Gemm", "f v", "y", transB=1)]  # fmt: skip
    path = write(tmp_path / "m.onnx", last, {"v": RNG.random((3, 36))}, ["N", 3, 3, 4])
    graph = import_onnx(path)
    assert graph.arrangement is None and graph.shape == (3, 3, 4)


@pytest.mark.parametrize(
    ("before", "taken", "sentence"),
    [
        ([node("Transpose", "x", "t", perm=[0, 1, 3, 2])], (3, 6, 6),
         r"^Node 'a' \(Conv\): it reads the image in an order that the host cannot lay out; only reshapes and "),
        ([node("Sub", "x m", "i"), MOVE], (6, 8, 3),
         r"^Node 'i' \(Sub\): a constant that differs from place to place is not supported; only one number per"),
        ([node("Concat", "x x x", "g", axis=1), node("Transpose", "g", "t", perm=[0, 1, 3, 2])], (1, 6, 8),
         r"^Node 'a' \(Conv\): its input is a map whose places were moved; the nearest supported choice is an export"),
        ([node("Sub", "x row", "t")], (3, 6, 8),
         r"^Node 't' \(Sub\): a constant that differs from place to place is not supported; only one number per"),
    ],
    ids=["a turned square", "a mean image", "copied channels", "a mean row"],
)  # fmt: skip
def test_onnx_refused(before, taken, sentence, tmp_path):
    constants = weights(3, m=RNG.random((6, 8, 3)), row=RNG.random(8))
    path = write(tmp_path / "m.onnx", [*before, *BEHIND], constants, ["N", *taken])
    with pytest.raises(OneSpikeError, match=sentence):
        import_onnx(path)


class Moves(nn.Module):
    """A function of the image, then layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]))

    def forward(self, x):
        return self.layers(self.function(self, x))


def pooled(channels):
    return nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)


TORCH = {
    "normalised, channels last, mirrored colours": (
        lambda: Moves(lambda m, x: ((x - m.mean) / m.mean).flip(-1).permute(0, 3, 1, 2), *pooled(3)),
        (6, 8, 3), (3, 6, 8),
    ),
    "sequence": (
        lambda: Moves(lambda m, x: x.transpose(1, 2), nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 3)),
        (9, 3), (3, 1, 9),
    ),
    "pixel unshuffle": (lambda: nn.Sequential(nn.PixelUnshuffle(2), *pooled(4)), (1, 6, 8), (4, 3, 4)),
    "linear layer on the last axis": (
        lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Flatten(), nn.Linear(35, 3)), (7, 3), (3, 1, 7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_torch(name):
    make, taken, shape = TORCH[name]
    torch.manual_seed(0)
    module, images = make().eval(), torch.rand(32, *taken)
    net = convert(module, images[:2], images, groups=255, weight_bits=16)
    assert net.image.shape == shape and net.image.arrangement.taken == taken
    wanted = module(images).detach().numpy()
    assert np.abs(net.golden(images) * net.layers[-1].step - wanted).max() < 0.01 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "function", [lambda m, x: x.flip(3), lambda m, x: x.transpose(2, 3)], ids=["mirrored", "turned"]
)
def test_torch_refused(function):
    sentence = r"^Layer 'layers\.0' \(Conv2d, conv2d\): it reads the image in an order that .* pictures in the data "
    with pytest.raises(OneSpikeError, match=sentence):
        convert(Moves(function, *pooled(1)).eval(), torch.rand(2, 1, 6, 6))
