# SPDX-License-Identifier: Apache-2.0
"""`onespike project`: scripts that build emitted Verilog in Vivado or Quartus."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from .. import tables
from ..fpga.project import write_project
from ..progress import Progress


def run(args: argparse.Namespace, console: Console, progress: Progress) -> dict[str, Any]:
    files = write_project(args.directory, args.tool, args.part, mhz=args.frequency)
    run = {"vivado": "vivado -mode batch -source", "quartus": "quartus_sh -t"}[args.tool]
    rows = [("script", str(files[0])), ("constraints", str(files[1])), ("run it", f"{run} {files[0]}")]
    tables.facts(console, f"Project for {args.tool}, {args.part} at {args.frequency:g} MHz", rows)
    return {"files": [str(path) for path in files], "part": args.part, "frequency_mhz": args.frequency}
