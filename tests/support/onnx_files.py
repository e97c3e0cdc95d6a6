# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files for tests, and what other programs make of them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

QONNX = "qonnx.custom_op.general"


def node(kind, inputs, output, **attributes):
    """One node; inputs and output are names, space between."""
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def write(path: Path, nodes, constants, shape, opset=13, inputs="x", output="y") -> Path:
    """A model from `inputs` of `shape` to `output`, every number in float32."""
    known = [
        numpy_helper.from_array(np.asarray(v, np.float32 if np.asarray(v).dtype == np.float64 else None), name)
        for name, v in constants.items()
    ]
    ends = [helper.make_tensor_value_info(inputs, TensorProto.FLOAT, shape)]
    last = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", "classes"])]
    graph = helper.make_graph(nodes, "test", ends, last, known)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in (QONNX, "com.microsoft"))]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def run_onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.astype(np.float32)})[0]


def run_qonnx(path: Path, images: np.ndarray) -> np.ndarray:
    """One image after the other, as the file has a batch of one."""
    model = ModelWrapper(str(path)).transform(InferShapes())
    name, last = model.graph.input[0].name, model.graph.output[0].name
    return np.concatenate([execute_onnx(model, {name: image[None].astype(np.float32)})[last] for image in images])
