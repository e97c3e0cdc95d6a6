# SPDX-License-Identifier: Apache-2.0
"""From a TFLite file to the float graph: written as ONNX with its quantisers, which `onnx_import` reads and checks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..errors import OneSpikeError
from .graph import Graph
from .network_file import told
from .onnx_import import import_model
from .tflite_file import BROKEN, Network, Operator, read
from .tflite_ops import NEAREST, RESHAPES, TfliteOperations

OPSET = 17
# What converters append to the name of a layer: model/conv2d/Conv2D, model/dense/BiasAdd/ReadVariableOp/resource1.
ENDINGS = re.compile(
    r"/(BiasAdd|Conv2D|MatMul|Relu6?|ReadVariableOp|resource|depthwise|separable_conv2d|FusedBatchNormV3|AvgPool|"
    r"MaxPool|Mean|Softmax|Reshape|Pad)\d*$"
)
ADDED = re.compile(r"/(add|concat)\d*$")  # as layers are called, too: model/add/add


def import_tflite(path: str | Path, signed: bool | str = "auto") -> Graph:
    """The float graph of a `.tflite` file; quantised activations keep the file's own grids. signed: as `prepare` says.

    Raises OneSpikeError for whatever cannot become spikes, naming the operator, its kind and the nearest supported one.
    """
    with told():
        return _imported(Path(path), signed)


def _imported(path: Path, signed: bool | str) -> Graph:
    network = read(path)
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise OneSpikeError(
            f"{path} must have one input and one output, not {len(network.inputs)} and {len(network.outputs)}; convert "
            f"the network alone."
        )
    return import_model(_translated(network, path), path, signed)


def _translated(network: Network, path: Path) -> onnx.ModelProto:
    """The network as ONNX, every number in float64."""
    start, end = network.tensors[network.inputs[0]], network.outputs[0]
    if len(start.shape) not in (2, 3, 4):
        raise OneSpikeError(
            f"The input {start.name!r} has {len(start.shape)} axes; it must be (batch, height, width, channels), "
            f"(batch, length, channels) or (batch, features)."
        )
    made = TfliteOperations(network)
    made.label, made.kind = start.name or "input", "input"
    value = made.channels_first("image", len(start.shape))
    try:
        made.values[network.inputs[0]] = made.quantise(value, start) if start.quantised else value
    except OneSpikeError as error:
        raise OneSpikeError(f"The input {start.name!r}: {error}.") from None
    if start.dtype.kind != "f" and not start.quantised:
        raise OneSpikeError(
            f"The input {start.name!r} holds {start.dtype} without a scale; convert the network with float or "
            f"quantised images."
        )
    for operator in _needed(network):
        made.begin(operator, label(network, operator))
        try:
            _write(made, operator)
        except OneSpikeError as error:
            raise OneSpikeError(f"Node {made.label!r} ({made.kind}): {error}.") from None
        except BROKEN as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            sentence = f"Node {made.label!r} ({made.kind}): its inputs do not fit together ({text})."
            raise OneSpikeError(sentence) from None
    if end not in made.values:
        name = network.tensors[end].name
        raise OneSpikeError(f"The output {name!r} of {path} does not depend on the image; convert the network again.")
    ends = [helper.make_tensor_value_info("image", TensorProto.DOUBLE, start.shape)]
    last = [helper.make_tensor_value_info(made.values[end], TensorProto.DOUBLE, None)]
    graph = helper.make_graph(made.nodes, "tflite", ends, last, made.initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _write(made: TfliteOperations, operator: Operator) -> None:
    handler = made.find(operator.kind)
    if handler is None:
        near = f"; the nearest supported choice is {NEAREST[operator.kind]}" if operator.kind in NEAREST else ""
        raise OneSpikeError(f"this operation is not supported{near}")
    if made.output.dtype == np.dtype(object):
        raise OneSpikeError("its numbers are of a type that is not supported; convert to float32 or int8")
    handler()


def _needed(network: Network) -> list[Operator]:
    """The operators on which the output depends, in their order."""
    wanted, found = {network.outputs[0]}, []
    for operator in reversed(network.operators):
        if operator.outputs and wanted.intersection(operator.outputs):
            wanted.update(operator.inputs[:1] if operator.kind in RESHAPES else operator.inputs)
            found.append(operator)
    return found[::-1]


def label(network: Network, operator: Operator) -> str:
    """The layer's name: converters join those of all that went into an operator, its own last."""
    name = whole = network.tensors[operator.outputs[0]].name.split(";")[-1]
    while (shorter := ENDINGS.sub("", name)) != name:
        name = shorter
    return ADDED.sub("", name) or whole or operator.kind.lower()
