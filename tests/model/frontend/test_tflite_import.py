# SPDX-License-Identifier: Apache-2.0
"""TFLite files become networks that answer as TFLite's own kernels do; what cannot is refused by name."""

import subprocess
import sys

import numpy as np
import pytest

from onespike import EngineConfig, fit_config, map_network
from onespike.model.convert.converter import convert, prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.tflite_file import read
from onespike.model.frontend.tflite_import import import_tflite, label
from tflite_files import NONE, RELU, RELU6, SAME, VALID, constant, conv, run_litert, tensor, window, write

RNG = np.random.default_rng(0)
LINEAR = {"FusedActivationFunction": NONE}


def uniform(*shape):
    return RNG.uniform(-1, 1, shape)


def quantised(shape, scale, zero, kind="i1"):
    return tensor(shape, kind, scale=scale, zero=zero)


def layer(shape, image, channels, axis=0, most=7):
    """Weights of fours and biases two beside: the runtime halves sums before it rounds, and none lies halfway then."""
    scale = 2.0 ** RNG.integers(-6, -3, channels)
    weights = constant(4 * RNG.integers(-most, most + 1, shape), "i1", scale=scale, zero=np.zeros(channels), axis=axis)
    bias = constant(4 * RNG.integers(-100, 100, channels) + 2, "i4", scale=scale * image, zero=np.zeros(channels))
    return weights, bias


def residual(path):
    """A residual network of int8 with zero points, scales by channel and layers without a ReLU."""
    tensors = {"x": quantised((1, 9, 9, 2), 2**-5, -3)}
    tensors["w1"], tensors["b1"] = layer((4, 3, 3, 2), 2**-5, 4)
    tensors["a"] = quantised((1, 5, 5, 4), 2**-5, -128)
    tensors["w2"], tensors["b2"] = layer((1, 3, 3, 4), 2**-5, 4, axis=3)
    tensors["d"] = quantised((1, 5, 5, 4), 2**-5, -1)
    tensors["w3"], tensors["b3"] = layer((4, 3, 3, 4), 2**-5, 4)
    tensors["e"] = quantised((1, 5, 5, 4), 2**-4, 38)
    tensors["s"] = quantised((1, 5, 5, 4), 2**-5, -128)
    tensors["p"] = quantised((1, 3, 3, 4), 2**-5, -128)
    tensors["m"] = quantised((1, 1, 1, 4), 2**-5, -128)
    tensors |= {"to": constant(np.array([1, 4]), "i4"), "f": quantised((1, 4), 2**-5, -128)}
    tensors["w4"], tensors["b4"] = layer((3, 4), 2**-5, 3)
    for name in ("w4", "b4"):  # one scale for all
        tensors[name] |= {"scale": tensors[name]["scale"][:1], "zero": tensors[name]["zero"][:1]}
    tensors |= {"l": quantised((1, 3), 2**-3, 5), "y": quantised((1, 3), 2**-8, -128)}
    operators = [
        ("CONV_2D", "x w1 b1", "a", conv((2, 2), SAME, RELU)),
        ("DEPTHWISE_CONV_2D", "a w2 b2", "d", conv((1, 1), SAME, NONE, DepthMultiplier=1)),
        ("CONV_2D", "d w3 b3", "e", conv((1, 1), SAME, NONE)),
        ("ADD", "a e", "s", {"FusedActivationFunction": RELU}),
        ("MAX_POOL_2D", "s", "p", window((2, 2), SAME, FilterHeight=2, FilterWidth=2)),
        ("AVERAGE_POOL_2D", "p", "m", window((3, 3), VALID, FilterHeight=3, FilterWidth=3)),
        ("RESHAPE", "m to", "f", {}),
        ("FULLY_CONNECTED", "f w4 b4", "l", LINEAR),
        ("SOFTMAX", "l", "y", {"Beta": 1.0}),
    ]
    return tensors, operators, path


def test_int8_networks_are_exact(tmp_path):
    tensors, operators, path = residual(tmp_path / "m.tflite")
    write(path, tensors, operators)
    net = convert(path)
    # The zeros around d lie a count off: a map of ones says where it is.
    assert [layer.name for layer in net.layers] == ["a", "d", "ones", "e", "s", "s.pool.pool", "m", "l"]
    codes = RNG.integers(-128, 128, (20, 9, 9, 2))
    write(tmp_path / "logits.tflite", tensors, operators[:-1], output="l")
    wanted = run_litert(tmp_path / "logits.tflite", codes)
    logits = net.golden((codes + 3) / 32.0) * net.layers[-1].step
    assert np.array_equal(np.clip(np.rint(logits * 8) + 5, -128, 127), wanted)
    assert np.array_equal(net.golden(codes + 128), net.golden((codes + 3) / 32.0))  # bytes are codes
    assert len(np.unique(wanted)) > 20
    config = fit_config(net, EngineConfig(banks=2, lanes=4, fire_lanes=4))
    assert map_network(net, config).config == config  # values with a sign fit eight bits, whatever their zero point


