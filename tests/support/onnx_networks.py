# SPDX-License-Identifier: Apache-2.0
"""ONNX networks of two layers on a grid of powers of two, quantised as each format does it."""

import numpy as np

from onnx_files import QONNX, node, write

RNG = np.random.default_rng(5)


def uniform(*shape):
    return RNG.uniform(-1, 1, shape)


def grid(step, limit, *shape):
    """Multiples of `step` up to `limit` steps."""
    return RNG.integers(-limit, limit + 1, shape) * float(step)


def quantised(kind, path, step=0.25, rounding="ROUND", image=True):
    """Two layers on a grid of powers of two: activations of 3 bits, weights of 4, the image of 4."""
    table = {"w": grid(0.125, 7, 5, 2, 3, 3), "v": grid(0.25, 7, 3, 5 * 6 * 6), "b": grid(0.0625, 3, 5)}
    scales = {"s": np.float32(step), "sx": np.float32(0.125), "sw": np.float32(0.125), "one": np.float32(1)}
    if kind == "qonnx":
        table |= scales | {"zero": np.float32(0), "bits3": np.float32(3), "bits4": np.float32(4)}
        quant = {"domain": QONNX, "signed": 0, "narrow": 0, "rounding_mode": rounding}
        nodes = [
            node("Quant", "x sx zero bits4", "q", **quant) if image else node("Identity", "x", "q"),
            node("Quant", "w sw zero bits4", "wq", **quant | {"signed": 1, "narrow": 1}),
            node("Conv", "q wq b", "a"),
            node("Relu", "a", "r"),
            node("Quant", "r s zero bits3", "t", **quant),
        ]
    elif kind == "qcdq":
        table |= scales | {"z": np.uint8(0), "z8": np.int8(0), "top": np.uint8(7), "low": np.uint8(0)}
        table |= {"wi": (table.pop("w") / 0.125).astype(np.int8), "zx": np.uint8(0), "x15": np.uint8(15)}
        nodes = [
            node("QuantizeLinear", "x sx zx", "i"),
            node("Clip", "i low x15", "i2"),
            node("DequantizeLinear", "i2 sx zx", "q"),
            node("DequantizeLinear", "wi sw z8", "wq"),
            node("Conv", "q wq b", "a"),
            node("QuantizeLinear", "a s z", "k"),
            node("Clip", "k low top", "k2"),
            node("DequantizeLinear", "k2 s z", "t"),
        ]
    else:
        table |= {"t0": (np.arange(1, 8) - 0.5)[None] * step, "sx": np.float32(0.125)}
        table |= {"zero": np.float32(0), "bits4": np.float32(4)}
        nodes = [
            node("Quant", "x sx zero bits4", "q", domain=QONNX, signed=0, narrow=0, rounding_mode="ROUND"),
            node("Conv", "q w b", "a"),
            node("MultiThreshold", "a t0", "t", domain=QONNX, out_dtype="UINT3", out_scale=step),
        ]
    nodes += [node("Flatten", "t", "f"), node("Gemm", "f v", "y", transB=1)]
    return write(path, nodes, table, [1, 2, 8, 8])
