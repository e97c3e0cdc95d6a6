# SPDX-License-Identifier: Apache-2.0
"""What a reader is: a valid file of its kind, how such files are damaged, and the function of ours that reads it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mutations import Step

Make = Callable[[Path], Path]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """make: writes all that is read into a folder, and gives the path of the file that is damaged. more: write other
    valid files of the kind. inputs: damaged ones in the test suite. named: a refusal names the file or its folder, as
    it must where a command reads several; else what it is about.
    """

    name: str
    make: Make
    read: Callable[[Path], Any]
    damage: Step
    more: tuple[Make, ...] = ()
    inputs: int = 40
    named: bool = True


def saved(name: str, write: Callable[[Path], Any]) -> Make:
    """One file of this name."""

    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def by_name(readers: Iterable[Reader]) -> dict[str, Reader]:
    found = list(readers)
    assert len({reader.name for reader in found}) == len(found), "two readers of one name"
    return {reader.name: reader for reader in found}
