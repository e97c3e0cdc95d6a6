# SPDX-License-Identifier: Apache-2.0
"""A copy of the tree in a temporary folder, into which one mutation after another is put, and tests run there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..model.errors import OneSpikeError
from ..model.system import contents
from ..model.system.files import make_folder
from .mutant_tree import Verdict
from .mutations import Mutation

SECONDS = 40  # of processor time that one test may take
WALL = 1200  # seconds that all tests of a file may take
COPIED = (*contents.CODE, "onespike", "tests", "docs")
KEPT = 2000  # characters of what pytest said, where it could not begin


class Host:
    """A copy of a tree in a folder of its own, and the process that runs tests in it."""

    def __init__(self, root: Path, room: Path):
        self.room = room
        ignored = shutil.ignore_patterns("__pycache__", "*.tmp")
        for folder in COPIED:
            if (root / folder).is_dir():
                shutil.copytree(root / folder, room / folder, ignore=ignored)
        for path in root.iterdir():
            if path.is_file():
                shutil.copy(path, room)
        make_folder(room / "onespike")
        for folder in contents.CODE:  # as setuptools maps them
            if (room / folder).is_dir():
                (room / "onespike" / folder).symlink_to(room / folder)
        environment = os.environ | {
            "PYTHONPATH": str(room), "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they would take most of the time
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("mutant_host.py"))], cwd=room, env=environment,
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, tests: Sequence[str], options: Sequence[str] = ()) -> dict[str, Any]:
        """Runs tests until one fails; OneSpikeError where they cannot be run."""
        log = self.room / "log.txt"
        order = {"tests": [*tests], "options": [*options], "seconds": SECONDS, "wall": WALL, "log": str(log)}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(answer) if answer else {"how": "error", "code": "none"}
        if found["how"] == "error":
            text = log.read_text()[-KEPT:] if log.exists() else ""
            raise OneSpikeError(f"The tests {', '.join(tests)} cannot be run (status {found['code']}): {text}")
        return found

    def trial(self, mutation: Mutation, tests: Sequence[str]) -> Verdict:
        """What the tests say of a mutation; the copy is as before afterwards."""
        path = self.room / mutation.file
        whole = path.read_bytes()
        try:
            self._put(path, mutation.apply(whole))
            found = self.run(tests)
        finally:
            self._put(path, whole)
        how = {"passed": "survived", "failed": "killed", "timeout": "timeout"}[found["how"]]
        return Verdict(how, "" if how == "survived" else found["test"], round(found["cpu"], 1))

    def _put(self, path: Path, source: bytes) -> None:
        """Python knows compiled files by the second of their source: they go."""
        path.write_bytes(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def host(root: Path) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="onespike-mutants-") as folder:
        found = Host(root, Path(folder) / "tree")
        try:
            yield found
        finally:
            found.close()
