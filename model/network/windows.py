# SPDX-License-Identifier: Apache-2.0
"""Windows of a map that are worked off one after the other inside one timestep (Yao et al.; experimental).

    groups 1: the whole map      2: upper and lower half      4: the quarters, row by row
    normal: side / 2 wide, side / 2 apart          dilated: 3 side / 4 wide, side / 4 apart

Dilated windows overlap in the middle; where they do, a place spikes if any of its windows does. The paper condenses
"median spikes", (a + b) / 2 or the sum of four / 4, by comparing them with 0.1: for spikes of 0 and 1 that is their OR.
"""

from __future__ import annotations

import numpy as np

from ..errors import OneSpikeError

GROUPS = (1, 2, 4)
NORMAL, DILATED, BLOCKS = KINDS = ("normal", "dilated", "blocks")  # dilated in alternate layers, or alternate blocks
Region = tuple[slice, slice]  # rows and columns


def regions(height: int, width: int, groups: int, dilated: bool) -> list[Region]:
    """The windows of a map [height, width], in the order in which they run."""
    check_groups(groups)
    rows, columns = spans(height, groups > 1, dilated), spans(width, groups > 2, dilated)
    return [(row, column) for row in rows for column in columns]


def spans(side: int, cut: bool, dilated: bool) -> list[slice]:
    """The windows along one side: two where it is cut, else the whole of it."""
    if not cut:
        return [slice(0, side)]
    if side % parts(dilated):
        raise OneSpikeError(
            f"A side of {side} does not divide into {'dilated' if dilated else 'normal'} windows; it must be a "
            f"multiple of {parts(dilated)}."
        )
    if dilated:
        return [slice(0, 3 * side // 4), slice(side // 4, side)]
    return [slice(0, side // 2), slice(side // 2, side)]


def parts(dilated: bool) -> int:
    """What a side that is cut must be a multiple of."""
    return 4 if dilated else 2


def plan(windows: str, groups: int, blocks: int, layers: int) -> list[list[bool]]:
    """Whether each layer of each block is dilated: every second layer, or every layer of every second block; never one
    of the last block, and none where there is one window.
    """
    check_groups(groups)
    if windows not in KINDS:
        raise OneSpikeError(f"Windows must be one of {', '.join(KINDS)}, not {windows!r}.")
    found = []
    for block in range(blocks):
        free = groups > 1 and block < blocks - 1
        own = [block * layers + layer for layer in range(layers)]
        odd = {NORMAL: lambda _: 0, DILATED: lambda place: place % 2, BLOCKS: lambda place: place // layers % 2 == 0}
        found.append([free and bool(odd[windows](place)) for place in own])
    return found


def check_groups(groups: int) -> None:
    """OneSpikeError for a number of windows that is not known."""
    if groups not in GROUPS:
        raise OneSpikeError(f"Groups (windows of a timestep) must be 1, 2 or 4, not {groups}.")


def cut(maps: np.ndarray, places: list[Region]) -> np.ndarray:
    """Windows [groups, N, C, h, w] of maps [N, C, height, width]."""
    return np.stack([maps[..., rows, columns] for rows, columns in places])


def condense(spikes: np.ndarray, places: list[Region], height: int, width: int) -> np.ndarray:
    """The map [N, C, height, width] of the windows' spikes [groups, N, C, h, w]: the OR where they overlap."""
    found = np.zeros((*spikes.shape[1:-2], height, width), spikes.dtype)
    for window, (rows, columns) in zip(spikes, places, strict=True):
        found[..., rows, columns] |= window
    return found