def test_counts_of_every_layer_are_tflites(tmp_path):
    tensors, operators, path = residual(tmp_path / "m.tflite")
    codes = RNG.integers(-128, 128, (6, 9, 9, 2))
    conversion = prepare(write(path, tensors, operators))
    found = conversion.net.golden((codes + 3) / 32.0, layers=True).codes
    for last, name in enumerate(["a", "d", "e", "s"], 1):
        write(tmp_path / "part.tflite", tensors, operators[:last], output=name)
        wanted = run_litert(tmp_path / "part.tflite", codes).astype(int) - int(tensors[name]["zero"][0])
        made = conversion.net.by_name[name]
        counts = found[name].astype(int).transpose(0, 2, 3, 1) if name != "s" else None
        if name == "s":  # stored after its pool
            wanted = np.stack([wanted[:, y : y + 2, x : x + 2].max((1, 2)) for y in (0, 2, 4) for x in (0, 2, 4)], 1)
            counts = found[name].astype(int).reshape(6, 4, 9).transpose(0, 2, 1)
        moved = made.low + 128 + int(tensors[name]["zero"][0]) if made.low < 0 else 0
        assert np.array_equal(counts - moved, wanted), name


def flat(path, body, last, tensors, image=(1, 6, 6, 2), features=72):
    """`body` between the image and a linear layer, in float."""
    tensors = {
        "x": tensor(image), **tensors, "wb": constant(uniform(2)), "v": constant(uniform(3, features)),
        "c": constant(uniform(3)), "to": constant(np.array([1, features]), "i4"), "f": tensor((1, features)),
        "y": tensor((1, 3)),
    }  # fmt: skip
    tail = [("RESHAPE", f"{last} to", "f", {}), ("FULLY_CONNECTED", "f v c", "y", LINEAR)]
    return write(path, tensors, [*body, *tail])


