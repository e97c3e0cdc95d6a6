# SPDX-License-Identifier: Apache-2.0
"""The layer program: what the mapper writes and the sequencer reads. One definition serves both.

Program memory holds 32-bit words: one header record, then one record per layer (the layer's fields, then those of
`segments` sources). Records are packed little-endian, fields in the order given here, padded to whole words.
Fields marked "- 1" hold one less than what they count. Fields are as wide as the engine's memories ask for: the records
wait in registers. Engines that stream their weights have some fields more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from .config import EngineConfig

WORD = 32
MAX_LAYERS = 4096
LAYER_BITS = 8  # of a layer's number, at least


def header_fields(config: EngineConfig) -> dict[str, int]:
    """Field -> bits of the header record."""
    fields = {
        "layers": layer_bits(config),  # - 1
        "image_slices": _bits(config.banks),  # - 1
        "image_double": 1,  # two image buffers: the next image loads while this one is computed
        "image_words": config.spike_addr_bits,  # words per slice - 1
        "image_base": config.spike_addr_bits,
        "image_stride": config.spike_addr_bits,  # distance of the second buffer
        "classes": _bits(config.class_depth * config.fire_lanes),  # outputs of the last layer - 1
    }
    if config.maps:
        fields |= {"channels": _bits(config.class_depth * config.fire_lanes)}  # outputs of a place - 1
    if config.streams_weights:
        fields |= dict.fromkeys(STREAMED_HEADER, 32)
    return fields


def layer_fields(config: EngineConfig) -> dict[str, int]:
    """Field -> bits of what a layer's record says of the layer."""
    banks, spike = _bits(config.banks), config.spike_addr_bits
    logit_rows = _bits(config.class_depth + 1) if config.maps else 0
    walk, channel = config.walk_addr_bits, config.channel_addr_bits
    fields = {
        "final": 1,  # does not fire: its accumulators are the logits
        "pool_sum": 1,  # sum over the window instead of maximum
        "segments": _bits(config.segments),  # - 1
        "slices": banks,  # banks that share one job - 1 (a power of two)
        "blocks": channel,  # output blocks of L channels - 1
        "block_period": banks,  # blocks per step of the local block - 1 (the banks' weight memories split the blocks)
        "groups": config.count_bits,  # g
        "rows": walk,  # of the pooled map - 1
        "columns": walk,
        "pixels": 2 * walk,  # rows x columns - 1
        "window_rows": walk,  # - 1
        "window_columns": walk,
        "window": 2 * walk,  # window_rows x window_columns - 1
        "channel_base": channel,  # first row of biases and shifts
        "dest_base": max(spike, _bits(config.class_depth)),  # of logits: their first row of F
        "dest_words": max(spike, logit_rows),  # spike words per pixel and slice; of logits: rows of F, where `maps`
        "dest_field": 3,  # log2 of the field width
        "dest_slices": banks,  # - 1
        "dest_slice_groups": channel,  # groups of F channels per slice - 1
        "dest_word_groups": _bits(config.word_bits),  # groups of F channels per word - 1
        "dest_group_words": _bits(config.fire_lanes),  # words per group of F channels, its cycles in the drain, - 1
    }
    if config.streams_weights:
        fields |= {
            "more": 1,  # the next record computes further channels of this layer
            "first_slice": banks,  # where a pixel's first channel goes
            "first_slice_groups": channel,  # groups of F channels from there to the end of that slice - 1
            "first_word": spike,  # spike word of that slice
        }
    if config.signed_codes:
        fields |= {"low": config.count_bits}  # counts reach down to -low
    if config.tables:
        fields |= {
            "tabled": 1,  # a count is searched in a table; the code of its level is stored
            "table": _bits(config.tables),
        }
    if config.row_masks:
        fields |= {"block_run": channel}  # blocks that read the same words of a pixel - 1
    if config.depthwise:
        fields |= {
            "places": _bits(config.own_places),  # pixels of one job, side by side, - 1
            "dest_back": spike,  # spike words from a job's first pixel to its last
            "dest_second": spike,  # from the last pixel of a row's first jobs to the first one of its second jobs
        }
    return fields


