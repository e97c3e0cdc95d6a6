# SPDX-License-Identifier: Apache-2.0
"""ONNX and QONNX files become the graphs that they are, as onnxruntime and qonnx run them; others are refused."""

import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
import torch

from modules import SUPPORTED, randomise
from onespike.model.convert.converter import convert, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_module
from onespike.model.frontend.onnx_import import import_onnx
from onespike.model.network.spec import SpikeNet
from onnx_files import QONNX, node, run_onnxruntime, run_qonnx, write
from onnx_networks import RNG, grid, quantised, uniform


@pytest.mark.parametrize("name", sorted({*SUPPORTED} - {"clamp, mm, weight norm"}))  # which torch cannot export
def test_modules_that_torch_exports(name, tmp_path):
    make, shape = SUPPORTED[name]
    torch.manual_seed(0)
    module, path = randomise(make()), tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(shape),), str(path), dynamo=False, opset_version=17)
    graph, wanted = import_onnx(path), import_module(module, torch.zeros(shape))
    images = RNG.normal(size=shape)
    expected = wanted.run(images.reshape(-1, *graph.shape))
    assert np.abs(graph.run(images.reshape(-1, *graph.shape)) - expected).max() < 1e-5 * np.abs(expected).max()
    # The names of the user's layers survive where the exporter kept their weights.
    assert len(graph.nodes) == len(wanted.nodes)


