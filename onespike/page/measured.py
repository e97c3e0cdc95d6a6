# SPDX-License-Identifier: Apache-2.0
"""Files of figures that other commands wrote with --json, and which of them the page may show."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..hw.config import EngineConfig
from ..model.errors import OneSpikeError
from ..model.network.spec import SpikeNet
from ..model.system import bounded

MOST_BYTES = 64 << 20
# What a file may hold that the page shows -> the command that measures it.
PARTS = {
    "rtl": "simulate",
    "accuracy": "eval",
    "synthesis": "synth",
    "bitstream": "fpga",
    "asic": "asic",
    "front": "explore",
}
SHOWN = ("luts", "flip_flops", "block_rams", "fmax_mhz", "critical_path", "target", "seed")  # of a synthesis


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file: its figures, the command that wrote it ("" in files of older versions) and the parts it holds."""

    path: str
    sha256: str
    command: str
    versions: dict[str, str]
    figures: dict[str, Any]
    parts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All files; `hardware`: the engine that they measured, with its slices where a file names them, or None."""

    sources: tuple[Source, ...] = ()
    hardware: dict[str, Any] | None = None
    of: dict[str, int] = field(default_factory=dict)  # part -> number of its source

    def figures(self, part: str) -> dict[str, Any] | None:
        """The figures of the file that is shown for a part."""
        return self.sources[self.of[part]].figures if part in self.of else None


def read(paths: Sequence[Path], net: SpikeNet, name: Path) -> Measured:
    """The files, whose network must be `net` (of the file `name`) and which must all be of one engine.

    Of several files with one part, the last counts. Raises OneSpikeError, one sentence for every way to be wrong.
    """
    sources: list[Source] = []
    for path in paths:
        figures, digest = _read(path)
        parts = tuple(part for part in PARTS if _holds(figures, part))
        if not parts:
            raise OneSpikeError(
                f"{path} holds no figures that the page shows; give files that {_listed(PARTS.values())} wrote with "
                f"--json."
            )
        _same_network(path, figures, parts, net, name)
        made = figures.get("made_by") if isinstance(figures.get("made_by"), dict) else {}
        assert isinstance(made, dict)
        versions = made.get("versions", figures.get("versions", {}))
        sources.append(
            Source(
                path=str(path),
                sha256=digest,
                command=str(made.get("command", "")),
                versions=versions if isinstance(versions, dict) else {},
                figures=figures,
                parts=parts,
            )
        )
    of = {part: number for number, source in enumerate(sources) for part in source.parts}
    return Measured(sources=tuple(sources), hardware=_one_engine(sources), of=of)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The figures in a file, and its hash."""
    try:
        if path.is_dir():
            raise OneSpikeError(f"Cannot read {path}: it is a folder; name a file that a command wrote with --json.")
        with path.open("rb") as file:
            contents = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise OneSpikeError(f"Cannot read {path}: no such file.") from None
    except OSError as error:
        raise OneSpikeError(f"Cannot read {path}: {error.strerror or error}.") from None
    if len(contents) > MOST_BYTES:
        raise OneSpikeError(f"{path} is larger than any file of figures; name one that a command wrote with --json.")
    try:
        figures = json.loads(contents)
    except (ValueError, RecursionError):
        raise OneSpikeError(
            f"{path} is no JSON, or only a part of it; let the command that wrote it run once more with --json {path}."
        ) from None
    if not isinstance(figures, dict):
        raise OneSpikeError(f"{path} holds no figures of a command; name a file that one wrote with --json.")
    return figures, hashlib.sha256(contents).hexdigest()


def _holds(figures: dict[str, Any], part: str) -> bool:
    """Whether figures of a command hold a part, in full."""
    found = figures.get(part)
    match part:
        case "rtl":
            return isinstance(found, dict) and {"images", "mismatches", "cycles_per_image", "layers"} <= found.keys()
        case "accuracy":  # that of `report` is of a few images only, and counted here anyway
            return isinstance(found, dict) and "golden" in found and "cycles" not in figures
        case "synthesis":
            return isinstance(found, dict) and set(SHOWN) <= found.keys()
        case "bitstream":
            return isinstance(found, dict) and {"clock_mhz", "attempts", "resources", "board"} <= found.keys()
        case "asic":
            return isinstance(found, dict) and {"area_um2", "power_mw", "logic_uj", "memory_uj"} <= found.keys()
    return isinstance(found, list) and bool(found) and all(isinstance(p, dict) and "cycles" in p for p in found)


def _same_network(path: Path, figures: dict[str, Any], parts: tuple[str, ...], net: SpikeNet, name: Path) -> None:
    network = figures.get("network")
    found = network.get("hash") if isinstance(network, dict) else None
    if "front" in parts:  # of one network or several, which the points name
        hashes = figures.get("networks", {})
        found = net.hash if isinstance(hashes, dict) and net.hash in hashes.values() else None
    if found == net.hash:
        return
    command = f"`onespike {PARTS[parts[0]]} {name} .. --json {path}`"
    if found is None:
        raise OneSpikeError(f"{path} does not say that it measured {name}; measure it with {command}.")
    given = bounded.shown(str(found)[:12])
    raise OneSpikeError(
        f"{path} is of another network ({given}) than {name} ({net.hash[:12]}); measure this one with "
        f"{command}."
    )


def _one_engine(sources: Iterable[Source]) -> dict[str, Any] | None:
    """The engine that the files agree on; the first that names its slices says which they are."""
    first: tuple[str, dict[str, Any]] | None = None
    whole: dict[str, Any] | None = None
    for source in sources:
        found = source.figures.get("hardware", source.figures.get("engine"))
        if found is None:
            continue
        config = _config(source.path, found)
        if first is None:
            first = (source.path, config)
        path, other = first
        for name, value in config.items():
            if value != other[name]:
                raise OneSpikeError(
                    f"{source.path} and {path} measured different engines ({name} is {value} in one, {other[name]} in "
                    f"the other); measure both with the same engine options and the same --data."
                )
        slices = found.get("slices")
        if whole is None and isinstance(slices, dict):
            ordered = found.get("ordered")
            names = [name for name in ordered if isinstance(name, str)] if isinstance(ordered, list) else []
            whole = config | {"slices": slices, "ordered": names}
    return whole or (None if first is None else first[1])


def _config(path: str, found: Any) -> dict[str, Any]:
    """The engine's parameters, with those that a file of an older version does not name as they were then."""
    names = [field.name for field in dataclasses.fields(EngineConfig)]
    try:
        if not isinstance(found, dict):
            raise TypeError
        return dataclasses.asdict(EngineConfig(**{name: found[name] for name in names if name in found}))
    except (OneSpikeError, TypeError):
        raise OneSpikeError(f"{path} does not say which engine it measured; measure it once more.") from None


def _listed(names: Iterable[str]) -> str:
    *most, last = [f"`onespike {name}`" for name in dict.fromkeys(names)]
    return f"{', '.join(most)} or {last}"
