# SPDX-License-Identifier: Apache-2.0
"""What mutants are made of: files, their tests, what is known to be equivalent, and the verdicts that are kept."""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..model.errors import OneSpikeError
from ..model.system import bounded, contents
from ..model.system.files import make_folder, write_atomically
from .mutations import Mutation, drawn, mutations

FOLDERS = ("hw", "hw/engine", "hw/fronts", "model/machine", "model/neurons", "model/network")
LISTED = "tests/mutants.toml"  # which tests are a file's, where names do not say it, and what is equivalent
LEAST = 2  # mutations of a file that are drawn
EACH = 100  # mutations that it has for each further one


@dataclass(frozen=True)
class Verdict:
    """how: "killed", "timeout" (killed, too, by a test that does not end) or "survived"; test: the one that failed.

    seconds: of processor time.
    """

    how: str
    test: str = ""
    seconds: float = 0.0


class Tree:
    """A tree with sources and tests, and what `tests/mutants.toml` says of them."""

    def __init__(self, root: Path):
        self.root = root
        listed = tomllib.loads(bounded.text(root / LISTED))
        self.tests: dict[str, list[str]] = listed.get("tests", {})
        self.equivalent = {(e["file"], e["line"], e["change"]): e["reason"] for e in listed.get("equivalent", [])}
        self._require_current()

    def files(self) -> list[str]:
        """Every source file that is mutated."""
        return [
            f"{folder}/{path.name}"
            for folder in FOLDERS for path in sorted((self.root / folder).glob("*.py")) if path.name != "__init__.py"
        ]  # fmt: skip

    def tests_of(self, file: str) -> list[str]:
        """The test files of its name, that of the hardware for its golden function, and those that are listed."""
        stem = Path(file).stem
        folder = Path(file).parent.as_posix()
        rooms = [folder, "hw/engine"] if folder == "model/machine" else [folder]
        same = [f"tests/{room}/test_{stem}.py" for room in rooms]
        found = [test for test in [*same, *self.tests.get(file, [])] if (self.root / test).is_file()]
        if not found:
            raise OneSpikeError(f"No test has the name of {file}; write {same[0]}, or name one in {LISTED}.")
        return list(dict.fromkeys(found))

    def drawn(self, seed: int, more: int, wanted: Sequence[str]) -> list[Mutation]:
        """The mutations to try; `more` times as many as usual, of files whose names match one of `wanted`."""
        found = []
        for file in self.files():
            if not wanted or any(fnmatch.fnmatch(file, pattern) for pattern in wanted):
                source = (self.root / file).read_bytes()
                every = mutations(file, source)
                found += drawn(every, source, more * (LEAST + len(every) // EACH), seed)
        return found

    def reason(self, mutation: Mutation) -> str:
        """Why no test can notice it; empty where one should."""
        return self.equivalent.get((mutation.file, mutation.line, mutation.change), "")

    def _require_current(self) -> None:
        """OneSpikeError for an entry that no longer names a mutation: a line that has changed may have a fault now."""
        files = self.files()
        there = {
            (m.file, m.line, m.change)
            for file in {file for file, _, _ in self.equivalent} & set(files)
            for m in mutations(file, (self.root / file).read_bytes())
        }
        for file, line, change in self.equivalent:
            if (file, line, change) not in there:
                raise OneSpikeError(
                    f"{LISTED} names a mutation that is not there: {file}: {line}: {change}; look at that line again."
                )
        for file, tests in self.tests.items():
            for test in tests:
                if file not in files or not (self.root / test).is_file():
                    raise OneSpikeError(f"{LISTED} gives {file} the tests {test}, but one of them is not there.")


class Kept:
    """Verdicts by what they depend on: mutation and source; of survivors, what their tests say, too."""

    def __init__(self, root: Path, folder: Path):
        self.root, self.folder = root, folder

    def read(self, mutation: Mutation, tests: Sequence[str]) -> Verdict | None:
        kept = bounded.kept(self._path(mutation), lambda found: found)
        if kept is None or (kept["how"] == "survived" and kept["tests"] != self._of(tests)):
            return None
        return Verdict(kept["how"], kept["test"], kept["seconds"])

    def write(self, mutation: Mutation, tests: Sequence[str], verdict: Verdict) -> None:
        make_folder(self.folder)
        kept = {"mutation": mutation.name, "tests": self._of(tests), **vars(verdict)}
        write_atomically(self._path(mutation), json.dumps(kept) + "\n")

    def _path(self, mutation: Mutation) -> Path:
        source = (self.root / mutation.file).read_bytes()
        return self.folder / f"{contents.digest(source, mutation.name, mutation.start)[:32]}.json"

    def _of(self, tests: Sequence[str]) -> str:
        return contents.digest([(self.root / test).read_bytes() for test in tests])[:32]