CONV = {"w": uniform(3, 2, 3, 3), "b": uniform(3)}
LINEAR = {"v": uniform(4, 3 * 8 * 7), "c": uniform(4)}
HEAD = [node("Flatten", "r", "f"), node("Gemm", "f v c", "y", transB=1)]
CASES = {  # nodes, constants; the image is 2 x 8 x 7
    "auto_pad upper": (
        [node("Conv", "x w b", "a", auto_pad="SAME_UPPER", strides=[2, 1]), node("Relu", "a", "r"),
         node("Flatten", "r", "f"), node("MatMul", "f m", "g"), node("Add", "g c", "y")],
        CONV | {"m": uniform(3 * 4 * 7, 4), "c": uniform(4)},
    ),
    "auto_pad lower, Clip": (
        [node("Conv", "x w b", "a", auto_pad="SAME_LOWER", strides=[1, 2]), node("Clip", "a low high", "r"), *HEAD],
        CONV | {"v": uniform(4, 3 * 8 * 4), "c": uniform(4), "low": np.float32(0), "high": np.float32(0.7)},
    ),
    "uneven padding, alpha and beta": (
        [node("Pad", "x pads", "p"), node("Conv", "p w", "a", pads=[0, 1, 1, 0]), node("Relu", "a", "r"),
         node("Flatten", "r", "f"), node("Gemm", "f v c", "y", alpha=0.5, beta=2.0, transB=1)],
        CONV | LINEAR | {"pads": np.array([0, 0, 1, 1, 0, 0, 0, 0])},
    ),
    "pools": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r"),
         node("MaxPool", "r", "p", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1], ceil_mode=1),
         node("AveragePool", "p", "q", kernel_shape=[2, 2], strides=[2, 2]), node("GlobalMaxPool", "q", "s"),
         node("Flatten", "s", "f"), node("Gemm", "f v", "y", transB=1)],
        CONV | {"v": uniform(4, 3)},
    ),
    "average with padding, mean": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r"),
         node("AveragePool", "r", "q", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 0, 1], count_include_pad=1),
         node("ReduceMean", "q", "s", axes=[2, 3], keepdims=0), node("Gemm", "s v", "y", transB=1)],
        CONV | {"v": uniform(4, 3)},
    ),
    "batch norm, sums and constants": (
        [node("Sub", "x mean", "n"), node("Div", "n std", "m"), node("Conv", "m w b", "a", pads=[1, 1, 1, 1]),
         node("BatchNormalization", "a g b b v1", "k"), node("Relu", "k", "t"), node("Neg", "a", "u"),
         node("Sum", "t k u", "s"), node("Mul", "s g3", "z"), node("Max", "z zero", "r"), *HEAD],
        CONV | LINEAR | {"mean": uniform(1, 2, 1, 1), "std": uniform(2, 1, 1) + 1.5, "g": uniform(3),
                         "v1": uniform(3) + 1.5, "g3": uniform(3, 1, 1) + 1.1, "zero": np.float32(0)},
    ),
    "transposed convolutions": (
        [node("Conv", "x w b", "a", strides=[2, 2]), node("Relu", "a", "r"),
         node("ConvTranspose", "r t", "d", strides=[2, 1], pads=[1, 0, 0, 1], output_padding=[1, 0]),
         node("Relu", "d", "e"), node("ConvTranspose", "e u c3", "l", pads=[1, 1, 1, 1], group=1),
         node("Flatten", "l", "f"), node("Gemm", "f big", "y", transB=1)],
        CONV | {"t": uniform(3, 2, 3, 2), "u": uniform(2, 3, 3, 3), "c3": uniform(3), "big": uniform(4, 63)},
    ),
    "option A, concatenation": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r0"),
         node("Slice", "r0 from to axes steps", "s"), node("Pad", "s pads", "t"),
         node("Conv", "r0 w2", "u", pads=[1, 1, 1, 1], strides=[2, 2]), node("Add", "u t", "k"),
         node("Relu", "k", "r1"), node("Conv", "r1 w3", "l"), node("Relu", "l", "r2"),
         node("Concat", "r1 r2", "r", axis=1), node("GlobalAveragePool", "r", "q"), node("Flatten", "q", "f"),
         node("Gemm", "f v", "y", transB=1)],
        CONV | {"w2": uniform(5, 3, 3, 3), "w3": uniform(2, 5, 1, 1), "v": uniform(4, 7),
                "from": np.array([0, 0]), "to": np.array([99, 99]), "axes": np.array([2, 3]),
                "steps": np.array([2, 2]), "pads": np.array([0, 1, 0, 0, 0, 1, 0, 0])},
    ),
    "shapes that are computed": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Dropout", "a", "d"), node("Relu", "d", "r"),
         node("Shape", "r", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n axis", "n1"),
         node("Concat", "n1 rest", "sizes", axis=0), node("Reshape", "r sizes", "f"), node("Identity", "f", "i"),
         node("Gemm", "i v c", "g", transB=1), node("LogSoftmax", "g", "y", axis=1)],
        CONV | LINEAR | {"zero": np.int64(0), "axis": np.array([0]), "rest": np.array([-1])},
    ),
    "channels last": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Transpose", "a", "t", perm=[0, 2, 3, 1]),
         node("Relu", "t", "r"), node("Reshape", "r rest", "f"), node("Gemm", "f v c", "y", transB=1)],
        CONV | LINEAR | {"rest": np.array([0, -1])},
    ),
    "averages at borders": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r"),
         node("AveragePool", "r", "q", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], ceil_mode=1),
         node("Flatten", "q", "f"), node("Gemm", "f v", "y", transB=1)],
        CONV | {"v": uniform(4, 3 * 5 * 4)},
    ),
    "parts, a step, sums and maxima": (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r"),
         onnx.helper.make_node("Split", ["r", "parts"], ["one", "two"], axis=1), node("Gather", "r last", "g", axis=3),
         node("Gather", "r both", "h", axis=1), node("Flatten", "g", "gf"), node("Gemm", "gf v c", "gy", transB=1),
         node("ReduceMax", "two", "m", axes=[2, 3], keepdims=0), node("Gemm", "m v1", "my", transB=1),
         node("ReduceSum", "h where", "s", keepdims=0), node("Gemm", "s v2", "sy", transB=1),
         node("Flatten", "one", "of"), node("Gemm", "of v3", "oy", transB=1), node("Sum", "gy my sy oy", "y")],
        CONV | {"parts": np.array([1, 2]), "last": np.int64(-1), "both": np.array([2, 0]), "where": np.array([2, 3]),
                "v": uniform(4, 24), "c": uniform(4), "v1": uniform(4, 2), "v2": uniform(4, 2), "v3": uniform(4, 56)},
    ),
    "places copied before a linear layer": (
        [node("Conv", "x w b", "a"), node("Relu", "a", "r"),
         node("Resize", "r none scales", "u", mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric"),
         node("Resize", "u none none sizes", "k", mode="nearest"), node("Flatten", "k", "f"),
         node("Gemm", "f v", "y", transB=1)],
        CONV | {"none": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 3], np.float32),
                "sizes": np.array([1, 3, 7, 8]), "v": uniform(4, 3 * 7 * 8)},
    ),
    "blocks before a linear layer": (
        [node("Conv", "x w4 b4", "a"), node("Relu", "a", "r"), node("DepthToSpace", "r", "d", blocksize=2, mode="CRD"),
         node("Flatten", "d", "f"), node("Gemm", "f v", "y", transB=1)],
        {"w4": uniform(4, 2, 3, 3), "b4": uniform(4), "v": uniform(4, 120)},
    ),
    "a product along the channels": (
        [node("Conv", "x w b", "a"), node("Relu", "a", "r"), node("Transpose", "r", "t", perm=[0, 2, 3, 1]),
         node("MatMul", "t m", "g"), node("Add", "g c5", "h"), node("Relu", "h", "k"), node("Flatten", "k", "f"),
         node("Gemm", "f v", "y", transB=1)],
        CONV | {"m": uniform(3, 5), "c5": uniform(5), "v": uniform(4, 150)},
    ),
    "negative padding": (
        [node("Pad", "x pads", "p"), node("Conv", "p w b", "a"), node("Relu", "a", "r"), *HEAD],
        CONV | {"v": uniform(4, 3 * 5 * 6), "c": uniform(4), "pads": np.array([0, 0, -1, 1, 0, 0, 0, 0])},
    ),
    "groups, axes of one": (
        [node("Conv", "x w4 b4", "a", group=2, dilations=[2, 1]), node("Relu", "a", "r1"),
         node("GlobalAveragePool", "r1", "r0"), node("Transpose", "r0", "t", perm=[0, 1, 3, 2]),
         node("Squeeze", "t axes", "s"),
         node("Gemm", "s v", "y", transB=1)],
        {"w4": uniform(4, 1, 3, 3), "b4": uniform(4), "v": uniform(4, 4), "axes": np.array([2, 3])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, "N"])
