# SPDX-License-Identifier: Apache-2.0
"""Set-bit extraction: from spike words to one-hot events, and the cycle in which each leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...hw.engine.extract import CHUNK


class Word(NamedTuple):
    """A spike word; `last` marks the last word of a job, `meta` travels along."""

    word: int
    last: bool
    meta: Any


class Event(NamedTuple):
    """One spike, its place in the word (None: the job ends without one); `end` if it ends a job."""

    bit: int | None
    meta: Any
    end: bool


class Extracted(NamedTuple):
    """Events in order, the cycle in which each leaves, and the cycles in which ending events waited."""

    events: list[Event]
    cycles: list[int]
    waiting: int


def extract(
    words: Sequence[Word], *, word_bits: int, offered: Sequence[int] | None = None, end_ready: Sequence[int] = ()
) -> Extracted:
    """The set bits of each word, lowest first, one a cycle; an empty word gives its end alone.

    offered: the cycle from which each word is offered (all from cycle 0, if not given). end_ready: the port in each
    cycle; high after the last one given. Golden function of :class:`onespike.hw.engine.extract.SetBitExtractor`.
    """
    events: list[Event] = []
    cycles: list[int] = []
    waiting = 0
    left_first = left_second = left = -1  # cycles at whose end the last chunk so far left each stage
    for index, (word, last, meta) in enumerate(words):
        assert 0 <= word < 1 << word_bits, f"word {index} must have {word_bits} bits, not {word:#x}"
        assert word or last, f"word {index} is empty but does not end a job"
        taken = max(offered[index] if offered is not None else 0, left_first)
        left_first = taken
        chunks = [[place for place in range(at, at + CHUNK) if word >> place & 1] for at in range(0, word_bits, CHUNK)]
        found: list[list[int | None]] = [[*places] for places in chunks if places]
        for chunk in found or [[None]]:
            left_first = max(left_first + 1, left_second)
            left_second = max(left_first + 1, left)
            left = left_second
            for place in chunk:
                left += 1
                end = bool(last) and word >> ((place or 0) + 1) == 0
                while end and left < len(end_ready) and not end_ready[left]:
                    left += 1
                    waiting += 1
                events.append(Event(place, meta, end))
                cycles.append(left)
    return Extracted(events, cycles, waiting)
