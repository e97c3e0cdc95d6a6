# SPDX-License-Identifier: Apache-2.0
"""What a command writes: none of its files may be one that it reads, or another one that it writes."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from . import versions
from .model.errors import OneSpikeError
from .model.system.files import descriptor, is_stdout, makeable, writable, write_atomically
from .model.training.pictures import SUFFIXES

PIPED_WIDTH = 120  # columns of a table that no terminal shows
INPUTS = (
    "net", "nets", "model", "calibration", "data", "test", "images", "liberty", "resnet20", "mnist", "cifar10",
    "measured", "labels",
)  # fmt: skip
# Command whose --output is a file -> what it holds; of other commands it is a folder.
FILES = dict.fromkeys(("train", "convert", "export"), "the network")
FILES |= dict.fromkeys(("explore", "bases", "steps", "compare"), "the plot") | {"report": "the page"}
DATA = ("calibration", "data", "test", "mnist", "cifar10")  # those that may be folders
MANIFEST = "manifest.json"
# Command -> a file that it writes into its folder, where --json would be in its way.
OWN = {"verilog": MANIFEST, "demo": "digits.spike"}


def target(text: str) -> Path:
    """An argparse type: a file to write; "-" is the standard output."""
    return Path("/dev/stdout" if text == "-" else text)


def check(args: argparse.Namespace) -> None:
    """OneSpikeError, before any work, where an output cannot be written or would overwrite what the command reads."""
    written: list[tuple[str, Path]] = []
    if args.json is not None:
        written.append(("--json", args.json))
    output = getattr(args, "output", None)
    if output is not None and args.command in FILES:
        written.append(("--output", output))
    for option, path in written:
        if descriptor(path) is None:
            for read in (*_read(args), *_pictures(args, path)):
                if _same(path, read):
                    raise OneSpikeError(f"{option} {path} would overwrite {read}, which is read; name another file.")
        writable(path, "figures" if option == "--json" else FILES[args.command])
    if output is not None and args.command not in FILES:
        makeable(output)
    others = [output] if args.command in FILES and output is not None else []
    others += [args.output / OWN[args.command]] if args.command in OWN else []
    for other in others:
        if args.json is not None and descriptor(other) is None and _same(args.json, other):
            raise OneSpikeError(f"--json {args.json} would overwrite {other}, which is written too; name another file.")


def _read(args: argparse.Namespace) -> Iterator[Path]:
    """The files that the command reads; those of a data folder are the ones directly in it that hold data."""
    for name in INPUTS:
        value = getattr(args, name, None)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (str, Path)):
                yield Path(item)
                if name in DATA:
                    yield from (path for path in _listed(Path(item)) if "-ubyte" in path.name or path.suffix == ".bin")
    if args.command == "project":
        yield from (path for path in _listed(args.directory) if path.suffix in (".v", ".hex") or path.name == MANIFEST)


def _pictures(args: argparse.Namespace, path: Path) -> Iterator[Path]:
    """path, if it is a picture that is there already, somewhere in a folder of data."""
    if path.suffix.lower() in SUFFIXES and path.is_file():
        for name in DATA:
            value = getattr(args, name, None)
            if value is not None and path.resolve().is_relative_to(Path(value).resolve()):
                yield path


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file, by whatever names and links; of files that are not there yet, by their paths.

    Nothing is lost where two outputs go to one pipe or device.
    """
    try:
        return one.samefile(other) and one.is_file()
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def make_console(args: argparse.Namespace) -> Console:
    """Where results go: stdout, unless figures or a file go there. Text is shown as it is: names may hold brackets."""
    files = [args.json, getattr(args, "output", None) if args.command in FILES else None]
    taken = any(path is not None and is_stdout(path) for path in files)
    shown = sys.stderr if taken else sys.stdout
    width = None if shown.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(highlight=False, markup=False, emoji=False, stderr=taken, width=width)


def write_figures(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """The figures of a command as JSON, where --json asks for them, with how they were made."""
    if args.json is not None:
        write_atomically(args.json, json.dumps({"made_by": made_by(args)} | result, indent=1) + "\n")


def made_by(args: argparse.Namespace) -> dict[str, Any]:
    """The command and the versions behind figures; the seed, where a command has one."""
    words = getattr(args, "words", [args.command])
    seed = {"seed": args.seed} if hasattr(args, "seed") else {}
    return {"command": shlex.join(["onespike", *map(str, words)]), **seed, "versions": versions.environment()}
