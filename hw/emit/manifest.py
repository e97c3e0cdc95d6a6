# SPDX-License-Identifier: Apache-2.0
"""Manifest: what the emitted files hold, in words and numbers; `docs/verilog.md` explains it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from ...model.mapping.images import MemoryImages
from ...model.mapping.mapping import Mapping
from ...model.mapping.prefetch import block_beats, blocks
from ...model.network.spec import INPUT
from ..config import EngineConfig
from ..engine.drain import channel_layout
from ..engine.fetch import mask_entry
from ..engine.load import stored_widths, target_widths
from ..engine.logits import logit_layout
from ..engine.prefetch import BLOCK
from ..engine.tables import table_entry
from ..engine.walk import column_entry, row_entry
from ..fronts.front import Front
from ..fronts.registers import REGISTERS
from ..program import header_fields, header_words, layer_fields, layer_words, segment_fields, unpack
from .readable import module_ports
from .verilog import TOP, bank_files, bank_memories, bank_pages, image_files

MANIFEST_VERSION = 3
WEIGHT_IMAGE = "weights.bin"
WAIVERS = {
    "WIDTHEXPAND": "Amaranth sizes every expression itself; Yosys writes the narrower operands without padding",
    "WIDTHTRUNC": "the same: where a result is narrower than its operands, Amaranth meant the low bits",
    "ASCRANGE": "Yosys numbers the rows of a memory [0:depth-1]",
    "CASEINCOMPLETE": "Yosys gives the default before the case",
    "DECLFILENAME": "all modules of a design lie in one file (-Wall)",
    "PROCASSINIT": "registers have the initial value that their reset gives them (-Wall)",
    "UNUSEDPARAM": "where ONESPIKE_BLANK is defined, nothing reads the images' names (-Wall)",
    "UNUSEDSIGNAL": "fields of records are wires of their own, for whoever looks at waves (-Wall)",
}
BENCH_WAIVERS = {
    "PROCASSINIT": "Registers of the test bench have initial values, too",
    "PINCONNECTEMPTY": "It leaves ports open that are for observation only",
    "UNUSEDSIGNAL": "It takes a seed by its lowest bits, and a byte address by those of its word",
}

COUNTS = (
    "layers", "image_slices", "image_words", "classes", "channels", "segments", "slices", "blocks", "block_period",
    "block_run", "rows", "columns", "pixels", "window_rows", "window_columns", "window", "dest_slices",
    "dest_slice_groups", "dest_word_groups", "dest_group_words", "places", "first_slice_groups", "span",
)  # fmt: skip
"""Fields of the program that hold what they are named after less one."""
FORMATS = {
    "hex": "hexadecimal, one row per line, row 0 first; the lowest bits of a row hold its first field",
    "fields": "fields follow one another from bit 0 in the order given, [name, bits]",
    "image": "the object `image`. A network takes codes, 0 to 2**bits - 1, [channels, height, width] = shape; a real "
    "number x becomes the nearest code of x = code * pixel_scale + pixel_offset (of its channel), at least "
    "first_code. A beat is a spike word of word_bits bits; word_bits / field values lie side by side in it, "
    "the first in the lowest bits, each the code less `offset`, in two's complement where image_signed. Beats "
    "come slice by slice, in a slice pixel by pixel (height x width, rows from the top), words_per_pixel for "
    "each. Slice s holds the values slices[s] of a pixel, channel numbers; room behind the last is 0. border: "
    "[top, bottom, left, right] pixels of pad_code that are part of height and width. flat: there is one "
    "pixel, whose values are the image's channel after channel, row after row. Where unroll is not null, a "
    "pixel is an output column x of the kernel, and its value number tap * channels + c is channel c in "
    "column x * step + tap * gap - left of the image, or the pad code outside of it; pixel i of a row in "
    "slice s has x = i * turns + s modulo turns, and all its values are 0 if x is not below `columns`",
    "logits": "one output per beat: place after place of network.output [channels, height, width], rows from the top, "
    "each with all its channels; `best` of a place's last beat is the place's class, and of the beat with `last` that "
    "of an image whose output is one place",
    "program": "fields named in one_less hold that number less 1, those in log2 its logarithm, those in negated its "
    "negative; all others are what they are named after",
    "parity": "bit parity + i of a row makes the row's bits 8 i to 8 i + 7 even, with itself; the load stream has no "
    "such bits, the engine makes them",
    "byte_order": "rows and words of .hex files are numbers; weights.bin is beats, the lowest byte of each first; wide "
    "rows in load.hex are 32-bit words, the lowest first; on AXI4-Stream TDATA[7:0] is a beat's lowest byte",
    "load": "blocks of a head word [target 8, bank 8, rows - 1 16], the first address, then the rows in whole 32-bit "
    "words, low word first; enable must be 0 meanwhile",
    "start": "hold rst for one cycle, fill the memories (they start from the .hex files unless ONESPIKE_BLANK is "
    "defined), raise enable, stream images",
}


def pages_of(rows: Sequence[int], depths: Sequence[int]) -> list[Sequence[int]]:
    """The rows of each page of a bank's memory, as far as they are used; one row of zeros where none is."""
    ends = list(itertools.accumulate(depths, initial=0))
    return [rows[first:end] or [0] for first, end in itertools.pairwise(ends)]


