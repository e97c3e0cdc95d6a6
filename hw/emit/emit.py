# SPDX-License-Identifier: Apache-2.0
"""Emit: a mapped network as files — one Verilog file, the memory images and a manifest that explains both.

| file           | what                                                                              |
|----------------|-----------------------------------------------------------------------------------|
| onespike.v     | module `onespike`; the same text for every network of one configuration           |
| *.hex          | `$readmemh` images, one row per line from address 0                               |
| weights.bin    | image of external memory, if weights are streamed: see `external_memory` in the manifest  |
| load.hex       | the same contents as 32-bit words for the load stream (loadable engines only)     |
| onespike_F.v   | module `onespike_F`: the front F around the engine, where one is wanted           |
| lint.vlt       | the Verilator warnings that the generated text is allowed to raise, with reasons  |
| manifest.json  | ports, parameters, memory map, network hash, formats                              |
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

from ...model.mapping.images import MemoryImages, load_words, memory_images
from ...model.mapping.mapping import Mapping
from ...model.mapping.prefetch import block_beats, blocks
from ...model.network.spec import INPUT
from ...model.system import bounded
from ...model.system.files import write_atomically
from ...model.system.locks import owned
from ..config import EngineConfig
from ..engine.drain import channel_layout
from ..engine.fetch import mask_entry
from ..engine.load import target_widths
from ..engine.logits import logit_layout
from ..engine.prefetch import BLOCK
from ..engine.tables import table_entry
from ..engine.walk import column_entry, row_entry
from ..fronts.front import Front
from ..fronts.registers import REGISTERS
from ..program import WORD, header_fields, header_words, layer_fields, layer_words, segment_fields, unpack
from .front import front_verilog
from .packages import packages
from .readable import module_ports
from .testbench import bench_top, testbench
from .verilog import TOP, bank_files, bank_memories, bank_pages, image_files, to_verilog

MANIFEST_VERSION = 2
WEIGHT_IMAGE = "weights.bin"
WAIVERS = {
    "WIDTHEXPAND": "Amaranth sizes every expression itself; Yosys writes the narrower operands without padding",
    "WIDTHTRUNC": "the same: where a result is narrower than its operands, Amaranth meant the low bits",
    "ASCRANGE": "Yosys numbers the rows of a memory [0:depth-1]",
    "CASEINCOMPLETE": "Yosys gives the default before the case",
    "DECLFILENAME": "all modules of a design lie in one file (-Wall)",
    "PROCASSINIT": "registers have the initial value that their reset gives them (-Wall)",
    "UNUSEDSIGNAL": "fields of records are wires of their own, for whoever looks at waves (-Wall)",
}
BENCH_WAIVERS = {
    "PROCASSINIT": "Registers of the test bench have initial values, too",
    "PINCONNECTEMPTY": "It leaves ports open that are for observation only",
    "UNUSEDSIGNAL": "It takes a seed by its lowest bits, and a byte address by those of its word",
}
FORMATS = {
    "hex": "hexadecimal, one row per line, row 0 first; the lowest bits of a row hold its first field",
    "fields": "fields follow one another from bit 0 in the order given, [name, bits]",
    "image": "spike words in the order slice, pixel (rows from the top), word; a word holds the pixel's values side by "
    "side, in the order of tensors.input.slices, the first in its lowest bits, each in a field of image.field bits: "
    "its code less image.offset, in two's complement where that is not 0. Where image.unroll is not null, a pixel "
    "stands for an output column x of the kernel: its values are those of a row's columns x * step + tap * gap - left, "
    "tap after tap, all channels of each, with the pad code outside of the image; slice s holds the columns x that are "
    "s modulo turns",
    "logits": "one output per beat: place after place of network.output [channels, height, width], rows from the top, "
    "each with all its channels; `best` of a place's last beat is the place's class, and of the beat with `last` that "
    "of an image whose output is one place",
    "load": "blocks of a head word [target 8, bank 8, rows - 1 16], the first address, then the rows in whole 32-bit "
    "words, low word first; enable must be 0 meanwhile",
    "start": "hold rst for one cycle, fill the memories (they start from the .hex files unless ONESPIKE_BLANK is "
    "defined), raise enable, stream images",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `emit` wrote: the folder, the manifest's contents, and which files changed."""

    directory: Path
    contents: Map[str, Any]
    changed: tuple[str, ...]

    @property
    def verilog(self) -> Path:
        return self.directory / "onespike.v"


