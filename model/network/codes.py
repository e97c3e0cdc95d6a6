# SPDX-License-Identifier: Apache-2.0
"""How a value becomes spikes, and spikes events: every event adds plus or minus an odd multiple of a power of two.

| code   | field of one value                            | its events                                              |
|--------|-----------------------------------------------|---------------------------------------------------------|
| radix  | the value in binary                           | each chunk of four bits is a digit 0..15: its terms     |
| radix  | ... of one or two bits                        | bit p is worth 2**p                                     |
| signed | an 8-bit value in binary                      | two digits, -8..7 and, times 16, 0..16: their terms     |
| twos   | -8..7 or -128..127 in two's complement        | one digit, or two, each -8..8: their terms              |
| levels | the number of a level of a table, modulo 16   | a digit of its own: the terms of the level              |
| levels | ... 8 bits for 17 to 31 of them, from 0 on    | the first 15 in the lower chunk, the others in the upper |
| unary  | as many ones as the value (thermometer)       | every bit is worth 1                                    |
| psg    | g bits, evenly spread (OneSpike, eq. 11)      | every bit is worth 1                                    |

The terms of a digit are as few of an engine's multiples of powers of two as add up to it: with the multiples 1, 3 and 5
every digit has one or two. 255 = 256 - 1 are two signed digits, of one term each. Levels (`levels.py`) are numbered
around the level 0, whose field is 0; up to 31 of them, each with no more terms than a digit, shifted by up to 7. Of two
chunks one is 0, so that no level is more than a digit.

A field is as wide as the next power of two, so that a bit position splits into (channel, bit) by wiring alone.

Engines that multiply (`PRODUCTS`) take a field of 4 bits, or each byte of a wider one, as one term: the number that it
holds. Those that skip no zeros take the number 0, too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import OneSpikeError

CODES = ("radix", "signed", "twos", "levels", "unary", "psg")
DIGIT_CODES = CODES[:3]  # that an image may have
CHUNK_CODES = CODES[:4]  # whose chunks of four bits have terms
MULTIPLES = ((1,), (1, 3), (1, 3, 5))  # what an engine may have
PRODUCTS = {  # in their place, what a lane multiplies by where it has a multiplier for numbers of so many bits
    ("zero-skip", 4): tuple(range(1, 16)),
    ("zero-skip", 8): tuple(range(1, 256)),
    ("dense", 4): tuple(range(16)),
    ("dense", 8): tuple(range(256)),
}
CHUNK = 4  # bits of a spike word that are taken apart at once
LARGEST_DIGIT = 16
MAX_FIELD = 32
LEVEL_SHIFTS = 8  # a level's terms are shifted by less
MOST_NUMBERS = 2 * (1 << CHUNK) - 1  # levels of a field of two chunks


class Term(NamedTuple):
    """One event's worth: (-1)**negative * multiple << shift."""

    multiple: int
    shift: int
    negative: bool

    @property
    def worth(self) -> int:
        return -(self.multiple << self.shift) if self.negative else self.multiple << self.shift


def _price(chosen: tuple[Term, ...]) -> tuple[int, list[int]]:
    """Additions beyond those of the events, then shifts from the largest down."""
    return sum(term.multiple > 1 for term in chosen), sorted((term.shift for term in chosen), reverse=True)


def multiplies(multiples: tuple[int, ...]) -> bool:
    """Whether lanes multiply by a whole number, see PRODUCTS."""
    return multiples not in MULTIPLES


def piece_bits(multiples: tuple[int, ...]) -> int:
    """Bits of a field that one digit stands for, at most."""
    return multiples[-1].bit_length() if multiplies(multiples) else CHUNK


def factors(multiples: tuple[int, ...]) -> tuple[int, ...]:
    """All multiples that a lane makes, in the order of their numbers: its adder can double a weight, too."""
    if multiplies(multiples):
        return tuple(range(multiples[-1] + 1))
    return (*multiples, 2) if len(multiples) > 1 else multiples


