# SPDX-License-Identifier: Apache-2.0
"""A small engine, and networks that fit it."""

import dataclasses

import numpy as np

from onespike.hw.config import EngineConfig
from onespike.model.network.spec import Image, Layer, Source, SpikeNet

SMALL = EngineConfig(
    banks=2, lanes=4, fire_lanes=2, acc_bits=24, spike_depth=128, weight_depth=256, channel_depth=32, walk_depth=64,
    program_depth=64, pool_depth=8, class_depth=8, word_fifo=4,
)  # fmt: skip

# The smallest that there are, for proofs: what they cost grows with every register.
SMALLEST = EngineConfig(
    banks=1, lanes=1, fire_lanes=1, word_bits=16, weight_bits=2, acc_bits=4, max_shift=4, max_groups=1, max_code=1,
    spike_depth=2, weight_depth=2, channel_depth=2, walk_depth=2, program_depth=16, pool_depth=2, class_depth=2,
    word_fifo=1, command_fifo=1,
)  # fmt: skip
SMALLEST_STREAMED = dataclasses.replace(SMALLEST, external_weights=32, burst=4, bursts=2)


def small_net(seed: int, side: int, hidden: int, classes: int, bits: int) -> SpikeNet:
    rng = np.random.default_rng(seed)
    first = Layer(
        name="first",
        sources=(Source(tensor="input", weights=rng.integers(-99, 100, (hidden, 1, 3, 3)), stride=(2, 2)),),
        bias=rng.integers(-99, 99, hidden),
        shift=np.full(hidden, bits + 5),
        groups=8,
    )
    out = (side - 3) // 2 + 1
    last = Source(tensor="first", weights=rng.integers(-99, 100, (classes, hidden, out, out)))
    zero = np.zeros(classes, int)
    head = Layer(name="head", sources=(last,), bias=zero, shift=zero, groups=0)
    return SpikeNet(image=Image(shape=(1, side, side), bits=bits), layers=(first, head))
