# SPDX-License-Identifier: Apache-2.0
"""Bank: commands and memories in, the sums of each job out."""

from collections.abc import Sequence
from typing import NamedTuple

from ...hw.config import EngineConfig
from ...hw.program import DIGITS_LEVELS, DIGITS_UNARY
from .extract import extract
from .fetch import Command, Mask, Stride, Terms, fetch
from .lanes import shifts
from .values import values


class Job(NamedTuple):
    """L sums of one job, its events, whether its last word was empty (which costs a cycle without an event), and the
    weight rows that were read: one for each value that is not 0.
    """

    sums: list[int]
    events: int
    empty: bool
    reads: int


def bank(
    config: EngineConfig,
    commands: Sequence[Command],
    strides: Sequence[Stride],
    memory: Sequence[int],
    weights: Sequence[Sequence[int]],
    tables: Terms = (),
    masks: Sequence[Mask] = (),
) -> list[Job]:
    """The jobs of `commands`: every event adds the weight row of its channel, times what it is worth.

    memory: spike words; weights: rows of L weights; tables: the terms of each table; masks: rows of masks. Golden
    function of :class:`onespike.hw.engine.bank.Bank`, which shows the running sums of
    :func:`onespike.model.machine.lanes.lanes`: their differences are these sums, modulo 2**acc_bits.
    """
    half = 1 << (config.acc_bits - 1)
    jobs: list[Job] = []
    sums, events, reads, before = [0] * config.lanes, 0, 0, -1
    words = [
        word
        for command in commands
        for word in fetch(config, command, strides, memory, tables, masks)
        if word is not None
    ]
    find = values if config.multiplies else extract
    found = find(words, word_bits=config.word_bits, multiples=config.worths).events
    for index, term, (weight, segment), end, at, fresh, own in found:
        if index is not None:
            assert at is not None
            source = strides[segment]
            channel = at >> source.field
            row = weight + channel
            assert row < len(weights), f"weight row {row} lies outside the memory"
            if term is not None:
                place = index % (1 << source.field)
                shift = term.shift + source.shift + (0 if source.code in (DIGITS_UNARY, DIGITS_LEVELS) else place)
                assert shift in shifts(config), f"shift must be one of {shifts(config)}, not {shift}"
                own = (term._replace(shift=shift),) * config.word_chunks
            worth = [0 if own_term is None else own_term.worth for own_term in own]
            sums = [
                s + worth[lane % len(worth)] * w for lane, (s, w) in enumerate(zip(sums, weights[row], strict=True))
            ]
            events += 1
            reads += fresh or channel != before
            before = channel
        if end:
            assert all(-half <= s < half for s in sums), f"a job's sums must fit {config.acc_bits} bits: {sums}"
            jobs.append(Job(sums, events, index is None, reads))
            sums, events, reads, before = [0] * config.lanes, 0, 0, -1
    return jobs
