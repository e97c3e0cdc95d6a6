# SPDX-License-Identifier: Apache-2.0
"""Emit: a mapped network as files — one Verilog file, the memory images and a manifest that explains both.

| file           | what                                                                              |
|----------------|-----------------------------------------------------------------------------------|
| onespike.v     | module `onespike`; the same text for every network of one configuration           |
| *.hex          | `$readmemh` images, one row per line from address 0                               |
| weights.bin    | image of external memory, if weights are streamed: see `external_memory` in the manifest  |
| load.hex       | the same contents as 32-bit words for the load stream (loadable engines only)     |
| onespike_F.v   | module `onespike_F`: the front F around the engine, where one is wanted; it knows the network's sum |
| lint.vlt       | the Verilator warnings that the generated text is allowed to raise, with reasons  |
| TOP_tb.v ..    | an example test bench, see `testbench.py`                                         |
| TOP.core ..    | what other tools want of the module TOP, see `packages.py`                        |
| manifest.json  | ports, parameters, memory map, image stream, network hash, formats                |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping as Map
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...model.cost.bound import check_watchdog
from ...model.machine.parity import with_parity
from ...model.mapping.images import MemoryImages, fingerprint, load_words, memory_images
from ...model.mapping.mapping import Mapping
from ...model.system import bounded
from ...model.system.files import write_atomically
from ...model.system.locks import owned
from ..config import EngineConfig
from ..engine.load import stored_widths, target_widths
from ..fronts.front import Front
from ..program import WORD
from .front import front_verilog
from .manifest import BENCH_WAIVERS, WAIVERS, WEIGHT_IMAGE, contents_of, pages_of
from .packages import packages
from .readable import module_ports
from .testbench import bench_top, testbench
from .verilog import TOP, bank_files, bank_memories, image_files, to_verilog


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
    widths, bits = target_widths(config), stored_widths(config)

    def lines(name: str, rows: Sequence[int], depth: int) -> str:
        stored = [with_parity(row, widths[name]) for row in rows] if config.parity else rows
        return hex_lines([*stored, *[0] * (depth - len(rows))], bits[name])

    names = [file.removesuffix(".hex") for file in image_files(config).values()]
    depths = {"program": config.program_depth, "channels": config.channel_depth, "tables": config.table_rows}
    files = {}
    for name in names:
        rows, depth = getattr(images, name), depths.get(name, config.walk_depth)
        files[f"{name}.hex"] = lines(name, rows, depth)
    for name, pages in bank_memories(config).items():
        for bank, rows in enumerate(getattr(images, name)):
            found = zip(bank_files(config, name, bank), pages_of(rows, pages), pages, strict=True)
            files |= {file: lines(name, used, rows) for file, used, rows in found}
    return files


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

    check_watchdog(mapping)
    config, images = mapping.config, memory_images(mapping)
    files = {f"{TOP}.v": to_verilog(config), **memory_files(images, config), "lint.vlt": _waivers(front)}
    if config.loadable:
        files["load.hex"] = hex_lines(load_words(images, config), WORD)
    if front is not None:
        front = replace(front, network=front.network or fingerprint(images, config))
        files[f"{front.top}.v"] = front_verilog(config, front)
    files |= testbench(mapping, front, codes)
    top = TOP if front is None else front.top
    names = [*files, *([WEIGHT_IMAGE] if config.streams_weights else [])]
    found = module_ports(files[f"{top}.v"], top)
    files |= packages(top, found, names, bench_top(front), mapping.net.hash, __version__)
    binary = {name: text.encode() for name, text in files.items()}
    if config.streams_weights:
        binary[WEIGHT_IMAGE] = weight_bytes(images, config)
    contents = contents_of(mapping, images, binary, front)
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


__all__ = ["Manifest", "emit", "hex_lines", "memory_files"]
