# SPDX-License-Identifier: Apache-2.0
"""Options of training with windows and fused membranes, for `onespike train`."""

from __future__ import annotations

import argparse

from . import options


def widths(text: str) -> tuple[int, ...]:
    """An argparse type: channels of every block."""
    return tuple(options.number(1, 1024)(part) for part in text.split(","))


def add(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("windows (experimental)")
    group.add_argument(
        "--window-groups",
        type=options.number(-1000, 1000),
        metavar="G",
        help="windows of a timestep, 1, 2 or 4, that run one after the other (default: 4)",
    )
    group.add_argument(
        "--windows",
        choices=("normal", "dilated", "blocks"),
        help="dilated (default): overlapping ones in every second layer; blocks: in every second block; normal: none",
    )
    group.add_argument(
        "--fusion",
        choices=("omega", "sum", "previous", "none"),
        help="of the membranes of the window before and of the layer before (default: omega; others have no integers)",
    )
    group.add_argument("--widths", type=widths, metavar="C,C,..", help="channels of the blocks (default: 8,16,16,32)")
    group.add_argument("--leak", type=float, metavar="L", help="where leaks begin, 0..1 (default: 0.5)")
    group.add_argument("--threshold", type=float, metavar="V", help="of all neurons, not trained (default: 0.5)")
    group.add_argument(
        "--pad", type=options.number(0, 64), metavar="PIXELS", help="of zeros around each image (default: 0)"
    )
    group.add_argument(
        "--fraction-bits", type=options.number(1, 16), metavar="F", help="of an integer membrane (default: 8)"
    )
