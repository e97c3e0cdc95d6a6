# SPDX-License-Identifier: Apache-2.0
"""IDX files, as MNIST comes."""

import numpy as np


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()