def test_operations(name, batch, tmp_path):
    nodes, constants = CASES[name]
    path = write(tmp_path / "m.onnx", nodes, constants, [batch, 2, 8, 7])
    graph = import_onnx(path)
    images = RNG.normal(size=(1, 2, 8, 7))
    wanted = run_onnxruntime(path, images)
    found = graph.run(images)
    notes = tuple(n for n in graph.notes if "stored with a sign" not in n and "times the weights of the" not in n)
    if notes:
        assert notes == ("The last LogSoftmax is left out: logits are given before it.",)
        found = found - np.log(np.exp(found).sum(1, keepdims=True))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("last", ["Sigmoid", "Softmax", "ArgMax"])
def test_maps_may_end_in_a_classifier(last, tmp_path):
    nodes = [node("Conv", "x w b", "a", pads=[1, 1, 1, 1]), node("Relu", "a", "r"), node("Conv", "r v", "c"),
             node(last, "c", "y", **({} if last == "Sigmoid" else {"axis": 1}))]  # fmt: skip
    path = write(tmp_path / "m.onnx", nodes, CONV | {"v": uniform(4, 3, 1, 1)}, ["N", 2, 8, 7])
    graph = import_onnx(path)
    assert graph.output == (4, 8, 7)
    assert graph.notes == (f"The last {last} is left out: logits are given before it.",)
    images = RNG.normal(size=(2, 2, 8, 7))
    found, wanted = graph.run(images).reshape(2, 4, 8, 7), None
    if last != "ArgMax":  # whose numbers onnxruntime gives as integers, which `write` does not declare
        wanted = run_onnxruntime(path, images)
        assert np.array_equal(found.argmax(1), wanted.argmax(1))
    if last == "Sigmoid":
        assert np.array_equal(found > 0, wanted > 0.5)


@pytest.mark.parametrize("kind", ["qonnx", "qcdq", "multithreshold"])
def test_quantised_networks_are_exact_without_calibration(kind, tmp_path):
    path = quantised(kind, tmp_path / "q.onnx")
    images = RNG.uniform(-0.5, 2.5, (6, 2, 8, 8))
    wanted = run_qonnx(path, images)
    conversion = prepare(path)
    net = conversion.net
    assert [layer.groups for layer in net.layers] == [7, 0] and net.image.bits == 4
    assert conversion.notes == ("All weights are exact.",)
    assert np.array_equal(conversion.original.run(net.image.quantise(images) * 0.125), wanted)
    ours = net.golden(images) * net.layers[-1].step
    if kind == "multithreshold":  # thresholds at halves are half-up rounding, as ours
        assert np.array_equal(ours, wanted)
        return
    # Elsewhere halves go to the even neighbour; without them the integers are the file's.
    even = prepare(path, calibration=net.image.quantise(images) * np.float32(0.125))
    assert np.array_equal(even.net.golden(images), net.golden(images))
    assert "activations lie halfway between two steps on the calibration images" in even.notes[0]
    assert not np.array_equal(ours, wanted)