def segment_fields(config: EngineConfig) -> dict[str, int]:
    """Field -> bits of what a layer's record says of one source."""
    spike, weight, walk = config.spike_addr_bits, config.row_addr_bits, config.walk_addr_bits
    fields = {
        "image": 1,  # the source is the image: add the buffer in use
        "field": 3,  # log2 of the field width
        "code": 3 if config.tables else 2,  # DIGITS_*
        "shift": 4,  # added to the shift of every spike
        "base": spike,
        "row_base": walk,  # first entry in the row table
        "column_base": walk,
        "row_stride": spike,  # spike words between tap rows
        "weight_row_stride": weight,  # weight rows between tap rows; rows of masks, where the engine has masks
        "weight_base": weight,
        "block_stride": weight,  # weight rows (or rows of masks) of one local block
    }
    if config.tables:
        fields |= {"table": _bits(config.tables)}  # of the levels code: whose terms its fields are
    if config.row_masks:
        fields |= {
            "span": spike,  # words of a pixel that a job reads - 1
            "tap_step": spike,  # from the last of them to the first one of the next pixel
            "block_words": spike,  # words that the next blocks' words begin later in the pixel
        }
    if config.depthwise:
        fields |= {"own": 1}  # each lane takes the value of its own channel
    if config.counts_values:
        fields |= {
            "span": spike,  # words of a pixel - 1
            "tail": _bits(config.word_chunks),  # chunks of four bits of the last of them that hold values - 1
        }
    return fields


STREAMED_HEADER = (
    "first_beats",  # of the weights in external memory that are read first, from beat 0
    "beats",  # that are read after these, again and again
    "restart",  # where they begin
)

DIGITS_RADIX, DIGITS_UNARY, DIGITS_SIGNED, DIGITS_TWOS, DIGITS_LEVELS = range(5)
DIGITS_OF_CODE = {
    "radix": DIGITS_RADIX, "signed": DIGITS_SIGNED, "twos": DIGITS_TWOS, "unary": DIGITS_UNARY, "psg": DIGITS_UNARY,
    "levels": DIGITS_LEVELS,  # only of engines with tables
}  # fmt: skip


def count_shape(config: EngineConfig) -> Shape:
    """Of a fired count, before a table."""
    return signed(config.count_bits + 1) if config.signed_values else unsigned(config.count_bits)


def value_shape(config: EngineConfig) -> Shape:
    """Of what is pooled and stored; a field takes its low bits."""
    return signed(config.code_bits + 1) if config.signed_values else unsigned(config.code_bits)


def header_words(config: EngineConfig) -> int:
    """Program words of the header."""
    return _words(header_fields(config))


def layer_words(config: EngineConfig) -> int:
    """Program words of a layer's record."""
    return _words(layer_fields(config), *[segment_fields(config)] * config.segments)


def program_words(config: EngineConfig, layers: int) -> int:
    """Program words of a network of so many records, in a memory that holds them."""
    records = layers * layer_words(config)
    return header_words(dataclasses.replace(config, program_depth=max(config.program_depth, records))) + records


def layer_bits(config: EngineConfig) -> int:
    """Bits of the number of a record, as many as the program memory may hold."""
    records = min(config.program_depth // layer_words(config), MAX_LAYERS)
    return max(LAYER_BITS, _bits(records))


def layer_depth(config: EngineConfig) -> int:
    """Records that the program memory holds, as a power of two."""
    records = (config.program_depth - header_words(config)) // layer_words(config)
    return 1 << (min(max(1, records), MAX_LAYERS) - 1).bit_length()


def ends_image(layer: Any, streamed: bool) -> Any:
    """Whether an image ends with this record: with the last layer, or its last part."""
    return layer.final & ~layer.more if streamed else layer.final


def layout(fields: Mapping[str, int]) -> data.StructLayout:
    """The fields of a record, side by side."""
    return data.StructLayout({name: int(width) for name, width in fields.items()})


def layer_layout(config: EngineConfig) -> data.StructLayout:
    """A layer's record."""
    sources = data.ArrayLayout(layout(segment_fields(config)), config.segments)
    return data.StructLayout({"layer": layout(layer_fields(config)), "segment": sources})


def _bits(number: int) -> int:
    """Bits of the values 0 .. number - 1, at least one."""
    return max(1, (number - 1).bit_length())


def _words(*parts: Mapping[str, int]) -> int:
    return -(-sum(sum(part.values()) for part in parts) // WORD)


def pack(parts: Sequence[tuple[Mapping[str, int], Mapping[str, int]]]) -> list[int]:
    """32-bit words of one record from (fields, values) parts."""
    value, position = 0, 0
    for fields, values in parts:
        assert set(values) == set(fields), f"fields differ: {set(values) ^ set(fields)}"
        for name, width in fields.items():
            assert 0 <= values[name] < 1 << width, f"{name} has {width} bits, too few for {values[name]}"
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
