# SPDX-License-Identifier: Apache-2.0
"""Fetch: which spike words a command names, and which of them are worth an event."""

from collections.abc import Sequence
from typing import NamedTuple

from ...hw.config import EngineConfig
from ...hw.program import DIGITS_LEVELS, DIGITS_RADIX, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_UNARY, segment_fields
from ..network.codes import CHUNK, Term
from .extract import Word


class Command(NamedTuple):
    """One source's part of a job: `rows` + 1 runs of `run` + 1 consecutive spike words; `last` ends the job."""

    address: int
    weight: int
    run: int
    rows: int
    segment: int
    last: bool


class Stride(NamedTuple):
    """What a source's commands have in common; fields of 2**field bits, read as `code` (DIGITS_*), times 2**shift.

    table: whose terms the fields of the levels code stand for. Of engines with masks: span + 1 words of a pixel are
    read, then the address goes on by tap_step; own: each lane takes the value of its own channel. tail: of engines that
    take every value, without masks, tail + 1 chunks of the last of a pixel's span + 1 words hold some.
    """

    row_stride: int
    weight_row_stride: int
    field: int
    code: int
    shift: int = 0
    table: int = 0
    span: int = 0
    tap_step: int = 1
    own: int = 0
    tail: int = 0

    def fields(self, config: EngineConfig) -> dict[str, int]:
        """What the engine's record has of them."""
        return {name: value for name, value in self._asdict().items() if name in segment_fields(config)}


Terms = Sequence[tuple[tuple[Term, ...], ...]]  # of every table: the terms of its 16 fields


class Mask(NamedTuple):
    """Which chunks of a spike word have a weight row, one bit each, and the first of these rows."""

    mask: int
    weight: int


class Meta(NamedTuple):
    """The weight row of a word's first channel, and the source that says how to read its bits."""

    weight: int
    segment: int


def fetch(
    config: EngineConfig,
    command: Command,
    strides: Sequence[Stride],
    memory: Sequence[int],
    tables: Terms = (),
    masks: Sequence[Mask] = (),
) -> list[Word | None]:
    """The words of one command, one entry per cycle of the walk; None where an empty word is dropped.

    memory: the bank's spike words; tables: the terms of each table; masks: the bank's rows of masks, where it has
    some: weight then counts these, one for each word. Golden function of
    :class:`onespike.hw.engine.fetch.Fetch`.
    """
    assert command.run >= 0 and command.rows in range(256), f"a walk of no or too many words: {command}"
    row_stride, weight_row_stride, field, code, shift, table, span, tap_step, own, tail = strides[command.segment]
    assert 1 << field <= config.word_bits, f"fields of {1 << field} bits exceed a word of {config.word_bits}"
    digits, twos = code != DIGITS_UNARY and 1 << field >= CHUNK, code == DIGITS_TWOS
    pairs = code == DIGITS_SIGNED or (twos and 1 << field > CHUNK)
    width = 1 << field if config.multiplies else 0
    assert not config.multiplies or width >= CHUNK, f"a value to multiply by has {CHUNK} bits or more, not {width}"
    levels = tables[table] if code == DIGITS_LEVELS else None
    upper = code == DIGITS_LEVELS and 1 << field > CHUNK
    signed_fields = {DIGITS_SIGNED: (8,), DIGITS_TWOS: (4, 8), DIGITS_LEVELS: (4, 8)}.get(code, (1 << field,))
    assert 1 << field in signed_fields, f"fields of code {code} have {signed_fields} bits, not {1 << field}"
    assert not own or (code, field, shift) == (DIGITS_RADIX, 2, 0), "lanes of their own take digits of counts"
    words: list[Word | None] = []
    for row in range(command.rows + 1):
        for place in range(command.run + 1):
            address = command.address + row * row_stride + place
            weight = command.weight + row * weight_row_stride
            mask = -1
            if config.row_masks:
                tap, rest = divmod(place, span + 1)
                address = command.address + row * row_stride + tap * (span + tap_step) + rest
                assert 0 <= weight + place < config.mask_depth, f"mask {weight + place} lies outside the memory"
                bits, weight = masks[weight + place]
                mask = sum(15 << CHUNK * i for i in range(config.word_chunks) if bits >> i & 1)
            else:
                weight += place * (config.word_bits >> field)
            assert 0 <= address < config.spike_depth, f"spike word {address} lies outside the memory"
            assert 0 <= weight < config.weight_depth, f"weight row {weight} lies outside the memory"
            word = memory[address]
            assert 0 <= word < 1 << config.word_bits, f"spike word {address} must have {config.word_bits} bits"
            word &= mask
            last = bool(command.last) and row == command.rows and place == command.run
            meta = Meta(weight, command.segment)
            known = bits if config.row_masks else None
            if config.counts_values:
                known = (1 << (tail + 1 if place % (span + 1) == span else config.word_chunks)) - 1
            kept = Word(word, last, meta, digits, pairs, twos, levels, upper, known, bool(own), width)
            worth = known if config.arithmetic == "dense" else word
            words.append(kept if worth or last else None)
    return words
