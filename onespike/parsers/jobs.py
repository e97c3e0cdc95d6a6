# SPDX-License-Identifier: Apache-2.0
"""Options of commands whose work is many jobs: where these run, and where what they find is kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..model.system import executors
from . import options


def executor(text: str) -> str:
    """An argparse type: where jobs run."""
    try:
        return executors.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_executor(parser: argparse.ArgumentParser, job: str, kept: str, default: str | None = "local") -> None:
    """Where the command's jobs run, and where their results are kept; job: what one of them is."""
    group = parser.add_argument_group("jobs", f"Each is {job}; docs/campaigns.md says more.")
    usual = "local" if default else "no jobs: threads of this process"
    group.add_argument(
        "--executor",
        type=executor,
        default=default,
        metavar="WHERE",
        help=f"where jobs run: local, local:N (N processes; local: one for each core), or dask://host:port, a Dask "
        f"scheduler (default: {usual})",
    )
    group.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help=f"results of finished jobs, which a later run takes from there (default: {kept})",
    )


def add_seeds(parser: argparse.ArgumentParser, what: str) -> None:
    """How many seeds place and route runs with."""
    parser.add_argument(
        "--seeds",
        type=options.number(1, 1000),
        default=1,
        metavar="N",
        help=f"run place and route with N seeds, --seed and those after it; {what} (default: 1)",
    )