@pytest.mark.parametrize("bits", [8, 12])
def test_a_narrow_image_leaves_its_lowest_code_unused(bits, tmp_path):
    """-127..127 are 255 levels: eight bits around zero, whose lowest code no real number is rounded to; so are 12."""
    quant = {"domain": QONNX, "signed": 1, "narrow": 1, "rounding_mode": "ROUND"}
    table = {"w": grid(0.125, 7, 5, 2, 3, 3), "v": grid(0.25, 7, 3, 5 * 6 * 6)}
    table |= zip(("s", "zero", "bits3", "bits", "sx"), np.float32([0.25, 0, 3, bits, 4 / 2**bits]), strict=True)
    nodes = [
        node("Quant", "x sx zero bits", "q", **quant),
        node("Conv", "q w", "a"),
        node("Relu", "a", "r"),
        node("Quant", "r s zero bits3", "t", **quant | {"signed": 0, "narrow": 0}),
        node("Flatten", "t", "f"),
        node("Gemm", "f v", "y", transB=1),
    ]
    path = write(tmp_path / "narrow.onnx", nodes, table, [1, 2, 8, 8])
    net, images = prepare(path).net, RNG.uniform(-2.5, 2.5, (6, 2, 8, 8))  # beyond the range on both sides
    codes = net.image.quantise(images)
    assert (net.image.bits, net.image.first, set(net.image.pad_code)) == (bits, 1, {2**bits // 2})
    assert (codes.min(), codes.max()) == (1, 2**bits - 1)
    wanted = run_qonnx(path, images)
    found = prepare(path).original.run(codes / (2**bits / 4) - 2)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    net.save(tmp_path / "net.spike")
    assert SpikeNet.load(tmp_path / "net.spike").hash == net.hash


def test_ties_are_counted(tmp_path):
    """A step of 3/8 on sums in sixty-fourths: a value is halfway exactly where twice it is an odd multiple of it."""
    path = quantised("qonnx", tmp_path / "q.onnx", step=0.375)
    images = RNG.integers(0, 16, (20, 2, 8, 8)) * np.float32(0.125)
    conversion = prepare(path, calibration=images)
    graph = conversion.original
    node = graph.nodes[0]
    sums = graph.sums(node, {"input": images.transpose(0, 2, 3, 1).astype(float)})
    counts = sums / 0.375
    ties = (counts % 1 == 0.5) & (counts // 1 % 2 == 0) & (counts > 0) & (counts < 7)
    assert ties.sum() > 10
    assert conversion.notes[0].startswith(f"{ties.sum():,} of {sums.size:,} activations lie halfway between two steps")


def test_rounding_down(tmp_path):
    path = quantised("qonnx", tmp_path / "q.onnx", rounding="FLOOR", image=False)
    images = RNG.integers(0, 256, (6, 2, 8, 8)) / 128.0
    net = convert(path, calibration=images, input_range=(0, 255 / 128))
    assert np.array_equal(net.golden(images) * net.layers[-1].step, run_qonnx(path, images))


def test_steps_per_channel_and_requantised_pools(tmp_path):
    constants = {"w": grid(0.125, 7, 3, 1, 3, 3), "v": grid(0.25, 7, 2, 3), "s": np.array([0.25, 0.5, 0.125]),
                 "z": np.zeros(3, np.uint8), "s3": np.array([0.25, 0.5, 0.125]).reshape(1, 3, 1, 1),
                 "zero": np.float32(0), "bits": np.float32(4)}  # fmt: skip
    nodes = [
        node("Conv", "x w", "a"),
        node("QuantizeLinear", "a s z", "k", axis=1),
        node("DequantizeLinear", "k s z", "t", axis=1),
        node("MaxPool", "t", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", "m s z", "k2", axis=1),
        node("DequantizeLinear", "k2 s z", "t2", axis=1),
        node("GlobalAveragePool", "t2", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f v", "y", transB=1),
    ]
    path = write(tmp_path / "m.onnx", nodes, constants, [1, 1, 6, 6])
    graph = import_onnx(path)
    assert [n.exact for n in graph.nodes] == [False, True, False]  # the second quantiser changes nothing
    assert graph.nodes[0].staircase.groups == 255
    images = RNG.normal(size=(1, 1, 6, 6))
    np.testing.assert_allclose(graph.run(images), run_onnxruntime(path, images), atol=1e-5)


def test_a_quantiser_at_the_end_is_left_out(tmp_path):
    constants = {"w": uniform(3, 1, 6, 6), "s": np.float32(0.1), "z": np.int8(0), "v": uniform(3, 3)}
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "r"), node("Flatten", "r", "f"), node("MatMul", "f v", "g"),
             node("QuantizeLinear", "g s z", "k"), node("DequantizeLinear", "k s z", "y")]  # fmt: skip
    graph = import_onnx(write(tmp_path / "m.onnx", nodes, constants, [1, 1, 6, 6]))
    assert graph.notes == ("The last QuantizeLinear is left out: logits are given before it.",)


SMALL = {"none": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32), "parts": np.array([3]),
         "axis": np.array([1]), "w": uniform(2, 1, 3, 3), "s": np.float32(0.1), "z": np.uint8(0), "zero": np.float32(0),
         "v": uniform(2, 32), "wide": np.float32(13),
         "bits": np.float32(4), "m": uniform(2, 2), "ones": np.ones((4, 4)), "minus": np.float32(-0.1),
         "z3": np.uint8(3), "table": np.array([[1.0, 2.0, 4.0]]), "even": np.array([[1.0, 2.0, 3.0]]),
         "sizes": np.array([2, -1]), "lower": np.float32(-1), "upper": np.float32(1)}  # fmt: skip
TAIL = [node("Flatten", "r", "f"), node("Gemm", "f v", "y", transB=1)]
FIRST = [node("Conv", "x w", "a")]
QUANT = {"domain": QONNX, "signed": 0, "narrow": 0, "rounding_mode": "ROUND"}
REFUSED = {
    "unknown operation": ([*FIRST, node("Softplus", "a", "r"), *TAIL],
        r"^Node 'r' \(Softplus\): this operation is not supported; the nearest supported choice is Relu\.$"),
    "unknown domain": ([*FIRST, node("FusedConv", "a w", "r", domain="com.microsoft"), *TAIL],
        r"^Node 'r' \(FusedConv\): the domain 'com.microsoft' is unknown; only standard ONNX and QONNX are"),
    "a grid without 0": ([*FIRST, node("Quant", "a s lower bits", "r", **QUANT), *TAIL],
        r"^Node 'r' \(Quant\): it quantises to 1\.\.16 steps; use a quantiser with 0 among its numbers\.$"),
    "too many steps": ([*FIRST, node("Quant", "a s zero wide", "r", **(QUANT | {"signed": 1})), *TAIL],
        r"^Node 'r' \(Quant\): it quantises to -4096\.\.4095 steps; the nearest supported choice is 12 bits\.$"),
    "negative scale": ([*FIRST, node("Quant", "a minus zero bits", "r", **QUANT), *TAIL],
        r"^Node 'r' \(Quant\): its scale must be positive, not -0\.1\.$"),
    "a scale for every place": ([*FIRST, node("Quant", "a ones zero bits", "r", **QUANT), *TAIL],
        r"^Node 'r' \(Quant\): a scale of shape \(4, 4\) is not supported; use one number, or one per channel\.$"),
    "bipolar": ([*FIRST, node("BipolarQuant", "a s", "r", domain=QONNX), *TAIL],
        r"^Node 'r' \(BipolarQuant\): this operation is not supported; the nearest supported choice is an unsigned"),
    "uneven thresholds": ([*FIRST, node("MultiThreshold", "a table", "r", domain=QONNX, out_dtype="UINT2"), *TAIL],
        r"^Node 'r' \(MultiThreshold\): its thresholds are not evenly spaced; the nearest supported choice is a"),
    "rounding up": ([*FIRST, node("Quant", "a s zero bits", "r", **(QUANT | {"rounding_mode": "CEIL"})), *TAIL],
        r"^Node 'r' \(Quant\): the rounding mode 'CEIL' is not supported; use ROUND or FLOOR\.$"),
    "quantised operations": ([*FIRST, node("QuantizeLinear", "a s z", "k"), node("Relu", "k", "r"), *TAIL],
        r"^Node 'r' \(Relu\): its input comes from QuantizeLinear; only Clip and DequantizeLinear may follow that\.$"),
    "training": ([*FIRST, node("BatchNormalization", "a m m m m", "r", training_mode=1), *TAIL],
        r"^Node 'r' \(BatchNormalization\): batch norm in training mode is not supported; export the network in eval"),
    "other layouts": ([*FIRST, node("Relu", "a", "b"), node("Transpose", "b", "t", perm=[0, 2, 3, 1]),
        node("Conv", "t w", "c"), node("Relu", "c", "r"), *TAIL],
        r"^Node 'c' \(Conv\): its input is a map whose places were moved; the nearest supported choice is"),
    "products of activations": ([*FIRST, node("Mul", "a a", "r"), *TAIL],
        r"^Node 'r' \(Mul\): two activations are multiplied; only constants may be factors\.$"),
    "softmax inside": ([*FIRST, node("Softmax", "a", "r"), *TAIL],
        r"^Node 'r' \(Softmax\): this operation is not supported; the nearest supported choice is Softmax only as the"),
    "softmax over the batch": ([*FIRST, node("Relu", "a", "r"), node("Flatten", "r", "f"),
        node("Gemm", "f v", "g", transB=1), node("ArgMax", "g", "y")],
        r"^Node 'y' \(ArgMax\): it compares the images of a batch with each other; give it the axis of classes, 1\.$"),
    "interpolation": ([*FIRST, node("Resize", "a none scales", "r", mode="linear"), *TAIL],
        r"^Node 'r' \(Resize\): the mode 'linear' mixes places; use nearest in front of a linear layer\.$"),
    "parts": ([*FIRST, node("Split", "a parts", "r", axis=1), *TAIL],
        r"^Node 'r' \(Split\): its parts \[3\] do not make up an axis of 2\.$"),
    "a mean over classes": ([*FIRST, node("ReduceSum", "a axis", "r"), *TAIL],
        r"^Node 'r' \(ReduceSum\): a sum is supported over places of a map, its height, width or both, only\.$"),
    "reshapes of the batch": ([*FIRST, node("Reshape", "a sizes", "f"), node("Gemm", "f v", "y", transB=1)],
        r"^Node 'f' \(Reshape\): a reshape from \[1, 2, 4, 4\] to \[2, 16\] is not supported; keep the batch first"),
    "nothing but activations": ([node("Relu", "x", "y")],
        r"m\.onnx: the network has no convolution or linear layer\.$"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_node_and_the_nearest_choice(name, tmp_path):
    nodes, sentence = REFUSED[name]
    path = write(tmp_path / "m.onnx", nodes, SMALL, [1, 1, 6, 6], opset=14)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    with pytest.raises(OneSpikeError, match=sentence):
        import_onnx(path)


def test_dynamic_sizes_are_refused(tmp_path):
    nodes = [*FIRST, node("Relu", "a", "r"), *TAIL]
    path = write(tmp_path / "m.onnx", nodes, SMALL, ["N", 1, "height", 6])
    with pytest.raises(
        OneSpikeError, match=r"^Axis 2 of the input 'x' \(height\) is dynamic; only the batch may be, so"
    ):
        import_onnx(path)


def test_faulty_files_are_refused(tmp_path):
    nodes = [*FIRST, node("Relu", "a", "r"), *TAIL]
    path = write(tmp_path / "m.onnx", nodes, SMALL, [1, 1, 6, 6])
    data = path.read_bytes()
    faulty = tmp_path / "faulty.onnx"
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*faulty\.onnx: no such file\.$"):
        import_onnx(faulty)
    for content in (b"", b"no model", data[: len(data) // 2], data[: len(data) // 8]):
        faulty.write_bytes(content)
        with pytest.raises(
            OneSpikeError, match=r"^.*faulty\.onnx is not a complete ONNX file; export the network again"
        ):
            import_onnx(faulty)
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, faulty)
    with pytest.raises(
        OneSpikeError, match=r"is written in ONNX opset 99, but the installed onnx .* reads 7 to \d+; export"
    ):
        import_onnx(faulty)
    write(faulty, nodes, SMALL | {"w": np.full((2, 1, 3, 3), np.nan)}, [1, 1, 6, 6])
    with pytest.raises(
        OneSpikeError, match=r"^The parameter 'w' holds NaN or infinite values; train the network again\.$"
    ):
        import_onnx(faulty)


def test_the_missing_package_is_named():
    """Without onnx the sentence names the extra."""
    script = (
        "import sys; sys.modules['onnx'] = None\n"
        "import onespike\n"
        "try: onespike.convert('m.onnx')\n"
        "except onespike.OneSpikeError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert found.stdout == "ONNX files need onnx; run `pip install onespike[onnx]`.\n"
