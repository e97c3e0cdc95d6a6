# SPDX-License-Identifier: Apache-2.0
"""Rounds with a seed: inputs of one reader one after the other, and those that fail, made small."""

import random
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .mutations import MOST, Step, bytes_damaged
from .reader import Reader
from .verdict import Failure, judge


@dataclass(frozen=True, kw_only=True)
class Found:
    """A failing input of a reader, its bytes made as small as that failure allows."""

    reader: str
    failure: Failure
    data: bytes

    def text(self, kept: Path | None = None) -> str:
        """The failure and how to see it again."""
        again = f"make fuzz FUZZ='{self.reader.replace(' ', '_')} --input {kept}'" if kept else f"{self.data[:300]!r}"
        return f"{self.reader}: {self.failure.kind} ({len(self.data)} bytes)\n{self.failure.text}\nagain: {again}"


class Bench:
    """A reader with its folder of valid files, in one of which each input is put."""

    def __init__(self, reader: Reader, folder: Path):
        self.reader, self.folder = reader, folder / "files"
        self.spare = folder / "valid"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.spare.mkdir(parents=True, exist_ok=True)
        self.seeds: list[bytes] = []
        for make in (reader.make, *reader.more):
            shutil.rmtree(self.spare)
            self.spare.mkdir()
            self.seeds.append(make(self.spare).read_bytes())
        shutil.rmtree(self.spare)
        self.folder.mkdir()
        self.path = reader.make(self.folder)
        self.valid = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def try_one(self, data: bytes) -> Failure | None:
        """The verdict on an input; what its reading has left in the folder is taken away."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(data)
        try:
            return judge(self.reader, self.path)
        finally:
            self._tidy()

    def damaged(self, data: bytes, rng: random.Random) -> bytes:
        """Damage after the reader's kind; to what is damaged beyond that, as bytes."""
        try:
            return self.reader.damage(data, rng)[:MOST]
        except Exception:  # whatever an encoder makes of a tree that is none
            return bytes_damaged(data, rng)

    def _tidy(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_file() and path not in self.valid:
                path.unlink()
        for path, content in self.valid.items():
            if path != self.path and (not path.is_file() or path.read_bytes() != content):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def rounds(bench: Bench, inputs: int, seed: int = 0, damage: Step | None = None) -> dict[str, Found]:
    """Failures by kind, of so many inputs that follow from the seed."""
    found: dict[str, Found] = {}
    step = damage or bench.damaged
    for number in range(inputs):
        rng = random.Random(f"{bench.reader.name} {seed} {number}")
        data = step(bench.seeds[number % len(bench.seeds)], rng)
        if rng.random() < 0.2:
            data = step(data, rng)
        failure = bench.try_one(data)
        if failure is not None and failure.kind not in found:
            found[failure.kind] = smaller(bench, data, failure)
    return found


def smaller(bench: Bench, data: bytes, failure: Failure, tries: int = 300) -> Found:
    """An input that fails in the same way with fewer bytes, or with more of them equal to those of a valid file."""

    def same(candidate: bytes) -> bool:
        found = bench.try_one(candidate)
        return found is not None and found.kind == failure.kind

    data = _shortened(data, same, tries) if not failure.kind.startswith("hang") else data
    return Found(reader=bench.reader.name, failure=bench.try_one(data) or failure, data=data)


def _shortened(data: bytes, same: Callable[[bytes], bool], tries: int) -> bytes:
    """Pieces left out, from halves down to single bytes, while the failure stays."""
    size = max(1, len(data) // 2)
    while tries > 0 and data:
        at = 0
        while at < len(data) and tries > 0:
            candidate = data[:at] + data[at + size :]
            tries -= 1
            if same(candidate):
                data = candidate
            else:
                at += size
        if size == 1:
            break
        size = max(1, size // 2)
    return data


def name_of(data: bytes) -> str:
    """Under which an input is kept."""
    return f"{zlib.crc32(data):08x}-{len(data)}"
