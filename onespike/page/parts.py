# SPDX-License-Identifier: Apache-2.0
"""What the page is made of: sections of facts, tables and pictures, which `render.py` writes."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from .drawing import Picture


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure as it is read, and as it was measured; value None: words."""

    text: str
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """heads: of the columns; the first cell of a row is its head. shown: open, not folded away."""

    name: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    shown: bool = False

    @property
    def wordy(self) -> list[bool]:
        """Which columns hold words, and are read from the left."""
        columns = [[row[at] for row in self.rows] for at in range(len(self.heads))]
        return [
            all(cell.value is None for cell in column) and any(cell.text != "-" for cell in column)
            for column in columns
        ]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One figure of importance; note: what it is of; origin: the id of the source that measured it, or ""."""

    name: str
    cell: Cell
    note: str = ""
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section. origins: ids of the sources behind its figures; missing: (what, command that measures it), said at
    length where `whole`."""

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    whole: bool = False
    origins: tuple[str, ...] = ()


def words(text: object) -> Cell:
    """A cell that is no number."""
    return Cell(text=str(text))


def number(value: float | None, text: str = "{:,.0f}", scale: float = 1.0) -> Cell:
    """A number, shown by a format of `scale` times it; "-" where there is none."""
    return Cell(text="-") if value is None else Cell(text=text.format(scale * value), value=value)


def percent(value: float | None, digits: int = 1) -> Cell:
    return number(value, f"{{:.{digits}f}} %", 100)


def share(value: float) -> str:
    """A share in whole percent, for sentences."""
    return f"{100 * value:.0f} %"


def cells(*values: Any) -> tuple[Cell, ...]:
    """A row: cells as they are, numbers with thousands, and words."""
    return tuple(
        value if isinstance(value, Cell) else number(value) if isinstance(value, int | float) else words(value)
        for value in values
    )


def several(items: Sized, one: str, many: str = "") -> str:
    """ "1 layer", "3 layers"."""
    return f"{len(items):,} {one if len(items) == 1 else many or f'{one}s'}"
