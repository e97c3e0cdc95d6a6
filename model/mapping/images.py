# SPDX-License-Identifier: Apache-2.0
"""Memory images: the words that make an engine run a network, and the words that go in and come out of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...hw.config import EngineConfig
from ...hw.engine.drain import channel_layout
from ...hw.engine.fetch import mask_entry
from ...hw.engine.load import HEAD, TARGETS, target_widths
from ...hw.engine.walk import column_entry, row_entry
from ...hw.program import DIGITS_OF_CODE, STREAMED_HEADER, WORD, header_fields, layer_fields, pack, segment_fields
from ..network.spec import INPUT
from .layout import TensorLayout
from .mapping import MappedLayer, MappedSource, Mapping, column_table, row_table
from .masks import layer_rows
from .prefetch import ExternalImage, external_image
from .tables import count_range, table_rows


@dataclass(frozen=True, kw_only=True)
class MemoryImages:
    """Rows of every memory, as non-negative integers from address 0; `weights` per bank.

    Where weights are streamed, `external` holds the beats of external memory instead. `tables`, `masks` (per bank): of
    engines that have some.
    """

    program: list[int]
    rows: list[int]
    columns: list[int]
    channels: list[int]
    weights: list[list[int]]
    external: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    masks: list[list[int]] = field(default_factory=list)


def memory_images(mapping: Mapping) -> MemoryImages:
    """The contents of all memories of an engine of `mapping.config` that runs `mapping.net`."""
    config = mapping.config
    row_bases: dict[tuple, int] = {}
    column_bases: dict[tuple, int] = {}
    rows: list[int] = []
    columns: list[int] = []

    def place(table: tuple[tuple[int, int, int], ...], bases: dict, out: list[int], layout, third: str) -> int:
        if table not in bases:
            bases[table] = len(out)
            out += [layout.const({"offset": o, "weight": w, third: n}).as_value().value for o, w, n in table]
        return bases[table]

    streamed = config.streams_weights
    rows_of = partial(stored_rows if config.row_masks else weight_rows, config)
    external = external_image(config, mapping.layers, rows_of) if streamed else None
    records, fields = [_header(mapping, external)], segment_fields(config)
    for layer in mapping.layers:
        parts = [(layer_fields(config), _layer_record(mapping, layer))]
        for source in layer.sources:
            row = place(row_table(layer, source), row_bases, rows, row_entry(config), "rows")
            column = place(column_table(layer, source), column_bases, columns, column_entry(config), "run")
            parts.append((fields, _segment_record(config, source, row, column)))
        parts += [(fields, dict.fromkeys(fields, 0))] * (config.segments - len(layer.sources))
        records.append(pack(parts))
    masked = [_masked_rows(mapping, bank) for bank in range(config.banks) if config.row_masks]
    return MemoryImages(
        program=[word for record in records for word in record],
        rows=rows,
        columns=columns,
        channels=[row for layer in mapping.layers for row in _channel_rows(config, layer)],
        weights=[]
        if streamed
        else [rows for _, rows in masked] or [_bank_rows(mapping, bank) for bank in range(config.banks)],
        masks=[masks for masks, _ in masked],
        external=[] if external is None else external.data,
        tables=table_rows(config, mapping.tables) if config.tables else [],
    )


def _header(mapping: Mapping, external: ExternalImage | None) -> list[int]:
    image = mapping.tensors[INPUT]
    values = {
        "layers": len(mapping.layers) - 1,
        "image_slices": len(image.slices) - 1,
        "image_double": mapping.image_double,
        "image_words": image.size - 1,
        "image_base": image.base,
        "image_stride": image.size if mapping.image_double else 0,
        "classes": mapping.net.classes - 1,
    }
    if mapping.config.maps:
        values |= {"channels": mapping.channels - 1}
    if external is not None:
        values |= {name: getattr(external, name) for name in STREAMED_HEADER}
    return pack([(header_fields(mapping.config), values)])


def _layer_record(mapping: Mapping, layer: MappedLayer) -> dict[str, int]:
    config, output = mapping.config, layer.output
    height, width = layer.walk_shape
    pool = layer.layer.pool
    low, top = count_range(layer.layer)
    options = _part_fields(config, layer) if config.streams_weights else {}
    options |= {"low": -low} if config.signed_codes else {}
    options |= {"tabled": layer.table is not None, "table": layer.table or 0} if config.tables else {}
    options |= {"block_run": layer.block_run - 1} if config.row_masks else {}
    options |= _side_by_side(config, layer) if config.depthwise else {}
    return options | {
        "final": not layer.layer.fires,
        "pool_sum": pool is not None and pool.kind == "sum",
        "segments": len(layer.sources) - 1,
        "slices": layer.slices - 1,
        "blocks": layer.blocks - 1,
        "block_period": layer.period - 1,
        "groups": top,
        "rows": height - 1,
        "columns": width - 1,
        "pixels": height * width - 1,
        "window_rows": layer.window[0] - 1,
        "window_columns": layer.window[1] - 1,
        "window": layer.window[0] * layer.window[1] - 1,
        "channel_base": layer.channel_base,
        "dest_base": output.base if output else layer.first // config.fire_lanes,
        "dest_words": output.words if output else layer.logit_rows(config) if config.maps else 0,
        "dest_field": output.field.bit_length() - 1 if output else 0,
        "dest_slices": len(output.slices) - 1 if output else 0,
        "dest_slice_groups": _slice_groups(config, layer, output) - 1 if output else 0,
        "dest_word_groups": max(1, config.word_bits // (output.field * config.fire_lanes)) - 1 if output else 0,
        "dest_group_words": layer.group_words(config) - 1,
    }


def _slice_groups(config: EngineConfig, layer: MappedLayer, output: TensorLayout, first: int = 0) -> int:
    """Groups of F channels of one slice from a place on, for all columns that a job has."""
    return (output.channels_per_slice - first) * layer.columns_at_once // config.fire_lanes


def _side_by_side(config: EngineConfig, layer: MappedLayer) -> dict[str, int]:
    """How the output pixels of one job, and of the next one, lie in memory."""
    count, words = layer.columns_at_once, layer.output.words if layer.output else 0
    step = layer.columns[1] - (count - 1) if count > 1 and len(layer.columns) > 1 else 1
    back = (count - 1) * words
    return {"places": count - 1, "dest_back": back, "dest_second": step * words % (1 << config.spike_addr_bits)}


def _part_fields(config: EngineConfig, layer: MappedLayer) -> dict[str, int]:
    """Where the channels of a part go."""
    output = layer.output
    slice_, place = divmod(layer.first, output.channels_per_slice) if output else (0, 0)
    return {
        "more": layer.part < layer.parts - 1,
        "first_slice": slice_,
        "first_slice_groups": _slice_groups(config, layer, output, place) - 1 if output else 0,
        "first_word": place // (config.word_bits // output.field) if output else 0,
    }


def _segment_record(config: EngineConfig, source: MappedSource, row_base: int, column_base: int) -> dict[str, int]:
    """Addresses wrap around at the end of a memory; a stride as long as the memory is one that is never taken."""
    tensor = source.tensor
    options = {"table": tensor.table} if config.tables else {}
    spikes, weights = 1 << config.spike_addr_bits, 1 << config.row_addr_bits
    if config.row_masks:
        step = tensor.words - source.span + 1
        options |= {"span": source.span - 1, "tap_step": step % spikes, "block_words": source.block_words}
    options |= {"own": int(source.own)} if config.depthwise else {}
    options |= {"span": tensor.words - 1, "tail": tensor.tail(config.word_bits) - 1} if config.counts_values else {}
    return {
        "image": tensor.name == INPUT,
        "field": tensor.field.bit_length() - 1,
        "code": DIGITS_OF_CODE[tensor.code],
        "shift": source.spike_shift,
        "base": tensor.base + source.word_base,
        "row_base": row_base,
        "column_base": column_base,
        "row_stride": source.dilation * tensor.width * tensor.words % spikes,
        "weight_row_stride": source.row_stride % weights,
        "weight_base": source.weight_base,
        "block_stride": source.block_stride % weights,
        **options,
    }


def _join(values: np.ndarray, bits: int) -> list[int]:
    """One integer per row of [rows, n] values, value 0 in the lowest `bits`."""
    mask = (1 << bits) - 1
    return [sum((int(v) & mask) << (i * bits) for i, v in enumerate(row) if v) for row in values]


def _channel_rows(config: EngineConfig, layer: MappedLayer) -> list[int]:
    order = np.array(layer.order)
    bias = np.where(order >= 0, layer.bias[order], 0)
    shift = np.where(order >= 0, layer.layer.shift[order], 0)
    fields = [
        channel_layout(config).const({"bias": int(b), "shift": int(k)}).as_value().value
        for b, k in zip(bias, shift, strict=True)
    ]
    return _join(np.array(fields, dtype=object).reshape(-1, config.fire_lanes), config.channel_bits)


def _bank_rows(mapping: Mapping, bank: int) -> list[int]:
    """All weight rows of one bank, layer after layer."""
    rows: list[int] = []
    for layer in mapping.layers:
        assert len(rows) == layer.sources[0].weight_base
        rows += weight_rows(mapping.config, layer, bank)
    return rows


def _masked_rows(mapping: Mapping, bank: int) -> tuple[list[int], list[int]]:
    """All masks of one bank, with where their rows are, and all these weight rows, layer after layer.

    Streamed rows lie where the part has its place.
    """
    entry = mask_entry(mapping.config)
    masks: list[int] = []
    rows: list[int] = []
    for layer in mapping.layers:
        assert len(masks) == layer.sources[0].weight_base
        found = layer_rows(mapping.config, layer, bank)
        base = layer.row_base if mapping.config.streams_weights else len(rows)
        places = base + np.cumsum(found.counts) - found.counts
        places[found.counts == 0] = 0
        masks += [
            int(mask) | int(place) << entry["weight"].offset for mask, place in zip(found.masks, places, strict=True)
        ]
        rows += _pack_rows(found.rows, mapping.config.weight_bits)
    return masks, rows


def stored_rows(config: EngineConfig, layer: MappedLayer, bank: int) -> list[int]:
    """Rows of one layer in one bank that its masks name."""
    return _pack_rows(layer_rows(config, layer, bank).rows, config.weight_bits)


def weight_rows(config: EngineConfig, layer: MappedLayer, bank: int) -> list[int]:
    """Rows of one layer in one bank: per source, own block, tap row, tap and place in the spike words."""
    rows: list[int] = []
    group, slice_ = divmod(bank, layer.slices)
    order = np.array(layer.order).reshape(layer.blocks, config.lanes)[group % layer.period :: layer.period]
    for source in layer.sources:
        channels = source.tensor.slices[slice_]
        kernel_h, kernel_w = source.weights.shape[2:]
        out = np.zeros((len(order), kernel_h, kernel_w, source.tap_stride, config.lanes), np.int64)
        # [blocks, lanes, in, KH, KW] -> [blocks, KH, KW, in, lanes]
        chosen = source.weights[order][:, :, list(channels)] * (order >= 0)[:, :, None, None, None]
        out[:, :, :, : len(channels)] = chosen.transpose(0, 3, 4, 2, 1)
        assert len(rows) == source.weight_base - layer.sources[0].weight_base
        rows += _pack_rows(out.reshape(-1, config.lanes), config.weight_bits)
    return rows


def _pack_rows(values: np.ndarray, bits: int) -> list[int]:
    """As `_join`, for many rows of small signed values."""
    places = (values[:, :, None] >> np.arange(bits) & 1).astype(np.uint8)
    places = places.reshape(len(values), values.shape[1] * bits)
    packed = np.packbits(places, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def load_words(images: MemoryImages, config: EngineConfig) -> list[int]:
    """The load stream (32-bit words) that writes `images` into a loadable engine."""
    words: list[int] = []
    memories = [(name, 0, getattr(images, name)) for name in target_widths(config) if name not in ("weights", "masks")]
    memories += [(name, b, rows) for name in ("weights", "masks") for b, rows in enumerate(getattr(images, name))]
    for name, bank, rows in memories:
        count = -(-target_widths(config)[name] // WORD)
        for start in range(0, len(rows), 1 << 16):
            part = rows[start : start + (1 << 16)]
            head = {"target": TARGETS.index(name), "bank": bank, "rows": len(part) - 1}
            words += [HEAD.const(head).as_value().value, start]
            words += [row >> (WORD * i) & 0xFFFFFFFF for row in part for i in range(count)]
    return words


def fingerprint(images: MemoryImages, config: EngineConfig) -> int:
    """What a core's register `network` reads where `images` are in its memories, built in or loaded."""
    return checksum(load_words(images, config))