def ports(verilog: str, config: EngineConfig, top: str = TOP) -> list[dict[str, Any]]:
    """Name, direction, width and, where it has some, fields of every port of module `top`, from its own text."""
    fields = {"logits__payload": _fields(logit_layout(config))}
    found = [
        vars(port) | ({"fields": fields[port.name]} if port.name in fields else {})
        for port in module_ports(verilog, top)
    ]
    return sorted(found, key=lambda port: str(port["name"]))


def _fields(layout: data.StructLayout | Map[str, int]) -> list[list[Any]]:
    if isinstance(layout, data.StructLayout):
        return [[name, Shape.cast(shape).width] for name, shape in layout.members.items()]
    return [[name, width] for name, width in layout.items()]


def contents_of(mapping: Mapping, images: MemoryImages, files: Map[str, bytes], front: Front | None) -> dict[str, Any]:
    from ... import __version__

    net, config = mapping.net, mapping.config
    top = TOP if front is None else front.top
    streamed = config.streams_weights
    head, per_layer = header_words(config), layer_words(config)
    layers = []
    for index, layer in enumerate(mapping.layers):
        at = head + index * per_layer
        own_blocks = layer.blocks // layer.period
        fields = [layer_fields(config), *[segment_fields(config)] * len(layer.sources)]
        record, *segments = unpack(fields, images.program[at : at + per_layer])
        layers.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "order": list(layer.order),
                "program": {"address": at, "words": per_layer, "layer": record, "segments": segments},
                "channels": {"base": layer.channel_base, "rows": layer.blocks * config.drain_steps},
                # The walk counts rows of masks where there are some, and these say where the weights are.
                "masks" if config.row_masks else "weights": [
                    {"tensor": s.tensor.name, "base": s.weight_base, "rows": s.block_stride * own_blocks}
                    for s in layer.sources
                ],
                "banks_per_job": layer.slices,
            }
        )
    tensors = {
        name: {
            "base": t.base,
            "words_per_pixel": t.words,
            "height": t.height,
            "width": t.width,
            "border": list(t.pad),
            "code": t.code,
            "field_bits": t.field,
            "slices": [list(channels) for channels in t.slices],
        }
        for name, t in mapping.tensors.items()
    }
    return {
        "format": "onespike-verilog",
        "version": MANIFEST_VERSION,
        "generator": f"onespike {__version__}",
        "network": {"hash": net.hash, "image": list(net.image.shape), "classes": net.classes}
        | {"output": list(mapping.layers[-1].shape), "outputs": [dataclasses.asdict(output) for output in net.outputs]},
        "top": top,
        "front": None if front is None else vars(front),
        "registers": [] if front is None else _registers(),
        "parameters": {name: value for name, value in vars(config).items()},
        "ports": ports(files[f"{top}.v"].decode(), config, top),
        "memories": _memories(config, images),
        **({"external_memory": _external_memory(mapping, images)} if streamed else {}),
        "layers": layers,
        "tensors": tensors,
        "image": image_of(mapping),
        "formats": FORMATS,
        "lint_waivers": WAIVERS,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }


def image_of(mapping: Mapping) -> dict[str, Any]:
    """The image stream: what an image is, and how its codes lie in beats; `FORMATS["image"]` says the same in words."""
    image, stored = mapping.net.image, mapping.tensors[INPUT]
    return {
        "shape": list(image.shape),
        "bits": image.bits,
        "pixel_scale": list(image.scale),
        "pixel_offset": list(image.offset),
        "first_code": image.first,
        "pad_code": list(image.pad_code),
        "channels_last": image.channels_last,
        "arrangement": None if image.arrangement is None else dataclasses.asdict(image.arrangement),
        "beats": stored.size * len(stored.slices),
        "word_bits": mapping.config.word_bits,
        "field": stored.field,
        "offset": stored.offset,
        "image_signed": stored.offset != 0,
        "height": stored.height,
        "width": stored.width,
        "border": list(stored.pad),
        "words_per_pixel": stored.words,
        "slices": [list(channels) for channels in stored.slices],
        "flat": stored.flat,
        "unroll": None
        if stored.unroll is None
        else vars(stored.unroll) | {"columns": stored.unroll.columns(image.shape[2])},
    }


