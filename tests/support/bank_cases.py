# SPDX-License-Identifier: Apache-2.0
"""A small bank, and random jobs for it."""

import random

from onespike.hw.config import EngineConfig
from onespike.hw.program import DIGITS_RADIX, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_UNARY
from onespike.model.machine.fetch import Command, Mask, Stride

CONFIG = EngineConfig(
    lanes=6, fire_lanes=2, word_bits=16, weight_bits=5, acc_bits=24, max_shift=11, segments=2, spike_depth=64,
    weight_depth=192, word_fifo=4, command_fifo=2,
)  # fmt: skip


SPARSE = EngineConfig(
    lanes=8, fire_lanes=4, word_bits=16, weight_bits=5, acc_bits=24, max_shift=11, segments=2, spike_depth=64,
    weight_depth=192, word_fifo=4, command_fifo=2, row_masks=True, depthwise=True, mask_depth=96,
)  # fmt: skip


def random_masks(config: EngineConfig, rng: random.Random, strides: list[Stride]) -> list[Mask]:
    """Masks of any chunks, some of none; fields of several chunks need all of theirs or none."""
    chunks = max((1 << s.field) // 4 for s in strides) or 1
    found = []
    for _ in range(config.mask_depth):
        groups = rng.choice([0, (1 << config.word_chunks) - 1, rng.getrandbits(config.word_chunks)])
        mask = sum(((1 << chunks) - 1) << i for i in range(0, config.word_chunks, chunks) if groups >> i & 1)
        found.append(Mask(mask, rng.randrange(config.weight_depth - config.word_bits)))
    return found


def rival_case(config: EngineConfig, rng: random.Random, jobs: int, share: float):
    """As `random_case`, or `sparse_case` where there are masks, of values that an engine multiplies by."""
    make = sparse_case if config.row_masks else random_case
    commands, strides, memory, weights, *_ = make(config, rng, jobs, share)
    forms = [(2, DIGITS_RADIX), (3, DIGITS_RADIX), (4, DIGITS_RADIX), (3, DIGITS_SIGNED)]
    forms += [(2, DIGITS_TWOS), (3, DIGITS_TWOS)]
    for i, (field, code) in enumerate(rng.sample(forms, len(strides))):
        if not strides[i].own:
            strides[i] = strides[i]._replace(field=field, code=code)
        if not config.row_masks:  # whole bytes of a pixel's last word
            tail = 2 * rng.randrange(config.word_chunks // 2) + 1
            strides[i] = strides[i]._replace(span=rng.randrange(3), tail=tail)
    masks = [random_masks(config, rng, strides)] if config.row_masks else []
    return commands, strides, memory, weights, *masks


def sparse_case(config: EngineConfig, rng: random.Random, jobs: int, share: float):
    """As `random_case`, for an engine with masks: one of the sources has digits for lanes of their own."""
    commands, strides, memory, weights = random_case(config, rng, jobs, share)
    strides[1] = Stride(rng.randrange(8), rng.randrange(16), 2, DIGITS_RADIX, own=1)
    strides = [s._replace(span=rng.randrange(3), tap_step=rng.randrange(1, 4)) for s in strides]
    commands = [c._replace(weight=rng.randrange(config.mask_depth - 40), run=rng.randrange(5)) for c in commands]
    return commands, strides, memory, weights, random_masks(config, rng, strides)


def random_case(config: EngineConfig, rng: random.Random, jobs: int, share: float):
    """Jobs of one or two sources in all codes; spike words as sparse as `share` says."""

    def word() -> int:
        density = rng.choice([0.05, 0.3, 1])
        return sum(1 << i for i in range(config.word_bits) if rng.random() < density) if rng.random() < share else 0

    memory = [word() for _ in range(config.spike_depth)]
    half = 1 << (config.weight_bits - 1)
    weights = [[rng.randrange(-half, half) for _ in range(config.lanes)] for _ in range(config.weight_depth)]
    digits = [(3, DIGITS_RADIX), (0, DIGITS_RADIX), (4, DIGITS_UNARY), (2, DIGITS_UNARY)]
    digits += [(2, DIGITS_RADIX), (1, DIGITS_RADIX), (3, DIGITS_SIGNED)]
    digits += [(2, DIGITS_TWOS), (3, DIGITS_TWOS)]
    strides = [Stride(rng.randrange(8), rng.randrange(16), *digit, rng.randrange(4)) for digit in rng.sample(digits, 2)]
    commands = []
    for _ in range(jobs):
        parts = rng.randint(1, 2)
        for part in range(parts):
            address, run, rows = rng.randrange(config.spike_depth - 30), rng.choice([0, 1, 3]), rng.randrange(3)
            weight = rng.randrange(config.weight_depth - 172)
            commands.append(Command(address, weight, run, rows, rng.randrange(2), part == parts - 1))
    return commands, strides, memory, weights
