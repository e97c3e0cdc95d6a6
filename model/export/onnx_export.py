# SPDX-License-Identifier: Apache-2.0
"""The integer network as QONNX: convolutions and matrix products of integers, and MultiThreshold for the spike counts.

A count clip((sum + bias) >> k, 0, g) is the number of thresholds i * 2**k - bias, i = 1..g, that the sum reaches. All
numbers are whole and below 2**24, so that float32, in which ONNX runtimes compute, is exact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import OneSpikeError
from ..frontend.onnx_import import IMAGE_KEY
from ..network.membranes import require_one_step
from ..network.spec import INPUT, Layer, Pool, Source, SpikeNet, signed_bits
from ..network.spread import require_size
from ..system.files import write_atomically

OPSET = 13
IR_VERSION = 8
DOMAIN = "qonnx.custom_op.general"
LOGITS = "logits"
EXACT_BITS = 25  # of an accumulator, sign included, that float32 holds exactly


def export_qonnx(net: SpikeNet, path: str | Path, batch: int = 1) -> None:
    """Write `to_qonnx(net, batch)` to a file, whole or not at all."""
    write_atomically(Path(path), to_qonnx(net, batch).SerializeToString(deterministic=True))


def to_qonnx(net: SpikeNet, batch: int = 1) -> onnx.ModelProto:
    """The network as a QONNX model: codes of `batch` images in, float32 [batch, C, H, W], integer logits out.

    Its metadata hold what the codes mean, x = code * scale + offset. Raises OneSpikeError where float32 is too narrow.
    """
    require_one_step(net, "A QONNX model")
    require_size(net, "A QONNX model")
    if net.accumulator_bits > EXACT_BITS:
        raise OneSpikeError(
            f"The network needs {net.accumulator_bits}-bit accumulators, but the float32 of ONNX runtimes is exact up "
            f"to {EXACT_BITS} bits; convert it with accumulator_bits=24, or fewer weight bits or groups."
        )
    writer = _Writer(net, batch)
    for layer in net.layers:
        writer.layer(layer)
    return writer.model()


class _Writer:
    """Collects the nodes of one model."""

    def __init__(self, net: SpikeNet, batch: int) -> None:
        self.net, self.batch = net, batch
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.infos: dict[str, onnx.ValueInfoProto] = {}
        self.flat: set[str] = set()  # tensors of one place, which ONNX sees as (batch, channels)
        self._info(INPUT, net.image.shape)

    def layer(self, layer: Layer) -> None:
        """The nodes of one layer."""
        net, shape = self.net, self.net.conv_shapes[layer.name]
        dense = layer.pool is None and all(self._covers(source) for source in layer.sources)
        size = shape[:1] if dense else shape
        bias = layer.bias.copy()
        parts = []
        for index, source in enumerate(layer.sources):
            name = f"{layer.name}.{index}" if index else layer.name
            tensor = source.tensor
            weights = source.weights.astype(np.int64) << source.shift
            pad = np.array(net.image.pad_code)
            if tensor == INPUT and any(source.padding) and pad.any():  # zeros then stand for the pad code
                tensor, bias = self._centred(pad), bias + (source.dense.sum((2, 3)) @ pad << source.shift)
            if dense:
                matrix = self._constant(f"{name}.weight", weights.reshape(layer.channels, -1).T)
                parts.append(self._node("MatMul", [self._flattened(tensor), matrix], f"{name}.sum", size))
                continue
            kernel = self._constant(f"{name}.weight", weights)
            top, bottom, left, right = source.padding
            window: dict[str, Any] = {
                "strides": source.stride, "dilations": source.dilation, "pads": (top, left, bottom, right),
                "kernel_shape": source.weights.shape[2:],
            }  # fmt: skip
            if source.groups > 1:
                window["group"] = source.groups
            inputs = [self._map(tensor), kernel]
            parts.append(self._node("Conv", inputs, f"{name}.sum", size, **window))
        total = parts[0]
        for index, part in enumerate(parts[1:], 1):
            total = self._node("Add", [total, part], f"{layer.name}.total{index}", size)
        if layer.fires:
            self._fire(layer, total, bias, dense)
        else:
            self._finish(layer, total, bias, dense)

    def _fire(self, layer: Layer, total: str, bias: np.ndarray, dense: bool) -> None:
        shape = self.net.conv_shapes[layer.name]
        # A MultiThreshold counts: a step to a level that is n higher is n equal thresholds.
        places = np.arange(layer.low + 1, layer.groups + 1)
        if layer.levels is not None:
            places = np.repeat(layer.levels.thresholds, np.diff(layer.levels.levels))
        steps = places[None, :] << layer.shift.astype(np.int64)[:, None]
        thresholds = self._constant(f"{layer.name}.thresholds", steps - bias[:, None])
        pool = layer.pool
        counts = layer.name if pool is None else f"{layer.name}.counts"
        kind = _datatype(layer.groups, layer.low)
        size = shape[:1] if dense else shape
        begin = {"out_bias": float(layer.low)} if layer.low else {}
        self._node("MultiThreshold", [total, thresholds], counts, size, domain=DOMAIN, out_dtype=kind, **begin)
        if dense:
            self.flat.add(counts)
        if pool is not None:
            self._pool(pool, counts, layer)

    def _pool(self, pool: Pool, counts: str, layer: Layer) -> None:
        """MaxPool; or a sum: LpPool with p = 1 where no value is negative, else a kernel of ones for each channel."""
        (top, bottom, left, right), name = pool.padding, layer.name
        window = {"kernel_shape": pool.kernel, "strides": pool.stride, "pads": (top, left, bottom, right)}
        if pool.kind == "max":
            self._node("MaxPool", [counts], name, self.net.shapes[name], **window)
        elif layer.low:
            ones = self._constant(f"{name}.ones", np.ones((layer.channels, 1, *pool.kernel)))
            self._node("Conv", [counts, ones], name, self.net.shapes[name], group=layer.channels, **window)
        else:
            self._node("LpPool", [counts], name, self.net.shapes[name], p=1, **window)

    def _finish(self, layer: Layer, total: str, bias: np.ndarray, dense: bool) -> None:
        shape = self.net.conv_shapes[layer.name]
        column = bias if dense else bias.reshape(1, -1, 1, 1)
        offset = self._constant(f"{layer.name}.bias", column)
        if dense:
            self._node("Add", [total, offset], LOGITS, shape[:1])
        else:
            maps = self._node("Add", [total, offset], f"{layer.name}.logits", shape)
            self._node("Flatten", [maps], LOGITS, (self.net.classes,), axis=1)

    def _covers(self, source: Source) -> bool:
        """Whether the kernel lies on the whole map once: a matrix product."""
        whole = source.groups == 1 and source.weights.shape[1:] == self.net.shapes[source.tensor]
        return whole and not any(source.padding)

    def _centred(self, pad: np.ndarray) -> str:
        name = f"{INPUT}.centred"
        if name not in self.infos:
            constant = self._constant(f"{INPUT}.pad_code", pad.reshape(1, -1, 1, 1))
            self._node("Sub", [INPUT, constant], name, self.net.image.shape)
        return name

    def _flattened(self, tensor: str) -> str:
        """`tensor` as (batch, values)."""
        name = f"{tensor}.flat"
        if tensor in self.flat:
            return tensor
        if name not in self.infos:
            values = int(np.prod(self.net.shapes[tensor]))
            self._node("Flatten", [tensor], name, (values,), axis=1)
        return name

    def _map(self, tensor: str) -> str:
        """`tensor` as (batch, channels, height, width)."""
        name = f"{tensor}.map"
        if tensor not in self.flat:
            return tensor
        if name not in self.infos:
            shape = self.net.shapes[tensor]
            sizes = numpy_helper.from_array(np.array((0, *shape), np.int64), f"{name}.shape")
            self.constants.append(sizes)
            self._node("Reshape", [tensor, sizes.name], name, shape)
        return name

    def _info(self, name: str, shape: tuple[int, ...]) -> None:
        self.infos[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, (self.batch, *shape))

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, shape: tuple[int, ...], **options: Any) -> str:
        """One node whose result, a float32 map of `shape`, bears its name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **options))
        self._info(output, shape)
        return output

    def model(self) -> onnx.ModelProto:
        """All that was collected."""
        image = self.net.image
        ends = [self.infos.pop(INPUT), self.infos.pop(LOGITS)]
        graph = helper.make_graph(
            self.nodes, "onespike", ends[:1], ends[1:], self.constants, value_info=list(self.infos.values())
        )
        annotation = onnx.TensorAnnotation(tensor_name=INPUT)
        kind = onnx.StringStringEntryProto(key="finn_datatype", value=_datatype(2**image.bits - 1))
        annotation.quant_parameter_tensor_names.append(kind)
        graph.quantization_annotation.append(annotation)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="onespike")
        facts = {"bits": image.bits, "scale": image.scale, "offset": image.offset, "pad_code": image.pad_code}
        helper.set_model_props(model, {IMAGE_KEY: json.dumps(facts), "onespike.hash": self.net.hash})
        return model


def _datatype(top: int, low: int = 0) -> str:
    """QONNX's name of the integers low..top."""
    if low:
        return f"INT{signed_bits(low, top)}"
    return "BINARY" if top == 1 else f"UINT{top.bit_length()}"
