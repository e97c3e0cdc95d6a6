# SPDX-License-Identifier: Apache-2.0
"""Small TFLite files for tests, written field by field, and what the reference runtime makes of them."""

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite

SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE, RELU, RELU6 = 0, 1, 3
TYPES = {"f4": tflite.TensorType.FLOAT32, "f2": tflite.TensorType.FLOAT16, "i1": tflite.TensorType.INT8,
         "u1": tflite.TensorType.UINT8, "i4": tflite.TensorType.INT32, "i2": tflite.TensorType.INT16}  # fmt: skip
TABLES = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions", "ADD": "AddOptions", "MUL": "MulOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions", "MEAN": "ReducerOptions", "LEAKY_RELU": "LeakyReluOptions",
    "SOFTMAX": "SoftmaxOptions", "SUB": "SubOptions", "SQUEEZE": "SqueezeOptions", "EXPAND_DIMS": "ExpandDimsOptions",
}  # fmt: skip

# Of the operators, those that the runtime knows; of all others 2.
VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "RELU_N1_TO_1": 1,
            "PRELU": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1}  # fmt: skip


def tensor(shape, kind="f4", data=None, scale=(), zero=(), axis=0):
    """One tensor: kind as NumPy writes it; data of a constant; scale and zero point of a quantised one."""
    scale, zero = np.atleast_1d(np.asarray(scale, np.float32)), np.atleast_1d(np.asarray(zero, np.int64))
    return {"shape": shape, "kind": kind, "data": data, "scale": scale, "zero": zero, "axis": axis}


def constant(data, kind="f4", **grid):
    data = np.asarray(data)
    return tensor(data.shape, kind, data, **grid)


def window(stride=(1, 1), padding=SAME, fused=NONE, **more):
    """Options of a convolution or pool."""
    return {"Padding": padding, "StrideH": stride[0], "StrideW": stride[1], "FusedActivationFunction": fused, **more}


def conv(stride=(1, 1), padding=SAME, fused=NONE, dilation=(1, 1), **more):
    return window(stride, padding, fused, DilationHFactor=dilation[0], DilationWFactor=dilation[1], **more)


def write(path: Path, tensors: dict, operators: list, image="x", output="y") -> Path:
    """A file of these tensors by name and operators (kind, "inputs", "output", options), "-" for no input."""
    builder = flatbuffers.Builder(1 << 16)
    names = list(tensors)
    number = lambda name: -1 if name == "-" else names.index(name)  # noqa: E731
    kinds = sorted({kind for kind, *_ in operators})
    buffers, made = [_buffer(builder, None)], []
    for name, entry in tensors.items():
        place = 0
        if entry["data"] is not None:
            place = len(buffers)
            buffers.append(_buffer(builder, np.asarray(entry["data"], np.dtype(entry["kind"]))))
        made.append(_tensor(builder, name, entry, place))
    written = []
    for kind, inputs, result, options in operators:
        table = _options(builder, TABLES[kind], options) if kind in TABLES else None
        wired = _numbers(builder, [number(name) for name in inputs.split()])
        results = _numbers(builder, [number(name) for name in result.split()])
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, kinds.index(kind))
        tflite.OperatorAddInputs(builder, wired)
        tflite.OperatorAddOutputs(builder, results)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, TABLES[kind]))
            tflite.OperatorAddBuiltinOptions(builder, table)
        written.append(tflite.OperatorEnd(builder))
    ends = [_numbers(builder, [number(name)]) for name in (image, output)]
    lists = [_offsets(builder, made), _offsets(builder, written)]
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, lists[0])
    tflite.SubGraphAddInputs(builder, ends[0])
    tflite.SubGraphAddOutputs(builder, ends[1])
    tflite.SubGraphAddOperators(builder, lists[1])
    graphs = _offsets(builder, [tflite.SubGraphEnd(builder)])
    codes = []
    for kind in kinds:
        value = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(value, 127))
        tflite.OperatorCodeAddVersion(builder, VERSIONS.get(kind, 2))
        tflite.OperatorCodeAddBuiltinCode(builder, value)
        codes.append(tflite.OperatorCodeEnd(builder))
    codes, data = _offsets(builder, codes), _offsets(builder, buffers)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, data)
    builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def small(path: Path) -> Path:
    """A quantised network of a convolution and a matrix."""
    rng = np.random.default_rng(0)
    tensors = {
        "x": tensor((1, 4, 4, 2), "i1", scale=0.05, zero=-3),
        "w": constant(rng.integers(-100, 100, (3, 3, 3, 2)), "i1", scale=[0.01, 0.02, 0.03], zero=[0, 0, 0]),
        "b": constant(rng.integers(-100, 100, 3), "i4", scale=[0.0005, 0.001, 0.0015], zero=[0, 0, 0]),
        "a": tensor((1, 4, 4, 3), "i1", scale=0.1, zero=-128), "to": constant(np.array([1, 48]), "i4"),
        "f": tensor((1, 48), "i1", scale=0.1, zero=-128),
        "v": constant(rng.integers(-100, 100, (2, 48)), "i1", scale=0.01, zero=0),
        "y": tensor((1, 2), "i1", scale=0.3, zero=5),
    }  # fmt: skip
    operators = [("CONV_2D", "x w b", "a", conv(fused=RELU)), ("RESHAPE", "a to", "f", {}),
                 ("FULLY_CONNECTED", "f v -", "y", {"FusedActivationFunction": NONE})]  # fmt: skip
    return write(path, tensors, operators)


