# SPDX-License-Identifier: Apache-2.0
"""The most cycles that a layer can take, whatever the image: what a watchdog must allow."""

from __future__ import annotations

import numpy as np

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from ..mapping.layout import TensorLayout
from ..mapping.mapping import Mapping
from ..mapping.tables import field_terms
from ..network.codes import CHUNK, most_terms, takes_digits
from .chunks import chunk_events
from .cycles import predict_events
from .useful import value_events


def most_events(tensor: TensorLayout, config: EngineConfig) -> int:
    """Events that a chunk of four bits can have."""
    if config.multiplies:
        return 1
    if tensor.code == "levels":
        return max(len(found) for found in field_terms(tensor.levels, config.worths))
    return most_terms(config.worths) if takes_digits(tensor.code, tensor.field) else CHUNK


def most_cycles(mapping: Mapping) -> list[int]:
    """For every layer of the mapping, cycles that no image exceeds: every chunk that holds a channel has all events
    that it can have. Times are maxima and sums of the times before them, so more events never end a layer earlier."""
    config = mapping.config
    chunks, values = {}, {}
    for name, tensor in mapping.tensors.items():
        bits = CHUNK if tensor.code == "levels" else tensor.field  # one chunk of a level is 0, whichever
        full = np.full(tensor.shape, (1 << bits) - 1, np.uint64)
        words = tensor.pack(full, config.word_bits)
        words = words.reshape(len(tensor.slices), tensor.height, tensor.width, tensor.words)
        if config.arithmetic == "dense":
            chunks[name] = chunk_events(words, tensor, config)
        else:
            places = np.arange(0, config.word_bits, CHUNK, dtype=np.uint64)
            held = (words[..., None] >> places & np.uint64((1 << CHUNK) - 1)) != 0
            chunks[name] = (held * most_events(tensor, config)).astype(np.int8)
        values[name] = value_events(words, chunks[name], tensor, config)
    return [layer.cycles for layer in predict_events(mapping, chunks, values)]


def check_watchdog(mapping: Mapping) -> None:
    """OneSpikeError where the engine's watchdog could end an image whose layer is only long."""
    watchdog = mapping.config.watchdog
    if not watchdog:
        return
    cycles = most_cycles(mapping)
    longest = int(np.argmax(cycles))
    if cycles[longest] > watchdog:
        raise OneSpikeError(
            f"The layer {mapping.layers[longest].name!r} can take {cycles[longest]:,} cycles, but the engine's "
            f"watchdog ends it after {watchdog:,}; build the engine with watchdog = {cycles[longest]} or more, or 0."
        )