@functools.cache
def terms(digit: int, multiples: tuple[int, ...]) -> tuple[Term, ...]:
    """The fewest terms that add up to a digit -8..16; of those with the fewest additions, then with small shifts.

    A multiple other than 1 takes an addition of its own. No term is shifted by more than 3, so that the lanes' shifters
    stay small: 16 is twice 8. Only where there is no other multiple than 1, it is 1 << 4. A multiplier takes any digit
    as one term.
    """
    if multiplies(multiples):
        assert abs(digit) <= multiples[-1], f"a multiplier takes {-multiples[-1]}..{multiples[-1]}, not {digit}"
        return (Term(abs(digit), 0, digit < 0),) if abs(digit) >= multiples[0] else ()
    assert -8 <= digit <= LARGEST_DIGIT, f"a digit must lie in -8..{LARGEST_DIGIT}, not {digit}"
    if digit < 0:
        return tuple(term._replace(negative=not term.negative) for term in terms(-digit, multiples))
    if digit == LARGEST_DIGIT:
        return (Term(2, 3, False),) if len(multiples) > 1 else (Term(1, 4, False),)
    single = [Term(m, s, n) for n in (False, True) for s in range(4) for m in multiples if m << s < LARGEST_DIGIT]
    for number in range(4):
        found = [c for c in itertools.combinations_with_replacement(single, number) if sum(t.worth for t in c) == digit]
        if found:
            return min(found, key=_price)
    raise AssertionError("three powers of two make every digit")


@functools.cache
def level_terms(level: int, multiples: tuple[int, ...]) -> tuple[Term, ...] | None:
    """The fewest terms, no more than a digit may have, that add up to a level; None where there are none.

    Of those with the fewest terms the one with the fewest additions, then with small shifts.
    """
    if multiplies(multiples):
        fits = [s for s in range(LEVEL_SHIFTS) if level % (1 << s) == 0 and abs(level) >> s <= multiples[-1]]
        if level == 0 or not fits:
            return terms(level, multiples) if level == 0 else None
        return (Term(abs(level) >> fits[0], fits[0], level < 0),)
    single = [Term(m, s, n) for n in (False, True) for s in range(LEVEL_SHIFTS) for m in multiples]
    for number in range(most_terms(multiples) + 1):
        found = [c for c in itertools.combinations_with_replacement(single, number) if sum(t.worth for t in c) == level]
        if found:
            return min(found, key=_price)
    return None


def fields_of(levels: tuple[int, ...]) -> np.ndarray:
    """The field of every level [levels]: its number from the level 0 on, modulo 16; of more levels, in two chunks."""
    numbers = np.arange(len(levels)) - levels.index(0)
    if field_width("levels", 0, levels) == CHUNK:
        return numbers % (1 << CHUNK)
    assert levels[0] == 0 and len(levels) <= MOST_NUMBERS, f"{len(levels)} levels from {levels[0]} on fit no field"
    return np.where(numbers >> CHUNK, numbers - (1 << CHUNK) + 1 << CHUNK, numbers)


def most_terms(multiples: tuple[int, ...]) -> int:
    """Events that one chunk may take."""
    if multiplies(multiples):
        return 1
    return max(len(terms(digit, multiples)) for digit in range(-8, LARGEST_DIGIT + 1))


def field_width(code: str, top: int, levels: tuple[int, ...] = ()) -> int:
    """Bits of the field of one value 0..top, or of one of the levels: a power of two."""
    if code == "levels":
        return CHUNK if len(levels) <= 1 << CHUNK else 2 * CHUNK
    if code == "signed":
        if top > 255:
            raise OneSpikeError(f"Digits of the signed code reach 255, not {top}; use the radix code.")
        return 2 * CHUNK
    if code == "twos":
        if top > 127:
            raise OneSpikeError(f"Two's complement of 8 bits reaches 127, not {top}; use the radix code.")
        return CHUNK if top < 8 else 2 * CHUNK
    bits = top.bit_length() if code == "radix" else top
    width = 1 << (max(bits, 1) - 1).bit_length()
    if width > MAX_FIELD:
        raise OneSpikeError(
            f"The {code} code of values up to {top} needs {bits} bits a value, more than the {MAX_FIELD} of a spike "
            f"word; use the radix code or fewer groups."
        )
    return width


