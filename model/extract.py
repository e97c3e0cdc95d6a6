# SPDX-License-Identifier: Apache-2.0
"""Set-bit extraction: from spike words to one-hot events, and the cycle in which each leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Word(NamedTuple):
    """A spike word; `last` marks the last word of a job, `meta` travels along."""

    word: int
    last: bool
    meta: Any


class Event(NamedTuple):
    """One spike, one-hot (0: none, the job ends without one); `end` if it ends a job."""

    bit: int
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
    cycle; high after the last one given. Golden function of :class:`onespike.hw.extract.SetBitExtractor`.
    """
    events: list[Event] = []
    cycles: list[int] = []
    waiting = 0
    taken = second = -1  # cycles at whose end the word before was taken, left the first stage,
    loaded = left = -1  # left the second stage, gave its last event
    for index, (word, last, meta) in enumerate(words):
        assert 0 <= word < 1 << word_bits, f"word {index} must have {word_bits} bits, not {word:#x}"
        assert word or last, f"word {index} is empty but does not end a job"
        taken = max(offered[index] if offered is not None else 0, taken + 1, second)
        second = max(taken + 1, loaded)
        loaded = max(second + 1, left)
        left = loaded
        bits = [1 << place for place in range(word_bits) if word >> place & 1] or [0]
        for bit in bits:
            left += 1
            end = bool(last) and bit == bits[-1]
            while end and left < len(end_ready) and not end_ready[left]:
                left += 1
                waiting += 1
            events.append(Event(bit, meta, end))
            cycles.append(left)
    return Extracted(events, cycles, waiting)
