# SPDX-License-Identifier: Apache-2.0
"""The layer program: what the mapper writes and the sequencer reads. One definition serves both.

Program memory holds 32-bit words: one header record, then one record per layer (the layer's fields, then those of
`segments` sources). Records are packed little-endian, fields in the order given here, padded to whole words.
Fields marked "- 1" hold one less than what they count. Engines that stream their weights have some fields more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.lib import data

from ..model.errors import OneSpikeError

WORD = 32
MAX_LAYERS = 256

HEADER = {
    "layers": 8,  # - 1
    "image_slices": 6,  # - 1
    "image_signed": 2,  # pixels become signed digits: 1: the stream carries them as bytes, 2: as half bytes
    "image_double": 1,  # two image buffers: the next image loads while this one is computed
    "image_words": 20,  # words per slice - 1
    "image_base": 20,
    "image_stride": 20,  # distance of the second buffer
    "classes": 16,  # - 1
}

LAYER = {
    "final": 1,  # does not fire: its accumulators are the logits
    "pool_sum": 1,  # sum over the window instead of maximum
    "segments": 4,  # - 1
    "slices": 6,  # banks that share one job - 1 (a power of two)
    "blocks": 12,  # output blocks of L channels - 1
    "block_period": 6,  # blocks per step of the local block - 1 (the banks' weight memories split the blocks)
    "groups": 16,  # g
    "rows": 12,  # of the pooled map - 1
    "columns": 12,
    "pixels": 24,  # rows x columns - 1
    "window_rows": 10,  # - 1
    "window_columns": 10,
    "window": 16,  # window_rows x window_columns - 1
    "channel_base": 16,  # first row of biases and shifts
    "dest_base": 20,
    "dest_words": 12,  # spike words per pixel and slice
    "dest_field": 3,  # log2 of the field width
    "dest_slices": 6,  # - 1
    "dest_slice_groups": 12,  # groups of F channels per slice - 1
    "dest_word_groups": 6,  # groups of F channels per word - 1
    "dest_group_words": 6,  # words per group of F channels - 1: the drain takes as many cycles for each group
}

STREAMED_HEADER = {
    "first_beats": 32,  # of the weights in external memory that are read first, from beat 0
    "beats": 32,  # that are read after these, again and again
    "restart": 32,  # where they begin
}

STREAMED_LAYER = {
    "more": 1,  # the next record computes further channels of this layer
    "first_slice": 6,  # where a pixel's first channel goes
    "first_slice_groups": 12,  # groups of F channels from there to the end of that slice - 1
    "first_word": 12,  # spike word of that slice
}

SEGMENT = {
    "image": 1,  # the source is the image: add the buffer in use
    "field": 3,  # log2 of the field width
    "code": 2,  # DIGITS_*
    "shift": 4,  # added to the shift of every spike
    "base": 20,
    "row_base": 16,  # first entry in the row table
    "column_base": 16,
    "row_stride": 20,  # spike words between tap rows
    "weight_row_stride": 20,  # weight rows between tap rows
    "weight_base": 20,
    "block_stride": 20,  # weight rows of one local block
}

DIGITS_RADIX, DIGITS_UNARY, DIGITS_SIGNED, DIGITS_SIGNED4 = range(4)


def record_words(*parts: Mapping[str, int]) -> int:
    return -(-sum(sum(part.values()) for part in parts) // WORD)


def header_fields(streamed: bool = False) -> dict[str, int]:
    return HEADER | STREAMED_HEADER if streamed else HEADER


def layer_fields(streamed: bool = False) -> dict[str, int]:
    return LAYER | STREAMED_LAYER if streamed else LAYER


def header_words(streamed: bool = False) -> int:
    return record_words(header_fields(streamed))


def layer_words(segments: int, streamed: bool = False) -> int:
    return record_words(layer_fields(streamed), *[SEGMENT] * segments)


def ends_image(layer: Any, streamed: bool) -> Any:
    """Whether an image ends with this record: with the last layer, or its last part."""
    return layer.final & ~layer.more if streamed else layer.final


def layout(fields: Mapping[str, int]) -> data.StructLayout:
    return data.StructLayout({name: int(width) for name, width in fields.items()})


def layer_layout(segments: int, streamed: bool = False) -> data.StructLayout:
    layer = layout(layer_fields(streamed))
    return data.StructLayout({"layer": layer, "segment": data.ArrayLayout(layout(SEGMENT), segments)})


def pack(parts: Sequence[tuple[Mapping[str, int], Mapping[str, int]]]) -> list[int]:
    """32-bit words of one record from (fields, values) parts."""
    value, position = 0, 0
    for fields, values in parts:
        assert set(values) == set(fields), f"fields differ: {set(values) ^ set(fields)}"
        for name, width in fields.items():
            if not 0 <= values[name] < 1 << width:
                raise OneSpikeError(
                    f"The layer program has {width} bits for {name!r}, too few for {values[name]}; pool or split the "
                    f"network's largest maps, or use more slices."
                )
            value |= int(values[name]) << position
            position += width
    return [value >> at & 0xFFFFFFFF for at in range(0, position, WORD)]


def unpack(parts: Sequence[Mapping[str, int]], words: Sequence[int]) -> list[dict[str, int]]:
    """The values of the fields of one record, part by part."""
    value = sum(word << (WORD * index) for index, word in enumerate(words))
    values = []
    for fields in parts:
        entry = {}
        for name, width in fields.items():
            entry[name] = value & ((1 << width) - 1)
            value >>= width
        values.append(entry)
    return values