def _offsets(builder, found):
    builder.StartVector(4, len(found), 4)
    for offset in reversed(found):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _numbers(builder, values, dtype=np.int32):
    return builder.CreateNumpyVector(np.asarray(values, dtype))


def _buffer(builder, data):
    place = None
    if data is not None:  # on 16 bytes, as the runtime reads them where they lie
        raw = np.frombuffer(data.astype(data.dtype.newbyteorder("<")).tobytes(), np.uint8)
        builder.StartVector(1, len(raw), 16)
        builder.head -= len(raw)
        builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw.tobytes()
        place = builder.EndVector()
    tflite.BufferStart(builder)
    if place is not None:
        tflite.BufferAddData(builder, place)
    return tflite.BufferEnd(builder)


def _tensor(builder, name, entry, place):
    grid = None
    if entry["scale"].size:
        scale, zero = _numbers(builder, entry["scale"], np.float32), _numbers(builder, entry["zero"], np.int64)
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scale)
        tflite.QuantizationParametersAddZeroPoint(builder, zero)
        tflite.QuantizationParametersAddQuantizedDimension(builder, entry["axis"])
        grid = tflite.QuantizationParametersEnd(builder)
    shape, text = _numbers(builder, entry["shape"]), builder.CreateString(name)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, TYPES[entry["kind"]])
    tflite.TensorAddBuffer(builder, place)
    tflite.TensorAddName(builder, text)
    if grid is not None:
        tflite.TensorAddQuantization(builder, grid)
    return tflite.TensorEnd(builder)


def _options(builder, table, options):
    options = {name: _numbers(builder, v) if isinstance(v, list) else v for name, v in options.items()}
    getattr(tflite, f"{table}Start")(builder)
    for name, value in options.items():
        getattr(tflite, f"{table}Add{name}")(builder, value)
    return getattr(tflite, f"{table}End")(builder)


def run_litert(path: Path, images: np.ndarray) -> np.ndarray:
    """What TFLite's own kernels give, one image after the other; in the type of the output."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    found = interpreter.Interpreter(
        str(path), num_threads=1, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    found.allocate_tensors()
    image, output = found.get_input_details()[0], found.get_output_details()[0]["index"]
    results = []
    for one in images:
        found.set_tensor(image["index"], one[None].astype(image["dtype"]))
        found.invoke()
        results.append(found.get_tensor(output)[0].copy())
    return np.array(results)
