# SPDX-License-Identifier: Apache-2.0
"""Four ONNX networks with most operations, to be damaged."""

import numpy as np

from onnx_files import QONNX, node

RNG = np.random.default_rng(0)


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