MAP = tensor((1, 6, 6, 2))
W = constant(uniform(2, 3, 3, 2))
FIRST = ("CONV_2D", "x w wb", "a", conv(fused=RELU))
FLOATS = {  # the operators between image and linear layer, the last of their tensors, all tensors, features
    "dilated": ([("CONV_2D", "x w wb", "a", conv((1, 1), SAME, RELU6, (2, 2)))], "a", {"w": W, "a": MAP}, 72),
    "grouped": ([("CONV_2D", "x u b", "a", conv(fused=RELU))], "a",
        {"u": constant(uniform(4, 3, 3, 1)), "b": constant(uniform(4)), "a": tensor((1, 6, 6, 4))}, 144),
    "depth multiplier": ([("DEPTHWISE_CONV_2D", "x w b", "a", conv((2, 2), VALID, RELU, DepthMultiplier=2))], "a",
        {"w": constant(uniform(1, 3, 3, 4)), "b": constant(uniform(4)), "a": tensor((1, 2, 2, 4))}, 16),
    "sums with constants": ([("CONV_2D", "x w wb", "a", conv()), ("MUL", "a k", "b", LINEAR),
        ("ADD", "k b", "e", LINEAR), ("SUB", "e k2", "d", {"FusedActivationFunction": RELU})], "d",
        {"w": W, **dict.fromkeys("abde", MAP), "k": constant(uniform(2)), "k2": constant(uniform(1, 1, 1, 2))}, 72),
    "concatenation": ([FIRST, ("CONV_2D", "a w wb", "b", conv(fused=RELU)),
        ("CONCATENATION", "a b", "d", {"Axis": 3, "FusedActivationFunction": NONE})], "d",
        {"w": W, "a": MAP, "b": MAP, "d": tensor((1, 6, 6, 4))}, 144),
    "padding": ([FIRST, ("PAD", "a p", "b", {}), ("CONV_2D", "b w wb", "d", conv(padding=VALID, fused=RELU))], "d",
        {"w": W, "a": MAP, "p": constant(np.array([[0, 0], [1, 2], [0, 3], [0, 0]]), "i4"),
         "b": tensor((1, 9, 9, 2)), "d": tensor((1, 7, 7, 2))}, 98),
    "max pool with borders": ([FIRST, ("MAX_POOL_2D", "a", "b", window((2, 2), SAME, FilterHeight=3, FilterWidth=3))],
        "b", {"w": W, "a": MAP, "b": tensor((1, 3, 3, 2))}, 18),
    "mean": ([FIRST, ("MEAN", "a axes", "b", {"KeepDims": False})], "b",
        {"w": W, "a": MAP, "axes": constant(np.array([1, 2]), "i4"), "b": tensor((1, 2))}, 2),
    "leaky": ([("CONV_2D", "x w wb", "a", conv()), ("LEAKY_RELU", "a", "b", {"Alpha": 0.25})], "b",
        {"w": W, "a": MAP, "b": MAP}, 72),
    "slopes": ([("CONV_2D", "x w wb", "a", conv()), ("PRELU", "a k", "b", {})], "b",
        {"w": W, "a": MAP, "k": constant(np.abs(uniform(1, 1, 2))), "b": MAP}, 72),
    "activations alone": ([("CONV_2D", "x w wb", "a", conv()), ("RELU_N1_TO_1", "a", "b", {}),
        ("CONV_2D", "b w wb", "d", conv()), ("RELU6", "d", "e", {}),
        ("CONV_2D", "e w wb", "g", conv()), ("TANH", "g", "h", {})], "h",
        {"w": W, **dict.fromkeys("abdegh", MAP)}, 72),
    "half precision": ([("DEQUANTIZE", "w2", "w", {}), FIRST], "a",
        {"w2": W | {"kind": "f2"}, "w": tensor((2, 3, 3, 2)), "a": MAP}, 72),
    "transposed map": ([FIRST, ("TRANSPOSE", "a order", "b", {})], "b",
        {"w": W, "a": MAP, "order": constant(np.array([0, 3, 1, 2]), "i4"), "b": tensor((1, 2, 6, 6))}, 72),
    "axes in and out": ([FIRST, ("MAX_POOL_2D", "a", "b", window((6, 6), VALID, FilterHeight=6, FilterWidth=6)),
        ("SQUEEZE", "b", "d", {"SqueezeDims": [1, 2]}), ("EXPAND_DIMS", "d one", "e", {})], "e",
        {"w": W, "a": MAP, "b": tensor((1, 1, 1, 2)), "d": tensor((1, 2)), "one": constant(np.array(1), "i4"),
         "e": tensor((1, 1, 2))}, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOATS)
def test_float_operators(name, tmp_path):
    body, last, tensors, features = FLOATS[name]
    graph = import_tflite(flat(tmp_path / "m.tflite", body, last, tensors, features=features))
    images = uniform(4, 6, 6, 2).astype(np.float32)
    found = graph.run(graph.arrangement.apply(images.astype(float), graph.shape))
    np.testing.assert_allclose(found, run_litert(tmp_path / "m.tflite", images), rtol=0, atol=1e-4)


def test_a_float_network_converts(tmp_path):
    body, last, tensors, features = FLOATS["concatenation"]
    path = flat(tmp_path / "m.tflite", body, last, tensors, features=features)
    images = RNG.uniform(0, 1, (64, 6, 6, 2)).astype(np.float32)
    net = convert(path, calibration=images, groups=31)
    logits, wanted = net.golden(images) * net.layers[-1].step, run_litert(path, images)
    assert np.corrcoef(logits.reshape(-1), wanted.reshape(-1))[0, 1] > 0.99


def test_uint8_with_zero_points_in_the_weights(tmp_path):
    """The older way of quantising; an image of uint8 that is requantised to int8 keeps its codes."""
    tensors = {
        "x": quantised((1, 4, 4, 1), 2**-4, 128, "u1"),
        "w": constant(RNG.integers(0, 63, (2, 3, 3, 1)) * 4, "u1", scale=2**-7, zero=124),
        "b": constant(np.array([34, -502]), "i4", scale=2**-11, zero=0),
        "a": quantised((1, 4, 4, 2), 2**-3, 0, "u1"),
        "to": constant(np.array([1, 32]), "i4"), "f": quantised((1, 32), 2**-3, 0, "u1"),
        "v": constant(RNG.integers(0, 63, (3, 32)) * 4, "u1", scale=2**-7, zero=128),
        "c": constant(np.array([2, 6, -10]), "i4", scale=2**-10, zero=0), "y": quantised((1, 3), 2**-2, 99, "u1"),
    }  # fmt: skip
    operators = [("CONV_2D", "x w b", "a", conv(fused=RELU6)), ("RESHAPE", "a to", "f", {}),
                 ("FULLY_CONNECTED", "f v c", "y", LINEAR)]  # fmt: skip
    net = convert(write(tmp_path / "m.tflite", tensors, operators))
    codes = RNG.integers(0, 256, (12, 4, 4, 1))
    logits = net.golden(codes) * net.layers[-1].step
    wanted = run_litert(tmp_path / "m.tflite", codes)
    assert np.array_equal(np.clip(np.rint(logits * 4) + 99, 0, 255), wanted)
    assert net.layers[0].groups == 48  # RELU6 in steps of an eighth


SMALL = {"w": W, "a": MAP, "b": MAP, "d": MAP, "k": constant(uniform(2))}
REFUSED = {
    "unknown operation": ([("CONV_2D", "x w wb", "a", conv()), ("HARD_SWISH", "a", "b", {})],
        r"^Node 'b' \(HARD_SWISH\): this operation is not supported; the nearest supported choice is RELU6\.$"),
    "products of activations": ([FIRST, ("MUL", "a a", "b", LINEAR)],
        r"^Node 'b' \(MUL\): two activations are multiplied; only constants may be factors\.$"),
    "softmax inside": ([FIRST, ("SOFTMAX", "a", "b", {"Beta": 1.0})], r"^Node 'b' \(SOFTMAX\): this operation is not"),
    "kernels from the image": ([FIRST, ("CONV_2D", "x a -", "b", conv())],
        r"^Node 'b' \(CONV_2D\): its input 'a' must be constant, not computed from the image\.$"),
    "wrong channels": ([("CONV_2D", "x k3 -", "b", conv())],
        r"^Node 'b' \(CONV_2D\): its weights are for 3 channels, but the map has 2\.$"),
    "other activations": ([("CONV_2D", "x w wb", "b", conv(fused=4))],
        r"^Node 'b' \(CONV_2D\): its fused activation is not supported; use RELU, RELU6 or none\.$"),
    "scales of a tensor by channel": ([("CONV_2D", "x w wb", "q", conv()), ("DEQUANTIZE", "q", "b", {})],
        r"^Node 'q' \(CONV_2D\): the scale of 'q' differs by channel; only weights may have several\.$"),
    "mean over channels": ([FIRST, ("MEAN", "a axes", "b", {"KeepDims": True})],
        r"^Node 'b' \(MEAN\): a mean is supported over height and width together only\.$"),
}  # fmt: skip
REFUSED["an average of fewer places at the border"] = (
    [FIRST, ("AVERAGE_POOL_2D", "a", "p", window((2, 2), SAME, FilterHeight=3, FilterWidth=3)),
     ("CONV_2D", "p w wb", "b", conv())],
    r"^Node 'b' \(CONV_2D\): padding after an average over uneven windows",
)
SMALL |= {"p": tensor((1, 3, 3, 2)), "k3": constant(uniform(2, 3, 3, 3)), "axes": constant(np.array([3]), "i4"),
          "q": tensor((1, 6, 6, 2), "i1", scale=[0.5, 0.25], zero=[0, 0], axis=3)}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_operator(name, tmp_path):
    body, sentence = REFUSED[name]
    with pytest.raises(OneSpikeError, match=sentence):
        import_tflite(flat(tmp_path / "m.tflite", body, "b", SMALL))


def test_what_is_left_out_is_said(tmp_path):
    tensors, operators, path = residual(tmp_path / "m.tflite")
    notes = prepare(write(path, tensors, operators)).notes
    assert "The last quantiser of FULLY_CONNECTED is left out: logits are given before it." in notes


def test_names_are_the_layers(tmp_path):
    """Converters join the names of everything that went into an operator, and number what is left."""
    long = "model/relu/Relu;model/bn/FusedBatchNormV3;model/conv2d/BiasAdd/ReadVariableOp/resource;model/conv2d/Conv2D1"
    body = [("CONV_2D", "x w wb", long, conv(fused=RELU))]
    graph = import_tflite(flat(tmp_path / "m.tflite", body, long, {"w": W, long: MAP}))
    assert graph.nodes[0].name == "model.conv2d"
    body = [FIRST, ("CONV_2D", "a w wb", "b", conv()), ("ADD", "a b", "x/Relu;model/add_1/add", {**LINEAR}),
            ("RELU", "x/Relu;model/add_1/add", "d", {})]  # fmt: skip
    tensors = {"w": W, "a": MAP, "b": MAP, "x/Relu;model/add_1/add": MAP, "d": MAP}
    network = read(flat(tmp_path / "m.tflite", body, "d", tensors))
    assert label(network, network.operators[2]) == "model/add_1"


def test_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['tflite'] = None\n"
        "from onespike.model.convert.converter import graph_of\nfrom onespike.model.errors import OneSpikeError\n"
        "try: graph_of('m.tflite')\nexcept OneSpikeError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert found.stdout == "TFLite files need tflite; run `pip install onespike[tflite]`.\n"
