# SPDX-License-Identifier: Apache-2.0
"""Value extraction, in engines that multiply: from spike words to values, and the cycle in which each leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..network.codes import CHUNK, Term, digit_of, piece_bits, terms
from .extract import Extracted, Word, leave, own_events


def value_event(word: Word, chunk: int, multiples: tuple[int, ...]) -> list[tuple[int, Term]]:
    """Place and term of what begins with a chunk of a word: a value, or a piece of a wider one; none where it is
    skipped, or the upper half of a byte that is taken as one."""
    piece, at = min(piece_bits(multiples), word.width), CHUNK * chunk
    dense = multiples[0] == 0
    if at % piece or (dense and not (word.mask or 0) >> chunk & 1):
        return []
    if word.table is not None:
        digit = word.word >> at & 15
        assert bool(word.table[digit]) == (digit > 0), f"a table must have a term for every digit but 0: {digit}"
        return [(at, term) for term in word.table[digit] or terms(0, multiples)]
    begin = at - at % word.width
    field = word.word >> begin & (1 << word.width) - 1
    return [(at, term) for term in terms(digit_of(field, at - begin, piece, word.width, word.twos), multiples)]


def values(
    words: Sequence[Word],
    *,
    word_bits: int,
    multiples: tuple[int, ...],
    offered: Sequence[int] | None = None,
    end_ready: Sequence[int] = (),
) -> Extracted:
    """The values of each word as events, lowest chunk first, one a cycle; a word without any gives its end alone.

    multiples: `onespike.model.network.codes.PRODUCTS` of the engine: with 0, values of 0 are events, too, and a word's
    mask says which of its chunks hold values. offered, end_ready: as of `onespike.model.machine.extract.extract`.
    Golden function of :class:`onespike.hw.engine.values.ValueExtractor`.
    """
    found: list[list[list[Any]]] = []
    dense = multiples[0] == 0
    for number, word in enumerate(words):
        assert 0 <= word.word < 1 << word_bits, f"word {number} must have {word_bits} bits, not {word.word:#x}"
        assert word.last or (word.mask if dense else word.word), f"word {number} is empty but does not end a job"
        assert word.width >= CHUNK, f"values have {CHUNK} bits or more, not the {word.width} of word {number}"
        assert not dense or word.mask is not None, f"word {number} does not say which of its chunks hold values"
        assert word.table is None or not word.twos, f"word {number} has a table, and signs"
        if word.own:
            some = word.mask if dense else word.word
            found.append([[(0, own) for own in own_events(word, word_bits // CHUNK, multiples)]] if some else [])
        else:
            found.append([value_event(word, chunk, multiples) for chunk in range(word_bits // CHUNK)])
    return leave(words, found, offered, end_ready)
