# SPDX-License-Identifier: Apache-2.0
"""`onespike complete`: the script with which a shell completes commands, options, choices and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import outputs
from ..parsers.parser import build_parser
from ..progress import Progress

TYPES = (Path, outputs.target)  # of arguments that are paths
NAMED = ("DATA", "DEVICE")  # what the help calls others that may be
FOLDER = "DIR"


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    import shtab

    parser = build_parser()
    for action in _actions(parser):
        if action.type in TYPES or action.metavar in NAMED:
            action.complete = shtab.DIR if action.metavar == FOLDER else shtab.FILE  # type: ignore[attr-defined]
    text = shtab.complete(parser, args.shell)
    console.out(text.rstrip("\n"), highlight=False)
    return {"shell": args.shell, "script": text}


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
