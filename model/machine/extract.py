# SPDX-License-Identifier: Apache-2.0
"""Event extraction: from spike words to events, and the cycle in which each leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..network.codes import CHUNK, Term, chunk_digit, most_terms, terms

ONE = Term(1, 0, False)


class Word(NamedTuple):
    """A spike word; `last` marks the last word of a job, `meta` travels along.

    digits: its chunks are digits, else every bit is an event; pairs: two of them are a value, with a carry; twos:
    values are in two's complement; table: the terms of each digit, if they are not its own; upper: of two chunks the
    upper one has digits of its own there, from 16 on; mask: which chunks have a weight row, where there are masks; own:
    each digit is for lanes of its own. width: bits of a value, in engines that multiply.
    """

    word: int
    last: bool
    meta: Any
    digits: bool = False
    pairs: bool = False
    twos: bool = False
    table: tuple[tuple[Term, ...], ...] | None = None
    upper: bool = False
    mask: int | None = None
    own: bool = False
    width: int = 0


class Event(NamedTuple):
    """What one event adds, and its place in the word (None: the job ends without one); `end` if it ends a job.

    row: of the weights, in the same units as place, which it is without masks. fresh: it is its word's first. own: of a
    word whose digits are for lanes of their own: the term of each, if it has so many; `term` is then that of none.
    """

    place: int | None
    term: Term | None
    meta: Any
    end: bool
    row: int | None = None
    fresh: bool = True
    own: tuple[Term | None, ...] = ()


class Extracted(NamedTuple):
    """Events in order, the cycle in which each leaves, and the cycles in which ending events waited."""

    events: list[Event]
    cycles: list[int]
    waiting: int


def chunk_events(word: Word, chunk: int, multiples: tuple[int, ...]) -> list[tuple[int, Term]]:
    """Place and term of every event of one chunk of a word."""
    at = CHUNK * chunk
    if word.table is not None:
        digit = word.word >> at & 15
        found = word.table[digit + (1 << CHUNK) * (word.upper and chunk % 2)]
        assert bool(found) == (digit > 0), f"a table must have terms for every digit but 0, not {found} for {digit}"
        assert len(found) <= most_terms(multiples), f"{found} are more terms than a chunk may have"
        return [(at, term) for term in found]
    if word.digits:
        return [(at, term) for term in terms(chunk_digit(word.word, chunk, word.pairs, word.twos), multiples)]
    return [(place, ONE) for place in range(at, at + CHUNK) if word.word >> place & 1]


def own_events(word: Word, chunks: int, multiples: tuple[int, ...]) -> list[tuple[Term | None, ...]]:
    """The terms of each digit of a word whose digits are for lanes of their own, event by event."""
    assert word.digits and not (word.pairs or word.twos or word.table), "lanes of their own take digits of counts"
    found = [terms(word.word >> CHUNK * i & 15, multiples) for i in range(chunks)]
    return [tuple(t[i] if i < len(t) else None for t in found) for i in range(max(map(len, found)))]


def weight_place(word: Word, place: int) -> int:
    """Where the weight row of a place of the word lies: with a mask, chunks without a row take no room."""
    if word.mask is None:
        return place
    return (word.mask & (1 << place // CHUNK) - 1).bit_count() * CHUNK + place % CHUNK


def extract(
    words: Sequence[Word],
    *,
    word_bits: int,
    multiples: tuple[int, ...],
    offered: Sequence[int] | None = None,
    end_ready: Sequence[int] = (),
) -> Extracted:
    """The events of each word, lowest chunk first, one a cycle; an empty word gives its end alone.

    offered: the cycle from which each word is offered (all from cycle 0, if not given). end_ready: the port in each
    cycle; high after the last one given. Golden function of :class:`onespike.hw.engine.extract.EventExtractor`.
    """
    number_of_chunks = word_bits // CHUNK
    found: list[list[list[Any]]] = []
    for number, word in enumerate(words):
        assert 0 <= word.word < 1 << word_bits, f"word {number} must have {word_bits} bits, not {word.word:#x}"
        assert word.word or word.last, f"word {number} is empty but does not end a job"
        assert word.digits or not (word.pairs or word.twos), f"word {number} has pairs or signs, but no digits"
        assert word.table is None or (word.digits and not (word.pairs or word.twos)), (
            f"word {number} has a table, and pairs or signs"
        )
        if word.own:
            found.append([[(0, own) for own in own_events(word, number_of_chunks, multiples)]])
        else:
            found.append([chunk_events(word, chunk, multiples) for chunk in range(number_of_chunks)])
    return leave(words, found, offered, end_ready)


def leave(
    words: Sequence[Word], found: Sequence[list[list[Any]]], offered: Sequence[int] | None, end_ready: Sequence[int]
) -> Extracted:
    """The events of each word's chunks, as they leave one after the other; other arguments as of `extract`."""
    events: list[Event] = []
    cycles: list[int] = []
    waiting = 0
    left_first = left_second = left = -1  # cycles at whose end the last chunk so far left each stage
    for number, (word, chunks) in enumerate(zip(words, found, strict=True)):
        taken = max(offered[number] if offered is not None else 0, left_first)
        left_first = taken
        empty: list[list[Any]] = [[(None, None)]]
        some = [chunk for chunk in chunks if chunk] or empty
        for chunk in some:
            left_first = max(left_first + 1, left_second)
            left_second = max(left_first + 1, left)
            left = left_second
            for count, (place, term) in enumerate(chunk):
                left += 1
                end = bool(word.last) and chunk is some[-1] and count == len(chunk) - 1
                while end and left < len(end_ready) and not end_ready[left]:
                    left += 1
                    waiting += 1
                row = None if place is None else weight_place(word, place)
                own = term if word.own and place is not None else ()
                fresh = chunk is some[0] and count == 0
                events.append(Event(place, None if word.own else term, word.meta, end, row, fresh, own))
                cycles.append(left)
    return Extracted(events, cycles, waiting)