def hex_lines(rows: Sequence[int], bits: int) -> str:
    """A `$readmemh` file: one row per line, from address 0."""
    digits = -(-bits // 4)
    return "".join(f"{row:0{digits}x}\n" for row in rows)


def memory_files(images: MemoryImages, config: EngineConfig) -> dict[str, str]:
    """File name -> text of every memory image: all rows of the memory, those that nothing uses are 0."""
    widths = target_widths(config)
    names = [file.removesuffix(".hex") for file in image_files(config).values()]
    depths = {"program": config.program_depth, "channels": config.channel_depth, "tables": config.table_rows}
    files = {}
    for name in names:
        rows, depth = getattr(images, name), depths.get(name, config.walk_depth)
        files[f"{name}.hex"] = hex_lines([*rows, *[0] * (depth - len(rows))], widths[name])
    for name, pages in bank_memories(config).items():
        for bank, rows in enumerate(getattr(images, name)):
            found = zip(bank_files(config, name, bank), pages_of(rows, pages), pages, strict=True)
            files |= {file: hex_lines([*used, *[0] * (rows - len(used))], widths[name]) for file, used, rows in found}
    return files


def pages_of(rows: Sequence[int], depths: Sequence[int]) -> list[Sequence[int]]:
    """The rows of each page of a bank's memory, as far as they are used; one row of zeros where none is."""
    ends = list(itertools.accumulate(depths, initial=0))
    return [rows[first:end] or [0] for first, end in itertools.pairwise(ends)]


def emit(
    mapping: Mapping, directory: str | Path, *, front: Front | None = None, codes: np.ndarray | None = None
) -> Manifest:
    """Write everything that runs `mapping.net` into `directory`; equal files are left alone, each is whole or absent.

    front: the interface to wrap the engine in; its module is then the top, in a file of its own. codes: images of the
    test bench, uint [N, C, H, W]; by default one that is made up.

    Deterministic: the same mapping gives the same bytes. The manifest comes last; files that an earlier manifest in
    the folder names and this one does not are removed. Raises OneSpikeError where another run uses the folder.
    """
    with owned(directory) as folder:
        return _emit(mapping, folder, front, codes)


def _emit(mapping: Mapping, directory: Path, front: Front | None, codes: np.ndarray | None) -> Manifest:
    """`emit` into a folder that belongs to this run."""
    from ... import __version__

    config, images = mapping.config, memory_images(mapping)
    files = {f"{TOP}.v": to_verilog(config), **memory_files(images, config), "lint.vlt": _waivers(front)}
    if config.loadable:
        files["load.hex"] = hex_lines(load_words(images, config), WORD)
    if front is not None:
        files[f"{front.top}.v"] = front_verilog(config, front)
    files |= testbench(mapping, front, codes)
    top = TOP if front is None else front.top
    names = [*files, *([WEIGHT_IMAGE] if config.streams_weights else [])]
    found = module_ports(files[f"{top}.v"], top)
    files |= packages(top, found, names, bench_top(front), mapping.net.hash, __version__)
    binary = {name: text.encode() for name, text in files.items()}
    if config.streams_weights:
        binary[WEIGHT_IMAGE] = weight_bytes(images, config)
    contents = _contents(mapping, images, binary, front)
    stale = _listed(directory / "manifest.json") - set(binary)
    changed = [name for name, data in binary.items() if write_atomically(directory / name, data)]
    for name in sorted(stale):
        if (directory / name).is_file():
            (directory / name).unlink()
    if write_atomically(directory / "manifest.json", _json(contents)):
        changed.append("manifest.json")
    return Manifest(directory=directory, contents=contents, changed=tuple(changed))


def weight_bytes(images: MemoryImages, config: EngineConfig) -> bytes:
    """The image of the weights in external memory: beats, low byte first."""
    return b"".join(beat.to_bytes(config.external_weights // 8, "little") for beat in images.external)


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


def _contents(mapping: Mapping, images: MemoryImages, files: Map[str, bytes], front: Front | None) -> dict[str, Any]:
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
        "image": {
            "beats": mapping.tensors[INPUT].size * len(mapping.tensors[INPUT].slices),
            "field": mapping.tensors[INPUT].field,
            "offset": mapping.tensors[INPUT].offset,
            "unroll": None if (unroll := mapping.tensors[INPUT].unroll) is None else vars(unroll),
        },
        "formats": FORMATS,
        "lint_waivers": WAIVERS,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
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
    widths = target_widths(config)
    channel, row, column = channel_layout(config), row_entry(config), column_entry(config)
    program = {
        "header": _fields(header_fields(config)),
        "layer": _fields(layer_fields(config)),
        "segment": _fields(segment_fields(config)),
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
            "bits": widths[name],
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
                        "bits": widths[name],
                        "holds": f"{name} of bank {bank}, {holds[name]}",
                        "fields": bank_fields[name],
                    }
                )
                first += depth
    return memories


def _json(contents: Map[str, Any]) -> str:
    """JSON whose lists of plain values stand on one line."""
    text = json.dumps(contents, indent=1, sort_keys=True) + "\n"
    plain = r'(?:-?\d+|"[^"\n]*")'
    return re.sub(rf"\[\n\s+{plain}(?:,\n\s+{plain})*\n\s+\]", lambda found: re.sub(r"\n\s*", " ", found[0]), text)


def _waivers(front: Front | None) -> str:
    lines = ["`verilator_config", "// SPDX-License-Identifier: Apache-2.0"]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason}.", f'lint_off -rule {rule} -file "*{TOP}.v"']
        lines += [f'lint_off -rule {rule} -file "*{front.top}.v"'] if front is not None else []
    for rule, reason in BENCH_WAIVERS.items():
        lines += [f"// {reason}.", f'lint_off -rule {rule} -file "*{bench_top(front)}_tb.v"']
    return "\n".join(lines) + "\n"


def _listed(path: Path) -> set[str]:
    """Files that an earlier manifest names; nothing if there is none or it is not ours."""

    def files(earlier: Map[str, Any]) -> set[str]:
        ours = earlier["format"] == "onespike-verilog"
        return {name for name in earlier["files"] if ours and re.fullmatch(r"\w[\w.-]*", name)}

    return bounded.kept(path, files) or set()


__all__ = ["Manifest", "emit", "hex_lines", "memory_files", "ports"]
