# SPDX-License-Identifier: Apache-2.0
"""Walk: from the layer program and its tables to the commands of every bank, in order."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...hw.config import EngineConfig
from ...hw.engine.walk import column_entry, row_entry
from ...hw.program import header_fields, header_words, layer_fields, layer_words, segment_fields, unpack
from .fetch import Command, Stride


class Record(NamedTuple):
    """One layer of the program: its fields, and those of its sources."""

    layer: dict[str, int]
    segments: list[dict[str, int]]

    @property
    def strides(self) -> list[Stride]:
        """What the sources' commands have in common."""
        return [Stride(*(segment.get(name, 0) for name in Stride._fields)) for segment in self.segments]


def walk(
    config: EngineConfig,
    layer: Mapping[str, int],
    segments: Sequence[Mapping[str, int]],
    rows: Sequence[tuple[int, int, int]],
    columns: Sequence[tuple[int, int, int]],
    *,
    image_offset: int = 0,
) -> list[tuple[tuple[int, ...], Command]]:
    """Every command of a layer with the banks that get it, in order.

    Jobs run over pooled rows, pooled columns, places of the window and output blocks, and go to groups of slices + 1
    banks in turn; a job has one command per source. rows, columns: the tables, (offset, weight, rows) and (offset,
    weight, run). image_offset: distance of the image buffer in use. Golden function of
    :class:`onespike.hw.engine.walk.Walk`.
    """
    slices = layer["slices"] + 1
    assert config.banks % slices == 0, f"slices must divide the {config.banks} banks, not {slices}"
    assert layer["pixels"] + 1 == (layer["rows"] + 1) * (layer["columns"] + 1), "pixels must be rows x columns"
    tall, wide = layer["window_rows"] + 1, layer["window_columns"] + 1
    assert layer["window"] + 1 == tall * wide, "the window must be window_rows x window_columns"
    commands: list[tuple[tuple[int, ...], Command]] = []
    bank = 0
    for y, x, dy, dx, block in (
        (y, x, dy, dx, block)
        for y in range(layer["rows"] + 1)
        for x in range(layer["columns"] + 1)
        for dy in range(tall)
        for dx in range(wide)
        for block in range(layer["blocks"] + 1)
    ):
        banks = tuple(range(bank, bank + slices))
        bank = (bank + slices) % config.banks
        for number, segment in enumerate(segments[: layer["segments"] + 1]):
            row_offset, row_weight, tap_rows = rows[segment["row_base"] + y * tall + dy]
            column_offset, column_weight, run = columns[segment["column_base"] + x * wide + dx]
            local = block // (layer["block_period"] + 1) * segment["block_stride"] + segment["weight_base"]
            words = block // (layer["block_run"] + 1) * segment["block_words"] if config.row_masks else 0
            base = segment["base"] + words + (image_offset if segment["image"] else 0)
            command = Command(
                address=base + row_offset + column_offset,
                weight=local + row_weight + column_weight,
                run=run,
                rows=tap_rows,
                segment=number,
                last=number == layer["segments"],
            )
            assert command.address < config.spike_depth, f"spike word {command.address} lies outside the memory"
            depth = config.mask_depth if config.row_masks else config.weight_depth
            assert command.weight < depth, f"weight row {command.weight} lies outside the memory"
            commands.append((banks, command))
    return commands


def records(config: EngineConfig, program: Sequence[int]) -> tuple[dict[str, int], list[Record]]:
    """The header and the layers that program words hold: the inverse of `onespike.hw.program.pack`."""
    head, size = header_words(config), layer_words(config)
    header = unpack([header_fields(config)], program[:head])[0]
    found = []
    for index in range(header["layers"] + 1):
        start = head + index * size
        fields = [layer_fields(config), *[segment_fields(config)] * config.segments]
        layer, *segments = unpack(fields, program[start : start + size])
        found.append(Record(layer, segments))
    return header, found


Table = list[tuple[int, int, int]]


def tables(config: EngineConfig, rows: Sequence[int], columns: Sequence[int]) -> tuple[Table, Table]:
    """The row and the column table that memory rows hold, as `walk` takes them."""

    def entries(layout: Any, values: Sequence[int]) -> Table:
        fields = [(field.offset, (1 << field.width) - 1) for _, field in layout]
        return [tuple(value >> offset & mask for offset, mask in fields) for value in values]  # type: ignore[misc]

    return entries(row_entry(config), rows), entries(column_entry(config), columns)