def takes_digits(code: str, field: int) -> bool:
    """Whether the chunks of fields of so many bits are digits; else every bit is an event of its own."""
    return code in CHUNK_CODES and field >= CHUNK


def chunk_digit(word: int, chunk: int, pairs: bool, twos: bool) -> int:
    """The digit that a chunk of a spike word stands for; pairs: two chunks are a value; twos: values have a sign.

    The lower chunk of two is a number in two's complement; the upper takes what that is short of, if it is negative.
    """
    bits = word >> CHUNK * chunk & 15
    carry = word >> (CHUNK * chunk - 1) & 1 if pairs and chunk % 2 else 0
    return bits + carry - 16 * (bits >> 3) * (twos or (pairs and chunk % 2 == 0))


def digit_of(field: int, at: int, piece: int, width: int, twos: bool) -> int:
    """What a piece of a field of `width` bits from bit `at` on stands for, in engines that multiply.

    Two's complement of several pieces: the lower ones have a sign, too, and the next takes what they are short of.
    """
    digit = field >> at & (1 << piece) - 1
    carry = field >> at - 1 & 1 if twos and at else 0
    return digit + carry - (digit >> piece - 1 << piece) * twos


def encode(values: np.ndarray, code: str, top: int, levels: tuple[int, ...] = ()) -> np.ndarray:
    """Fields uint32, same shape as `values`, of counts 0..top; of the twos code, -top - 1..top; of the levels."""
    values = np.asarray(values)
    if code == "levels":
        numbers = np.searchsorted(levels, values).clip(max=len(levels) - 1)
        assert np.array_equal(np.array(levels)[numbers], values), "a value is no level of its code"
        return fields_of(levels)[numbers].astype(np.uint32)
    low = -top - 1 if code == "twos" else 0
    assert values.size == 0 or (values.min() >= low and values.max() <= top), "a value lies outside its code"
    if code == "twos":
        return (values.astype(np.int64) & (1 << field_width(code, top)) - 1).astype(np.uint32)
    if code in ("radix", "signed"):
        return values.astype(np.uint32)
    index = np.arange(1, top + 1, dtype=np.int64)
    counts = np.arange(top + 1, dtype=np.int64)[:, None]
    spikes = index <= counts if code == "unary" else index * counts // top > (index - 1) * counts // top
    table = (spikes.astype(np.uint64) << (index - 1).astype(np.uint64)).sum(1)
    return table.astype(np.uint32)[values]


