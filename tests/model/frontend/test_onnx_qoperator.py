# SPDX-License-Identifier: Apache-2.0
"""Files that onnxruntime has quantised in its QOperator format: the same networks as in QDQ; others are refused."""

import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import nn
from torch.nn import functional as F

from modules import Plain, conv, randomise
from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.onnx_import import import_onnx
from onnx_files import node, run_onnxruntime, write

MICROSOFT = "com.microsoft"
RNG = np.random.default_rng(3)
SHAPE = (2, 6, 6)


def network() -> Plain:
    """A residual block: convolutions, an addition, both pools, a linear layer."""
    torch.manual_seed(0)

    def forward(m, x):
        a = F.max_pool2d(F.relu(m.a(x)), 2)
        return m.z(F.avg_pool2d(F.relu(m.c(F.relu(m.b(a))) + m.short(a)), 4).flatten(1))

    layers = {"a": conv(1, 8, padding=1), "b": conv(8, 8, padding=1), "c": conv(8, 8, padding=1)}
    return randomise(Plain(forward, **layers, short=nn.Conv2d(8, 8, 1), z=nn.Linear(32, 10)))


class Pictures(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = list(np.random.default_rng(1).random((32, 1, 1, 16, 16)).astype(np.float32))

    def get_next(self):
        return {"x": self.left.pop()} if self.left else None


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network(), (torch.zeros(2, 1, 16, 16),), str(path), dynamo=False, opset_version=17, input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    logging.getLogger().setLevel(logging.ERROR)  # it asks for its own preprocessing
    return path


def exactly(path, images):
    """As onnxruntime runs the file's own nodes, none fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options).run(None, {"x": images})[0]


@pytest.mark.parametrize("per_channel", [False, True])
def test_static_quantisation(real, tmp_path, per_channel):
    """Both formats become the same layers; classes as onnxruntime's, as often as its QDQ file's are."""
    images = np.random.default_rng(2).random((300, 1, 16, 16)).astype(np.float32)
    graphs, agreement = {}, {}
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        path = tmp_path / f"{form.name}.onnx"
        quantize_static(
            real, path, Pictures(), quant_format=form, per_channel=per_channel, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )  # fmt: skip
        kinds = {n.op_type for n in onnx.load(path).graph.node}
        assert ({"QLinearConv", "QLinearAdd", "QGemm"} <= kinds) == (form is QuantFormat.QOperator)
        graphs[form] = import_onnx(path)
        logits = convert(path).golden(images)
        agreement[form] = (logits.argmax(1) == exactly(path, images).argmax(1)).mean()
    one, other = graphs.values()
    for a, b in zip(one.nodes, other.nodes, strict=True):
        pooled = "AveragePool" in b.name  # whose scale is its input's in QDQ, its own in QOperator
        assert a.staircase is None or pooled or a.staircase.same(b.staircase)
        for term, same in zip(a.terms, b.terms, strict=True):
            np.testing.assert_allclose(term.weights, same.weights, rtol=1e-6, atol=1e-9)
    assert min(agreement.values()) > 0.97, agreement


GRID = {"s": np.float32(2**-4), "z": np.uint8(0), "t": np.float32(2**-2), "zt": np.uint8(96)}
WEIGHTS = {
    "w": RNG.integers(-9, 10, (4, 2, 3, 3)).astype(np.int8), "sw": np.float32(2**-3), "zw": np.int8(0),
    "swc": (2.0 ** -RNG.integers(2, 5, 4)).astype(np.float32), "zwc": np.zeros(4, np.int8),
    "b": RNG.integers(-99, 99, 4).astype(np.int32), "one": np.float32(1), "zb": np.uint8(128),
}  # fmt: skip
START = [node("QuantizeLinear", "x s z", "q"), node("QLinearConv", "q s z w sw zw t z b", "h", pads=[1, 1, 1, 1])]
M = RNG.integers(-9, 10, (4 * 36, 5)).astype(np.int8)
FLAT = [node("Flatten", "h", "g")]


def ms(kind, inputs, output, **attributes):
    return node(kind, inputs, output, domain=MICROSOFT, **attributes)


CASES = {  # what follows on h (4 x 6 x 6, grid t z), the grid of its result, constants
    "a scale by channel": ([node("QLinearConv", "h t z v swc zwc t zt", "o", strides=[2, 2])], "t zt",
                           {"v": RNG.integers(-9, 10, (4, 4, 3, 3)).astype(np.int8)}),
    "uneven zero points of weights": ([node("QLinearConv", "h t z v swc zv t zt", "o")], "t zt",
                                      {"v": RNG.integers(0, 19, (4, 4, 1, 1)).astype(np.uint8),
                                       "zv": np.full(4, 9, np.uint8)}),
    "matrix": ([*FLAT, node("QLinearMatMul", "g t z m sw zw one zb", "o")], "one zb", {"m": M}),
    "matrix, scales by column": ([*FLAT, node("QLinearMatMul", "g t z m sm zm one zb", "o")], "one zb",
                                 {"m": M, "sm": (2.0 ** -np.arange(3, 8)).astype(np.float32),
                                  "zm": np.zeros(5, np.int8)}),
    "QGemm": ([*FLAT, ms("QGemm", "g t z n sw zw c one zb", "o", transB=1)], "one zb",
              {"n": np.ascontiguousarray(M.T), "c": RNG.integers(-99, 99, 5).astype(np.int32)}),
    "addition": ([node("QLinearConv", "q s z w sw zw t zt b", "k", pads=[1, 1, 1, 1]),
                  ms("QLinearAdd", "h t z k t zt one zb", "o")], "one zb", {}),
    "a constant added": ([ms("QLinearAdd", "h t z d sd zd t zt", "o")], "t zt",
                         {"d": np.arange(4, dtype=np.uint8).reshape(4, 1, 1), "sd": np.float32(4), "zd": np.uint8(1)}),
    "a constant factor": ([ms("QLinearMul", "h t z d sd zd t zt", "o")], "t zt",
                          {"d": np.array(5, np.uint8), "sd": np.float32(0.25), "zd": np.uint8(1)}),
    "pools": ([node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[2, 2]),
               ms("QLinearGlobalAveragePool", "p t z one zb", "o")], "one zb", {}),
    "average pool": ([ms("QLinearAveragePool", "h t z t z", "o", kernel_shape=[3, 3], strides=[3, 3])], "t z", {}),
    "concatenation": ([node("QLinearConv", "q s z w sw zw t zt b", "k", pads=[1, 1, 1, 1]),
                       ms("QLinearConcat", "one zb h t z k t zt", "o", axis=1)], "one zb", {}),
    "moved and joined integers": ([node("MaxPool", "h", "p", kernel_shape=[1, 1]), node("Concat", "p h", "k", axis=1),
                                   node("QLinearConv", "k t z v sw zw one zb", "o")], "one zb",
                                  {"v": RNG.integers(-9, 10, (3, 8, 1, 1)).astype(np.int8)}),
    "leaky": ([node("QLinearConv", "q s z w sw zw t zt b", "k"), ms("QLinearLeakyRelu", "k t zt t zt", "l", alpha=0.25),
               node("Flatten", "l", "lf"), node("QLinearMatMul", "lf t zt m sw zw one zb", "o")], "one zb",
              {"m": M[:64]}),
    "an output of real numbers": ([*FLAT, ms("QGemm", "g t z m sw zw", "y")], "", {"m": M}),
    "ConvInteger": ([node("ConvInteger", "h w4 z", "i"), node("Cast", "i", "r", to=1), node("Mul", "r sw", "m2"),
                     node("Flatten", "m2", "y")], "", {"w4": RNG.integers(-9, 10, (2, 4, 3, 3)).astype(np.int8)}),
    "MatMulInteger": ([*FLAT, node("MatMulInteger", "g m z zm", "i"), node("Cast", "i", "r", to=1),
                       node("Mul", "r sw", "y")], "", {"m": M.astype(np.uint8), "zm": np.uint8(3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_onnxruntime_computes(name, tmp_path):
    """To half a step of the last quantiser, which is left out, where it does not clip."""
    nodes, grid, constants = CASES[name]
    end = [node("Flatten", "o", "f"), node("DequantizeLinear", f"f {grid}", "y")] if grid else []
    path = write(tmp_path / "m.onnx", [*START, *nodes, *end], GRID | WEIGHTS | constants, ["N", *SHAPE])
    images = RNG.integers(0, 256, (20, *SHAPE)) / 16
    wanted, found = run_onnxruntime(path, images), import_onnx(path).run(images)
    if not grid:
        np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-5)
        return
    step, zero = (float((GRID | WEIGHTS)[part]) for part in grid.split())
    wanted = wanted.reshape(found.shape)
    inside = (wanted / step + zero > 0) & (wanted / step + zero < 255)
    assert inside.mean() > 0.3, "nearly everything is clipped"
    assert np.abs(found - wanted)[inside].max() <= step / 2 * (1 + 1e-6)


def refused(tmp_path, nodes, sentence, **constants):
    path = write(tmp_path / "m.onnx", nodes, GRID | WEIGHTS | {"m": M} | constants, [1, *SHAPE])
    with pytest.raises(OneSpikeError, match=sentence):
        import_onnx(path)


END = [node("Flatten", "o", "f"), node("DequantizeLinear", "f t z", "y")]
REFUSED = {
    "another scale": ([node("QLinearConv", "h s z w4 sw zw t z", "o"), *END],
                      r"^Node 'o' \(QLinearConv\): it reads 'h' by another scale than that tensor has; quantise"),
    "another scale at the end": ([*FLAT, node("DequantizeLinear", "g s z", "y")],
                                 r"^Node 'y' \(DequantizeLinear\): its scale or zero point differs from that of its"),
    "integers computed with": ([node("Add", "h h", "o"), *END],
                               r"^Node 'o' \(Add\): it computes with integers, .*; quantise .* quant_format="),
    "channels last": ([ms("QLinearGlobalAveragePool", "h t z t z", "o", channels_last=1), *END],
                      r"^Node 'o' \(QLinearGlobalAveragePool\): it has its channels last; quantise the network with"),
    "padding with another number": ([node("Pad", "h around five", "o"), *END],
                                    r"^Node 'o' \(Pad\): it pads with another number than 0; pad before the image is"),
    "joined with different scales": ([node("Concat", "q h", "o", axis=1), *END],
                                     r"^Node 'o' \(Concat\): the scales of its inputs differ; quantise the network"),
    "a weight that is computed": ([node("Identity", "w4", "i"), node("QLinearConv", "h t z i sw zw t z", "o"), *END],
                                  r"^Node 'o' \(QLinearConv\): its input 'i' holds integers of no QuantizeLinear; let"),
    "a scale that is computed": ([node("Identity", "t", "i"), node("QLinearConv", "h t z w4 sw zw i z", "o"), *END],
                                 r"^Node 'o' \(QLinearConv\): its input 'i' must be a constant of the file; quantise"),
    "scales that do not fit": ([node("QLinearConv", "h t z w4 swl zw t z", "o"), *END],
                               r"^Node 'o' \(QLinearConv\): its inputs do not fit together \("),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name, tmp_path):
    nodes, sentence = REFUSED[name]
    constants = {
        "w4": RNG.integers(-9, 10, (2, 4, 3, 3)).astype(np.int8), "around": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "five": np.uint8(5), "swl": np.ones(7, np.float32),
    }  # fmt: skip
    refused(tmp_path, [*START, *nodes], sentence, **constants)


def test_padding_with_zero_is_padding(tmp_path):
    nodes = [*START, node("Pad", "h around z", "p"), node("QLinearConv", "p t z w4 sw zw one zb", "o")]
    nodes += [node("Flatten", "o", "f"), node("DequantizeLinear", "f one zb", "y")]
    constants = {"around": np.array([0, 0, 1, 0, 0, 0, 0, 2]), "w4": RNG.integers(-9, 10, (2, 4, 3, 3)).astype(np.int8)}
    path = write(tmp_path / "m.onnx", nodes, GRID | WEIGHTS | constants, [1, *SHAPE])
    images = RNG.integers(0, 256, (1, *SHAPE)) / 16
    wanted = run_onnxruntime(path, images)
    inside = (wanted > -128) & (wanted < 127)
    assert inside.any() and np.abs(import_onnx(path).run(images) - wanted)[inside].max() <= 0.5


def test_dynamic_quantisation_is_refused_and_static_is_the_way_out(real, tmp_path):
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(real, path)
    sentence = r"\(DynamicQuantizeLinear\): its scale is that of the numbers in hand and differs from image to image, "
    with pytest.raises(OneSpikeError, match=sentence + r".*; quantise with constant scales \(onnxruntime's quantize_s"):
        import_onnx(path)