def _external_memory(mapping: Mapping, images: MemoryImages) -> dict[str, Any]:
    """The address map of the weight image: byte offsets of every block, in the order in which they are read."""
    config = mapping.config
    size = config.external_weights // 8
    header = unpack([header_fields(config)], images.program[: header_words(config)])[0]
    entries: list[dict[str, Any]] = []
    for again in (False, True):
        at = header["restart"] * size if again else 0
        for layer in mapping.layers:
            if not (again or layer.resident):
                continue
            for block in blocks(layer, again=again):
                length = block_beats(config, block.rows) * size
                banks = [b for b in range(config.banks) if b % block.copies == block.copy] if block.rows else []
                entries.append(
                    {"layer": layer.name, "offset": at, "bytes": length, "rows": block.rows, "address": block.address,
                     "banks": banks, "hold": block.hold, "complete": block.last, "every_image": again}
                )  # fmt: skip
                at += length
    return {
        "file": WEIGHT_IMAGE,
        "bytes": len(images.external) * size,
        "alignment": 4096,
        "address_port": "weight_address",
        "beat_bits": config.external_weights,
        "first_beats": header["first_beats"],
        "beats": header["beats"],
        "restart": header["restart"],
        "head": _fields(BLOCK),
        "blocks": entries,
    }


def _registers() -> list[dict[str, Any]]:
    """The register map."""
    return [
        {
            "name": register.name,
            "offset": register.offset,
            "access": register.access,
            "fields": [[field.name, field.low, field.bits] for field in register.fields],
        }
        for register in REGISTERS
    ]


def _memories(config: EngineConfig, images: MemoryImages) -> list[dict[str, Any]]:
    """The memory map: for each file its memory, rows used, depth, width and fields."""
    widths, stored = target_widths(config), stored_widths(config)
    channel, row, column = channel_layout(config), row_entry(config), column_entry(config)
    program = {
        "header": _fields(header_fields(config)),
        "layer": _fields(layer_fields(config)),
        "segment": _fields(segment_fields(config)),
        "one_less": [*COUNTS],
        "log2": ["dest_field", "field"],
        "negated": ["low"],
    }
    entries = [
        (
            "program_memory",
            "program",
            config.program_depth,
            "the layer program: a header, then one record per layer",
            program,
        ),
        ("row_memory", "rows", config.walk_depth, "where the taps of an output row begin", _fields(row)),
        ("column_memory", "columns", config.walk_depth, "where the taps of an output column begin", _fields(column)),
        (
            "channel_memory",
            "channels",
            config.channel_depth,
            f"bias and shift of {config.fire_lanes} channels a row",
            _fields(channel),
        ),
    ]
    if config.tables:
        table = table_entry(config)
        entries.append(
            (
                "table_memory",
                "tables",
                config.table_rows,
                f"{config.table_codes} rows a table: threshold i, what i thresholds store, the terms of field i",
                _fields(table),
            )
        )
    memories = [
        {
            "memory": memory,
            "file": image_files(config)[memory],
            "rows": len(getattr(images, name)),
            "depth": depth,
            "bits": stored[name],
            **_parity(config, widths[name]),
            "holds": holds,
            "fields": fields,
        }
        for memory, name, depth, holds, fields in entries
    ]
    order = "in the order layer, source, output block, tap row, tap"
    holds = {
        "weights": f"{config.lanes} output channels a row, {order}, input channel"
        + (", those rows that a mask names" if config.row_masks else ""),
        "masks": f"a row for each spike word that a job reads, {order}, word: which chunks of four bits have weight "
        "rows, and the first of these",
    }
    bank_fields = {
        "weights": [[f"lane{lane}", config.weight_bits] for lane in range(config.lanes)],
        "masks": _fields(mask_entry(config)),
    }
    for name, depths in bank_memories(config).items():
        for bank, rows in enumerate(getattr(images, name)):
            names = [f"bank{bank}.{page}" for page in bank_pages(config, name)]
            pages = zip(names, bank_files(config, name, bank), pages_of(rows, depths), depths, strict=True)
            first = 0
            for memory, file, used, depth in pages:
                memories.append(
                    {
                        "memory": memory,
                        "file": file,
                        "first_row": first,
                        "rows": len(used),
                        "depth": depth,
                        "bits": stored[name],
                        **_parity(config, widths[name]),
                        "holds": f"{name} of bank {bank}, {holds[name]}",
                        "fields": bank_fields[name],
                    }
                )
                first += depth
    return memories


def _parity(config: EngineConfig, width: int) -> dict[str, int]:
    """Where a memory's parity bits begin, if it has some; `FORMATS["parity"]`."""
    return {"parity": width} if config.parity else {}


__all__ = ["BENCH_WAIVERS", "FORMATS", "WAIVERS", "WEIGHT_IMAGE", "contents_of", "pages_of", "ports"]