def events(
    field: int, code: str, width: int, multiples: tuple[int, ...], levels: tuple[int, ...] = ()
) -> list[Term]:
    """The events of one field of `width` bits, in the engine's order."""
    if code == "levels":
        return list(level_terms(int(decode(np.array(field), code, width, levels)), multiples) or ())
    if multiplies(multiples):
        piece = min(width, piece_bits(multiples))
        found = (digit_of(field, at, piece, width, code == "twos") for at in range(0, width, piece))
        return [t._replace(shift=piece * i) for i, digit in enumerate(found) for t in terms(digit, multiples)]
    if takes_digits(code, width):
        pairs, twos = code == "signed" or (code == "twos" and width > CHUNK), code == "twos"
        digits = enumerate(chunk_digit(field, chunk, pairs, twos) for chunk in range(width // CHUNK))
        return [t._replace(shift=t.shift + CHUNK * chunk) for chunk, digit in digits for t in terms(digit, multiples)]
    places = [place for place in range(width) if field >> place & 1]
    return [Term(1, place if code == "radix" else 0, False) for place in places]


def decode(fields: np.ndarray, code: str, width: int = 2 * CHUNK, levels: tuple[int, ...] = ()) -> np.ndarray:
    """The values int64 that fields stand for; width: bits of a field of the twos code."""
    fields = np.asarray(fields).astype(np.int64)
    if code == "levels":
        known = np.zeros(1 << field_width(code, 0, levels), np.int64)
        known[fields_of(levels)] = levels
        return known[fields]
    if code == "twos":
        return fields - (fields >> (width - 1) << width)
    return fields if code in ("radix", "signed") else np.bitwise_count(fields).astype(np.int64)


@functools.cache
def _table(code: str, top: int, multiples: tuple[int, ...], levels: tuple[int, ...]) -> np.ndarray:
    """Events, adder operations and the largest shift [3, values] of every value, from the least on.

    That is -top - 1 of the twos code, 0 of others; of the levels code the columns are the levels.
    """
    if code == "levels":
        return _cost([level_terms(level, multiples) or () for level in levels], 0, odd=not multiplies(multiples))
    width, values = field_width(code, top), np.arange(-top - 1 if code == "twos" else 0, top + 1)
    if multiplies(multiples):
        return _cost([events(int(value) & (1 << width) - 1, code, width, multiples) for value in values], 0, odd=False)
    if not takes_digits(code, width):
        ones = np.bitwise_count(values)
        return np.array([ones, ones, [max(0, int(v).bit_length() - 1) for v in values]])
    cost = _cost([terms(digit, multiples) for digit in range(-8, LARGEST_DIGIT + 1)], -CHUNK)
    found = np.zeros((3, len(values)), int)
    last = width // CHUNK - 1
    for chunk in range(last + 1):
        digits = values >> CHUNK * chunk & 15
        if code != "radix":
            carry = (values >> 3 & 1) if chunk else 0
            digits = digits + carry - 16 * (digits >> 3) * (chunk < last or code == "twos")
        count, added, shift = cost[:, digits + 8]
        found = np.array([found[0] + count, found[1] + added, np.maximum(found[2], shift + CHUNK * chunk)])
    return found


def _cost(made: Sequence[Sequence[Term]], unshifted: int, *, odd: bool = True) -> np.ndarray:
    """Terms, additions and largest shift (`unshifted` of no terms) [3, values] of the terms of some values.

    odd: a multiple is an addition, too; else a multiplier's.
    """
    return np.array(
        [
            [len(t), sum(1 + (x.multiple > 1 and odd) for x in t), max((x.shift for x in t), default=unshifted)]
            for t in made
        ]
    ).T


def spikes(
    values: np.ndarray, code: str, top: int, multiples: tuple[int, ...], levels: tuple[int, ...] = ()
) -> np.ndarray:
    """Number of events of each value: of cycles that it takes in a bank, for every block of output channels."""
    return _looked_up(values, code, top, multiples, levels, 0)


def additions(
    values: np.ndarray, code: str, top: int, multiples: tuple[int, ...], levels: tuple[int, ...] = ()
) -> np.ndarray:
    """Adder operations per fan-out of each value: one for an event, another one to make a multiple of 3 or 5."""
    return _looked_up(values, code, top, multiples, levels, 1)


def _looked_up(
    values: np.ndarray, code: str, top: int, multiples: tuple[int, ...], levels: tuple[int, ...], row: int
) -> np.ndarray:
    values = np.asarray(values)
    if code in ("unary", "psg"):
        return values
    table = _table(code, top, multiples, levels)[row]
    if code == "levels":
        return table[np.searchsorted(levels, values)]
    return table[values.astype(int) + (top + 1 if code == "twos" else 0)]


def largest_shift(code: str, top: int, multiples: tuple[int, ...], levels: tuple[int, ...] = ()) -> int:
    """The largest shift of an event of values 0..top."""
    return 0 if code in ("unary", "psg") else int(_table(code, top, multiples, levels)[2].max())
