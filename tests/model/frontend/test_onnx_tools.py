# SPDX-License-Identifier: Apache-2.0
"""ONNX files as other tools write them: QONNX without its domains, and what onnxruntime quantises by default."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import quantization

from onespike.model.convert.converter import prepare
from onespike.model.frontend.onnx_import import import_onnx
from onnx_files import node, write
from onnx_networks import RNG, quantised


@pytest.mark.parametrize("kind", ["no opset import", "the empty domain", "finn's domain without an opset"])
def test_qonnx_operations_are_known_by_name(kind, tmp_path):
    """Tools leave out the opset import of QONNX's domains, or the domain itself."""
    path = quantised("qonnx", tmp_path / "q.onnx")
    wanted, model = import_onnx(path), onnx.load(path)
    for found in model.graph.node:
        if found.domain:
            found.domain = {"the empty domain": "", "no opset import": found.domain}.get(kind, "finn.custom_op.general")
    del model.opset_import[1]
    onnx.save(model, path)
    images = RNG.integers(0, 16, (3, 2, 8, 8)) * 0.125
    assert np.array_equal(import_onnx(path).run(images), wanted.run(images))


@pytest.mark.parametrize("kind", ["QUInt8", "QInt8"])
def test_default_quantisation_of_a_multilayer_perceptron(kind, tmp_path):
    """As onnxruntime writes it: eight bits between QuantizeLinear and DequantizeLinear, the Relu inside the first."""
    logging.getLogger().setLevel(logging.ERROR)  # its advice to preprocess
    nodes = [node("Gemm", "x v1 c1", "a", transB=1), node("Relu", "a", "r"), node("Gemm", "r v2 c2", "y", transB=1)]
    rng = np.random.default_rng(0)
    shapes = {"v1": (12, 8), "c1": (12,), "v2": (3, 12), "c2": (3,)}
    table = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    rows = rng.uniform(0, 1, (50, 8)).astype(np.float32)

    class Rows(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(rows)

        def get_next(self):
            row = next(self.left, None)
            return None if row is None else {"x": row[None]}

    path = write(tmp_path / "mlp.onnx", nodes, table, [1, 8])
    quantised_path = tmp_path / "q.onnx"
    quantization.quantize_static(
        path, quantised_path, Rows(), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType[kind],
    )  # fmt: skip
    conversion = prepare(quantised_path, weight_bits=16)
    assert conversion.image.bits == 8 and conversion.groups[conversion.graph.nodes[0].name] == 255
    options = onnxruntime.SessionOptions()  # as written: its fused 8-bit products saturate on some processors
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(quantised_path), options, providers=["CPUExecutionProvider"])
    wanted = np.concatenate([session.run(None, {"x": row[None]})[0] for row in rows])
    found = conversion.net.golden(rows[:, :, None, None]) * conversion.net.layers[-1].step
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()  # the last quantiser is left out
