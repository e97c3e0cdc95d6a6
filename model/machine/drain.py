# SPDX-License-Identifier: Apache-2.0
"""Drain: finished jobs, in job order, become complete sums with their place in the layer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...hw.config import EngineConfig


class Row(NamedTuple):
    """F signed sums with their channels' shifts and their place: see `onespike.hw.engine.drain.tag_layout`."""

    sums: list[int]
    shift: list[int]
    row: int
    first: bool
    last: bool
    row_last: bool
    layer_last: bool


def drain(
    config: EngineConfig,
    layer: Mapping[str, int],
    banks: Sequence[Sequence[Sequence[int]]],
    channels: Sequence[Sequence[tuple[int, int]]],
    previous: Sequence[Sequence[int]] | None = None,
) -> tuple[list[Row], list[list[int]]]:
    """Rows of one layer in order, and the last shadow set of every bank (for the next layer's `previous`).

    layer: the record's fields (some hold one less than what they count); banks: the shadow sets of each bank's jobs in
    turn; channels: rows of F (bias, shift). Golden function of :class:`onespike.hw.engine.drain.Drain`.
    """
    assert len(banks) == config.banks and config.banks % (layer["slices"] + 1) == 0, "slices must divide the banks"
    lanes, width, half = config.fire_lanes, 1 << config.acc_bits, 1 << (config.acc_bits - 1)
    before = [list(shadow) for shadow in previous] if previous is not None else [[0] * config.lanes] * config.banks
    waiting = [list(jobs) for jobs in banks]
    rows: list[Row] = []
    bank = 0
    for pixel in range(layer["pixels"] + 1):
        for place in range(layer["window"] + 1):
            for block in range(layer["blocks"] + 1):
                sums = [0] * config.lanes
                for _ in range(layer["slices"] + 1):
                    shadow = list(waiting[bank].pop(0))
                    assert all(0 <= value < width for value in shadow), f"a shadow set must have {config.acc_bits} bits"
                    sums = [total + now - then for total, now, then in zip(sums, shadow, before[bank], strict=True)]
                    before[bank] = shadow
                    bank = (bank + 1) % config.banks
                for step in range(config.drain_steps):
                    row = block * config.drain_steps + step
                    parameters = channels[layer["channel_base"] + row]
                    total = [s + b for s, (b, _) in zip(sums[step * lanes :][:lanes], parameters, strict=True)]
                    row_last = block == layer["blocks"] and step == config.drain_steps - 1
                    last = place == layer["window"]
                    rows.append(
                        Row(
                            sums=[(value + half) % width - half for value in total],
                            shift=[k for _, k in parameters],
                            row=row,
                            first=place == 0,
                            last=last,
                            row_last=row_last,
                            layer_last=row_last and last and pixel == layer["pixels"],
                        )
                    )
    assert not any(waiting), "some jobs belong to no row"
    return rows, before
