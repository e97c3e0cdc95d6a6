# SPDX-License-Identifier: Apache-2.0
"""Damaged ONNX files: shapes, types, numbers and wires that contradict each other give one sentence, or a network."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onespike.model.errors import OneSpikeError
from onespike.model.frontend.onnx_import import import_onnx
from onnx_files import QONNX, node, write

RNG = np.random.default_rng(0)
NUMBERS = [-1, 0, 1, 2, 3, 7, 255, -3, 65536, 2**31 - 1, -(2**31), 2**40, 2**62]
FILES = 400  # damaged copies, a hundred of each network


def uniform(*shape):
    return RNG.uniform(-1, 1, shape)


CONV = {"w": uniform(3, 2, 3, 3), "b": uniform(3), "c": uniform(4)}
QUANT = {"domain": QONNX, "signed": 0, "narrow": 0, "rounding_mode": "ROUND"}
NETWORKS = [  # nodes, constants, the image
    (
        [node("Conv", "x w b", "a", pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=1, kernel_shape=[3, 3]),
         node("BatchNormalization", "a b b b var", "n", epsilon=1e-5), node("Relu", "n", "r"),
         node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], ceil_mode=0),
         node("Flatten", "p", "f", axis=1), node("Gemm", "f v c", "y", transB=1, alpha=1.0, beta=1.0)],
        CONV | {"var": uniform(3) + 1.5, "v": uniform(4, 48)}, [1, 2, 8, 8],
    ),
    (
        [node("Slice", "x from to axes steps", "s"), node("Conv", "s w b", "a"), node("Clip", "a low high", "k"),
         node("Concat", "k k", "d", axis=1), node("Transpose", "d", "t", perm=[0, 2, 3, 1]),
         node("Reshape", "t sizes", "f"), node("MatMul", "f m", "g"), node("Add", "g c", "h"),
         node("Softmax", "h", "y", axis=1)],
        CONV | {"m": uniform(24, 4), "from": np.array([0, 0]), "to": np.array([99, 99]), "axes": np.array([2, 3]),
                "steps": np.array([2, 2]), "low": np.float32(0), "high": np.float32(1), "sizes": np.array([0, -1])},
        ["N", 2, 8, 8],
    ),
    (
        [node("QuantizeLinear", "x sx zx", "i"), node("DequantizeLinear", "i sx zx", "q"), node("Conv", "q w b", "a"),
         node("Relu", "a", "r"), node("Quant", "r s zero bits", "t", **QUANT),
         node("AveragePool", "t", "p", kernel_shape=[2, 2], strides=[2, 2], count_include_pad=0),
         node("Flatten", "p", "f"), node("Gemm", "f v", "y", transB=1)],
        CONV | {"sx": np.float32(0.02), "zx": np.uint8(0), "s": np.float32(0.25), "zero": np.float32(0),
                "bits": np.float32(3), "v": uniform(4, 27)}, [1, 2, 8, 8],
    ),
    (
        [node("Gemm", "x v c", "a", transB=1), node("Relu", "a", "r"), node("Sub", "r o", "s"),
         node("Mul", "s k", "u"), node("MultiThreshold", "u th", "t", domain=QONNX, out_scale=0.5, out_dtype="UINT2"),
         node("Unsqueeze", "t axis", "u1"), node("Squeeze", "u1 axis", "u2"),
         node("Gemm", "u2 v2", "g", transB=1),
         node("ArgMax", "g", "i", axis=1, keepdims=1), node("Cast", "i", "y", to=1)],
        {"v": uniform(6, 5), "c": uniform(6), "o": uniform(6), "k": np.float32(0.5),
         "th": np.array([[0.25, 0.5, 0.75]]), "axis": np.array([1]), "v2": uniform(3, 6)}, ["N", 5],
    ),
]  # fmt: skip


def damage(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """One random contradiction."""
    graph = model.graph
    broken = graph.node[rng.integers(len(graph.node))]
    constant = graph.initializer[rng.integers(len(graph.initializer))]
    array = numpy_helper.to_array(constant)
    results = [name for other in graph.node for name in other.output]
    names = ["x", *results, *(tensor.name for tensor in graph.initializer)]
    dims = graph.input[0].type.tensor_type.shape.dim
    number = lambda: int(rng.choice(NUMBERS))  # noqa: E731
    place = lambda items: int(rng.integers(len(items)))  # noqa: E731

    def put(new: np.ndarray) -> None:
        constant.CopyFrom(numpy_helper.from_array(new, constant.name))

    def one_number() -> None:
        changed = array.copy()
        spoilt = number() if array.dtype.kind == "i" else 0 if array.dtype.kind == "u" else rng.choice([np.nan, 0, -1])
        changed.reshape(-1)[rng.integers(changed.size)] = spoilt
        put(changed)

    def attribute() -> None:
        kind = broken.attribute[place(broken.attribute)]
        if kind.type == kind.INT:
            kind.i = number()
        elif kind.type == kind.FLOAT:
            kind.f = float(rng.choice([0, -1, np.nan, np.inf, 1e30]))
        elif kind.type == kind.STRING:
            kind.s = bytes(rng.choice([b"", b"X", b"\xff\xfe", b"VALID"]))
        elif rng.random() < 0.5:
            kind.ints[place(kind.ints)] = number()
        else:
            kind.ints[:] = [number() for _ in range(rng.integers(5))]

    kinds = [
        lambda: constant.dims.__setitem__(place(constant.dims), number()),
        lambda: put(np.resize(array, rng.integers(0, 5, rng.integers(5)))),
        lambda: put(array.astype(rng.choice([np.float64, np.float16, np.int8, np.int64, np.bool_, np.complex64]))),
        one_number,
        lambda: setattr(constant, "raw_data", constant.raw_data[: len(constant.raw_data) // 2]),
        lambda: graph.initializer.remove(constant),
        lambda: graph.initializer.append(constant),
        attribute,
        attribute,
        lambda: broken.attribute.pop(place(broken.attribute)),
        lambda: broken.input.pop(),
        lambda: broken.input.__setitem__(place(broken.input), ""),
        lambda: broken.input.__setitem__(place(broken.input), str(rng.choice(names))),
        lambda: broken.input.__setitem__(0, results[-1]),
        lambda: graph.node.insert(place(graph.node), broken),
        lambda: graph.node.remove(broken),
        lambda: broken.output.__setitem__(0, str(rng.choice([*names, ""]))),
        lambda: setattr(broken, "op_type", str(rng.choice([*(n.op_type for n in graph.node), "Loop", "If", "Split"]))),
        lambda: setattr(broken, "domain", str(rng.choice(["", "ai.onnx", QONNX, "com.x", "finn.custom_op.general"]))),
        lambda: setattr(dims[place(dims)], "dim_value", number()),
        lambda: dims.pop() if rng.random() < 0.5 else dims.add(dim_value=2),
        lambda: setattr(graph.input[0].type.tensor_type, "elem_type", int(rng.integers(25))),
        lambda: setattr(graph.output[0], "name", str(rng.choice(["x", "nothing", *results]))),
        lambda: setattr(model.opset_import[place(model.opset_import)], "version", int(rng.choice([0, 1, 7, 21, 99]))),
        lambda: model.opset_import.pop(place(model.opset_import)),
    ]
    kinds[place(kinds)]()


def test_a_damaged_file_gives_a_network_or_a_sentence(tmp_path):
    path, whole, taken = tmp_path / "m.onnx", [], 0
    for nodes, constants, shape in NETWORKS:
        whole.append(write(path, nodes, constants, shape).read_bytes())
        import_onnx(path)
    for seed in range(FILES):
        rng = np.random.default_rng(seed)
        model = onnx.ModelProto.FromString(whole[seed % len(whole)])
        for _ in range(rng.integers(1, 3)):
            try:
                damage(model, rng)
            except (ValueError, IndexError, OverflowError, TypeError):  # what protobuf itself does not let stand
                continue
        path.write_bytes(model.SerializeToString())
        try:
            import_onnx(path)
            taken += 1
        except OneSpikeError as error:
            text = str(error)
            assert "\n" not in text and text.endswith(".") and "please report" not in text, f"seed {seed}: {text}"
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    assert 0.1 * FILES < taken < 0.7 * FILES  # some damage does no harm


def test_sizes_are_refused_before_memory_is_taken(tmp_path):
    nodes, constants, _ = NETWORKS[0]
    with pytest.raises(OneSpikeError, match=r"^The input 'x' of \[2147483647, 2, 8, 8\] holds more than 67,108,864 "):
        import_onnx(write(tmp_path / "m.onnx", nodes, constants, [2**31 - 1, 2, 8, 8]))
    with pytest.raises(OneSpikeError, match=r"^The network takes images of 65536x8x8 \(channels, height, width\); up"):
        import_onnx(write(tmp_path / "m.onnx", nodes, constants, [1, 65536, 8, 8]))
    nodes = [node("Conv", "x w b", "a", pads=[65536] * 4), node("Relu", "a", "r"), *nodes[3:]]
    with pytest.raises(OneSpikeError, match=r"its map of 3x131078x131078 .* is empty or holds more than 67,108,864"):
        import_onnx(write(tmp_path / "m.onnx", nodes, constants, [1, 2, 8, 8]))
