# SPDX-License-Identifier: Apache-2.0
"""Lanes: accumulators that only ever add, and the copies of them at the end of each job."""

from collections.abc import Sequence

from ...hw.config import EngineConfig
from ..network.codes import CHUNK, factors, terms


def shifts(config: EngineConfig) -> list[int]:
    """The shifts that lanes can do; those that multiply do `max_shift` % 4 of one, and multiples of four."""
    near = config.max_shift % 4 if config.multiplies else 3
    return [shift for shift in range(config.max_shift + 1) if shift % 4 <= near]


def lanes(
    config: EngineConfig,
    *,
    add: Sequence[int],
    end: Sequence[int],
    weights: Sequence[Sequence[int]],
    shift: Sequence[int],
    negative: Sequence[int],
    multiple: Sequence[int] | None = None,
    own: Sequence[int] | None = None,
    digits: Sequence[int] = (),
    number: Sequence[int] = (),
    acc: Sequence[int] | None = None,
) -> list[list[int]]:
    """The shadow set after each `end`: L sums modulo 2**acc_bits, running on from job to job.

    One element of each argument per cycle; multiple: numbers in `factors(config.multiples)`, all 0 if not given; own:
    the cycles in which lane l takes its own digit, number l modulo the chunks of the spike word `digits`, and adds that
    one's term `number` (0, if not given), if it has so many; acc: where the sums start, 0 after a reset. Golden
    function of :class:`onespike.hw.engine.lanes.Lanes`.
    """
    acc = list(acc) if acc is not None else [0] * config.lanes
    half = 1 << (config.weight_bits - 1)
    shadows: list[list[int]] = []
    made = factors(config.worths)
    times = [made[number] for number in multiple] if multiple is not None else [1] * len(add)
    cycles = zip(add, end, weights, shift, negative, times, strict=True)
    for cycle, (count, ends, row, power, minus, factor) in enumerate(cycles):
        assert len(row) == config.lanes, f"a weight row has {config.lanes} weights, not {len(row)}"
        assert all(-half <= weight < half for weight in row), f"weights must have {config.weight_bits} bits: {row}"
        assert power in shifts(config), f"shift must be one of {shifts(config)}, not {power}"
        doubles = config.multiplies or config.max_shift > 3
        assert factor != 2 or doubles, "only lanes that shift by more than 3 double a weight"
        if count:
            worth = [(-factor if minus else factor) << power] * config.lanes
            if own is not None and own[cycle]:
                chunks = [digits[cycle] >> CHUNK * i & 15 for i in range(config.word_chunks)]
                term = number[cycle] if number else 0
                found = [terms(digit, config.worths)[term:][:1] for digit in chunks]
                worth = [sum(t.worth for t in found[lane % len(found)]) for lane in range(config.lanes)]
            acc = [(a + v * weight) % (1 << config.acc_bits) for a, v, weight in zip(acc, worth, row, strict=True)]
        if ends:
            shadows.append(list(acc))
    return shadows
