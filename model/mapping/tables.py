# SPDX-License-Identifier: Apache-2.0
"""Tables: what an engine must hold of the levels of a network's layers and tensors."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass

import numpy as np

from ..network import codes
from ..network.spec import SpikeNet
from .layout import TensorLayout

MOST_TABLES = 8


@dataclass(frozen=True)
class Table:
    """One table of the engine.

    thresholds: between the numbers of its levels; stored: what a layer that fires by it writes for each number (the
    level itself, or for the levels code the number of the level, from the level 0 on); levels: those whose terms an
    event extractor must know, none where no layer reads their code.
    """

    thresholds: tuple[int, ...]
    stored: tuple[int, ...]
    levels: tuple[int, ...]


def engine_tables(net: SpikeNet, tensors: Map[str, TensorLayout]) -> tuple[list[Table], dict[str, int]]:
    """The different tables of a mapped network, and the number of the table that each layer fires by, if any."""
    found: list[Table] = []
    numbers: dict[str, int] = {}
    for layer in net.layers:
        if layer.levels is None:
            continue
        known, tensor = layer.levels.levels, tensors[layer.name]
        stored = known
        if tensor.code == "levels":
            stored = tuple(int(number) for number in np.arange(len(known)) - layer.levels.zero)
        table = Table(layer.levels.thresholds, stored, tensor.levels)
        if table not in found:
            found.append(table)
        numbers[layer.name] = found.index(table)
    return found, numbers


def terms(table: Table, multiples: tuple[int, ...]) -> list[tuple[codes.Term, ...]]:
    """The terms of each of the 16 fields of the levels code."""
    made: list[tuple[codes.Term, ...]] = [()] * (1 << codes.CHUNK)
    for field, level in zip(codes.fields_of(table.levels), table.levels, strict=True) if table.levels else ():
        found = codes.level_terms(level, multiples)
        assert found is not None, f"the level {level} has more terms than an engine makes; `storage.py` refuses it"
        made[field] = found
    return made
