# SPDX-License-Identifier: Apache-2.0
"""Tables: what an engine must hold of the levels of a network's layers and tensors, and the rows of its memory."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...hw.config import TABLES, EngineConfig
from ...hw.engine.tables import table_entry
from ..errors import OneSpikeError
from ..network.codes import CHUNK, Term, factors, field_width, fields_of, level_terms, most_terms
from ..network.spec import Layer, SpikeNet
from .layout import TensorLayout


class Table(NamedTuple):
    """One table of the engine.

    thresholds: between the numbers of its levels, rising. stored: what a layer that fires by it writes for each number:
    the level itself, or for the levels code what its field holds, a number below 0 as it is. terms: of the digits
    0..15 of that code, and then of those of an upper chunk; none where no layer reads it.
    """

    thresholds: tuple[int, ...]
    stored: tuple[int, ...]
    terms: tuple[tuple[Term, ...], ...] = ()


def engine_tables(
    net: SpikeNet, tensors: Map[str, TensorLayout], multiples: tuple[int, ...]
) -> tuple[list[Table], dict[str, int]]:
    """The different tables of a mapped network, and the number of the table that each layer fires by, if any.

    Raises OneSpikeError where an engine cannot hold so many.
    """
    found: list[Table] = []
    numbers: dict[str, int] = {}
    for layer in net.layers:
        if layer.levels is None:
            continue
        known, tensor = layer.levels.levels, tensors[layer.name]
        table = Table(layer.levels.thresholds, known)
        if tensor.code == "levels":
            fields = np.arange(len(known)) - layer.levels.zero if tensor.field == CHUNK else fields_of(known)
            stored = tuple(int(field) for field in fields)
            table = Table(layer.levels.thresholds, stored, field_terms(known, multiples))
        if table not in found:
            found.append(table)
        numbers[layer.name] = found.index(table)
    if len(found) > TABLES[-1]:
        raise OneSpikeError(
            f"The layers have {len(found)} different tables of levels, more than the {TABLES[-1]} that an engine can "
            f"hold; convert with the same levels for more layers."
        )
    return found, numbers


def field_terms(levels: tuple[int, ...], multiples: tuple[int, ...]) -> tuple[tuple[Term, ...], ...]:
    """The terms of each digit of the levels code: of 0..15, and then of those of the upper chunk, if there are two."""
    made: list[tuple[Term, ...]] = [()] * (field_width("levels", 0, levels) // CHUNK << CHUNK)
    for field, level in zip(fields_of(levels), levels, strict=True):
        found = level_terms(level, multiples)
        assert found is not None, f"the level {level} has more terms than an engine makes; `storage.py` refuses it"
        lower, upper = int(field) % (1 << CHUNK), int(field) >> CHUNK
        made[(1 << CHUNK) + upper if upper else lower] = found if level else ()
    return tuple(made)


def count_range(layer: Layer) -> tuple[int, int]:
    """The least and the largest count before a layer's table, at most 0 and at least 0: what lies beyond is clipped."""
    if layer.levels is None:
        return layer.low, layer.groups
    thresholds = layer.levels.thresholds
    return min(0, thresholds[0] - 1), max(0, thresholds[-1])


def table_rows(config: EngineConfig, tables: Sequence[Table]) -> list[int]:
    """The rows of the table memory, from address 0: `config.table_codes` of every table.

    Rows beyond a table's last level have the largest threshold there can be, and what is stored for the last level.
    Golden function of :class:`onespike.hw.engine.tables.Tables`.
    """
    entry, codes = table_entry(config), config.table_codes
    assert len(tables) <= config.tables, f"an engine of {config.tables} tables has no room for {len(tables)}"
    top, most = (1 << config.count_bits) - 1, most_terms(config.worths)
    rows = []
    for number, table in enumerate(tables):
        assert len(table.stored) <= codes, f"table {number} has more than {codes} levels"
        assert len(table.thresholds) + 1 == len(table.stored), f"table {number} has one threshold fewer than levels"
        assert all(a < b for a, b in zip(table.thresholds, table.thresholds[1:], strict=False)), "thresholds must rise"
        assert all(-top - 1 <= t <= top for t in table.thresholds), f"thresholds must reach {top} at most"
        assert all(-1 << config.code_bits <= value < 1 << config.code_bits for value in table.stored), "too wide a code"
        assert len(table.terms) <= config.term_fields, f"table {number} has more than {config.term_fields} digits"
        assert not any(table.terms[:: 1 << CHUNK]), f"table {number}: digit 0 must have no terms"
        for row in range(codes):
            terms = table.terms[row] if row < len(table.terms) else ()
            assert len(terms) <= most, f"table {number}: digit {row} has more than {most} terms"
            fields = [
                {"multiple": factors(config.worths).index(t.multiple), "shift": t.shift, "negative": t.negative}
                for t in terms
            ]
            values = {
                "threshold": 0 if not row else table.thresholds[row - 1] if row < len(table.stored) else top,
                "value": table.stored[min(row, len(table.stored) - 1)],
                "number": len(terms),
                "terms": fields + [dict.fromkeys(("multiple", "shift", "negative"), 0)] * (most - len(terms)),
            }
            rows.append(entry.const(values).as_value().value)
    return rows
