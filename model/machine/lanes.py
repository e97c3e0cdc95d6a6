# SPDX-License-Identifier: Apache-2.0
"""Lanes: accumulators that only ever add, and the copies of them at the end of each job."""

from collections.abc import Sequence

from ...hw.config import EngineConfig
from ..network.codes import CHUNK, factors, terms


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
    one's term `number`, if it has so many; acc: where the sums start, 0 after a reset. Golden function of
    :class:`onespike.hw.engine.lanes.Lanes`.
    """
    acc = list(acc) if acc is not None else [0] * config.lanes
    half = 1 << (config.weight_bits - 1)
    shadows: list[list[int]] = []
    made = factors(config.multiples)
    times = [made[number] for number in multiple] if multiple is not None else [1] * len(add)
    cycles = zip(add, end, weights, shift, negative, times, strict=True)
    for cycle, (count, ends, row, power, minus, factor) in enumerate(cycles):
        assert len(row) == config.lanes, f"a weight row has {config.lanes} weights, not {len(row)}"
        assert all(-half <= weight < half for weight in row), f"weights must have {config.weight_bits} bits: {row}"
        assert 0 <= power <= config.max_shift, f"shift must lie in 0..{config.max_shift}, not {power}"
        assert factor != 2 or config.max_shift > 3, "only lanes that shift by more than 3 double a weight"
        if count:
            worth = [(-factor if minus else factor) << power] * config.lanes
            if own is not None and own[cycle]:
                chunks = [digits[cycle] >> CHUNK * i & 15 for i in range(config.word_chunks)]
                found = [terms(digit, config.multiples)[number[cycle] :][:1] for digit in chunks]
                worth = [sum(t.worth for t in found[lane % len(found)]) for lane in range(config.lanes)]
            acc = [(a + v * weight) % (1 << config.acc_bits) for a, v, weight in zip(acc, worth, row, strict=True)]
        if ends:
            shadows.append(list(acc))
    return shadows
