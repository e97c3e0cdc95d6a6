# SPDX-License-Identifier: Apache-2.0
"""The events of every chunk of four bits of a tensor's spike words, by the engine that reads them."""

from __future__ import annotations

import numpy as np

from ...hw.config import EngineConfig
from ..mapping.layout import TensorLayout
from ..mapping.tables import field_terms
from ..network.codes import CHUNK, piece_bits, takes_digits, terms


def chunk_events(words: np.ndarray, tensor: TensorLayout, config: EngineConfig) -> np.ndarray:
    """Events of every chunk of spike words, int8 [.., chunks]; words [.., words of a pixel]."""
    if config.multiplies:
        return _pieces(words, tensor, config)
    digits = takes_digits(tensor.code, tensor.field)
    of_digit = np.array([len(terms(digit, config.worths)) for digit in range(-8, 17)], np.int8)
    # Of a table: by the place of the chunk in its field, and by digit.
    found = [len(t) for t in field_terms(tensor.levels, config.worths)] if tensor.levels else []
    of_field = np.array(found, np.int8).reshape(-1, 1 << CHUNK)
    chunks = []
    for at in range(0, config.word_bits, CHUNK):
        here = (words >> np.uint64(at) & np.uint64((1 << CHUNK) - 1)).astype(np.int64)
        if not digits:
            chunks.append(np.bitwise_count(here).astype(np.int8))
            continue
        if tensor.code == "levels":
            chunks.append(of_field[at // CHUNK % len(of_field)][here])
            continue
        if tensor.code != "radix":
            place = at % tensor.field
            negative = here >> 3 if tensor.code == "twos" or place == 0 else 0
            here += (words >> np.uint64(at - 1) & np.uint64(1)).astype(np.int64) if place else 0
            here -= 16 * negative
        chunks.append(of_digit[here + 8])
    return np.stack(chunks, -1)


def _pieces(words: np.ndarray, tensor: TensorLayout, config: EngineConfig) -> np.ndarray:
    """The same where lanes multiply: whether a value, or a piece of it, begins with a chunk, and is an event."""
    piece = min(tensor.field, piece_bits(config.worths))
    at = np.arange(0, config.word_bits, CHUNK)
    begins = at % piece == 0
    if config.arithmetic == "dense":
        found = np.broadcast_to(begins, (*words.shape, len(at))).copy()
        if config.counts_values:
            found[..., -1, tensor.tail(config.word_bits) :] = False
        return found.astype(np.int8)
    digits = (words[..., None] >> at.astype(np.uint64)).astype(np.int64) & (1 << piece) - 1
    if tensor.code == "twos" and piece < tensor.field:
        below = np.where(at % tensor.field, at - 1, config.word_bits)  # 0 beyond the word
        carry = np.where(below < config.word_bits, words[..., None] >> (below % 64).astype(np.uint64) & np.uint64(1), 0)
        digits = digits + carry.astype(np.int64) & (1 << piece) - 1
    return (begins & (digits != 0)).astype(np.int8)
