# SPDX-License-Identifier: Apache-2.0
"""Bank: commands and memories in, the sums of each job out."""

from collections.abc import Sequence
from typing import NamedTuple

from ...hw.config import EngineConfig
from ...hw.program import DIGITS_RADIX, DIGITS_SIGNED, DIGITS_SIGNED4, DIGITS_UNARY
from ..network.codes import digit
from .extract import extract
from .fetch import Command, Stride, fetch

CODE_OF_DIGITS = {
    DIGITS_RADIX: "radix", DIGITS_UNARY: "unary", DIGITS_SIGNED: "signed", DIGITS_SIGNED4: "signed4",
}  # fmt: skip


class Job(NamedTuple):
    """L sums of one job, its events, and whether its last word was empty (which costs a cycle without an event)."""

    sums: list[int]
    events: int
    empty: bool


def bank(
    config: EngineConfig,
    commands: Sequence[Command],
    strides: Sequence[Stride],
    memory: Sequence[int],
    weights: Sequence[Sequence[int]],
) -> list[Job]:
    """The jobs of `commands`: every spike adds the weight row of its channel, times what its bit is worth.

    memory: spike words; weights: rows of L weights. Golden function of :class:`onespike.hw.engine.bank.Bank`, which
    shows the running sums of :func:`onespike.model.machine.lanes.lanes`: their differences are these sums, modulo
    2**acc_bits.
    """
    half = 1 << (config.acc_bits - 1)
    jobs: list[Job] = []
    sums, events = [0] * config.lanes, 0
    words = [word for command in commands for word in fetch(config, command, strides, memory) if word is not None]
    for bit, (weight, segment), end in extract(words, word_bits=config.word_bits).events:
        if bit is not None:
            source = strides[segment]
            channel, place = divmod(bit, 1 << source.field)
            power, negative = digit(CODE_OF_DIGITS[source.code], place)
            shift = power + source.shift
            assert shift <= config.max_shift, f"shift must lie in 0..{config.max_shift}, not {shift}"
            assert weight + channel < len(weights), f"weight row {weight + channel} lies outside the memory"
            worth = -(1 << shift) if negative else 1 << shift
            sums = [s + worth * w for s, w in zip(sums, weights[weight + channel], strict=True)]
            events += 1
        if end:
            assert all(-half <= s < half for s in sums), f"a job's sums must fit {config.acc_bits} bits: {sums}"
            jobs.append(Job(sums, events, bit is None))
            sums, events = [0] * config.lanes, 0
    return jobs
