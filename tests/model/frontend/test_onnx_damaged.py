# SPDX-License-Identifier: Apache-2.0
"""Damaged ONNX files: shapes, types, numbers and wires that contradict each other give one sentence, or a network."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onespike.model.errors import OneSpikeError
from onespike.model.frontend.onnx_import import import_onnx
from onnx_files import QONNX, node, write
from onnx_seeds import NETWORKS

NUMBERS = [-1, 0, 1, 2, 3, 7, 255, -3, 65536, 2**31 - 1, -(2**31), 2**40, 2**62]
FILES = 400  # damaged copies, a hundred of each network


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