def checksum(words: Sequence[int]) -> int:
    """The CRC-32 (of zip) of a load stream, least significant byte of a word first; 0 of none. Cores are told it."""
    return zlib.crc32(np.array(words, "<u4").tobytes())


def image_beats(mapping: Mapping, codes: np.ndarray) -> np.ndarray:
    """Beats uint64 [N, beats] of the image stream for image codes [N, C, H, W]: slice, pixel, word."""
    image = mapping.tensors[INPUT]
    word_bits = mapping.config.word_bits
    fields = mapping.image_fields(codes)
    beats = image.size * len(image.slices)
    return np.array([image.pack(f, word_bits) for f in fields], np.uint64).reshape(len(codes), beats)


def expected_writes(mapping: Mapping, fields: dict[str, np.ndarray], image: int) -> Iterable[np.ndarray]:
    """Per firing layer (or part) the writes [n, 3] (address, word, slice) of one image, in the engine's order."""
    for layer in mapping.layers:
        output = layer.output
        if output is None:
            return
        words = output.pack(fields[output.name][image], mapping.config.word_bits)  # [slices, pixels, words]
        slices, pixels, per_pixel = words.shape
        address = output.base + np.arange(pixels)[:, None, None] * per_pixel + np.arange(per_pixel)
        address = np.broadcast_to(address, (pixels, slices, per_pixel))
        number = np.broadcast_to(np.arange(slices)[None, :, None], address.shape)
        # The channel that each word begins with: is it one of this part?
        begin = np.arange(slices)[:, None] * output.channels_per_slice
        begin = begin + np.arange(per_pixel) * (mapping.config.word_bits // output.field)
        own = np.broadcast_to((begin >= layer.first) & (begin < layer.first + len(layer.order)), address.shape)
        columns = (address, words.transpose(1, 0, 2), number)
        if layer.columns_at_once > 1:
            pixel = np.array(layer.columns)[:, None] + np.arange(layer.columns_at_once)
            place = (np.arange(layer.shape[1])[:, None, None] * output.width + pixel).reshape(-1, layer.columns_at_once)
            # [jobs, columns at once, slices, words] -> [jobs, slices x words, columns at once]
            first = layer.first // mapping.config.word_chunks
            ordered = (c[place].transpose(0, 2, 3, 1).reshape(len(place), -1, layer.columns_at_once) for c in columns)
            yield np.stack([c[:, first : first + layer.blocks].reshape(-1).astype(np.int64) for c in ordered], 1)
            continue
        yield np.stack([c[own].astype(np.int64) for c in columns], 1)
