# SPDX-License-Identifier: Apache-2.0
"""The house: rooms say what lives in them, every room has its floor, and no file is too long to read in one sitting."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paths import ROOT

LONGEST = 400  # lines
FOLDERS = ("hw", "model", "sim", "fpga", "onespike")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def name(path: Path) -> str:
    """What Python calls a file of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "onespike" else ("onespike", *parts)).removesuffix(".__init__")


def test_no_file_is_too_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in ROOT.rglob("*.py")
               if path.relative_to(ROOT).parts[0] in (*FOLDERS, "tests")}  # fmt: skip
    assert not {str(path): lines for path, lines in lengths.items() if lines > LONGEST}


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=name)
def test_room_says_what_lives_there(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text, f"{path} has no docstring"
    if path.parent != ROOT / "onespike":  # the public names tell their own story
        assert "Not" in text, f"{path} does not say what lives elsewhere"


def test_every_module_has_its_floor() -> None:
    """The layers contract covers the whole package, but for the entries that only call `cli`."""
    (floors,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
    rooms = {room for floor in floors for room in floor.replace("|", ":").replace(" ", "").split(":")}
    without = {"onespike", "onespike.__main__", "onespike.hw", "onespike.model"}
    for path in FILES:
        module = name(path)
        assert module in without or any(f"{module}.".startswith(f"{room}.") for room in rooms), f"{module}: no floor"


def test_wall_is_named_when_it_is_crossed(tmp_path: Path) -> None:
    """A copy of the sources in which the golden model asks the cycle model, and hardware imports torch."""
    package = tmp_path / "onespike"
    for path in FILES:
        target = tmp_path / Path(*name(path).split(".")) / "__init__.py" if path.name == "__init__.py" else None
        target = target or (tmp_path / Path(*name(path).split("."))).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    checked = lint(tmp_path)
    assert checked.returncode == 0, checked.stdout
    with (package / "model/network/golden.py").open("a") as file:
        file.write("from ..cost import cycles\n")
    with (package / "hw/queue.py").open("a") as file:
        file.write("import torch\n")
    checked = lint(tmp_path)
    assert checked.returncode == 1
    floors, torch = (contract["name"] for contract in CONTRACTS[:2])
    assert f"{floors} BROKEN" in checked.stdout and f"{torch} BROKEN" in checked.stdout
    assert "onespike.model.network.golden -> onespike.model.cost.cycles" in checked.stdout
    assert "onespike.hw.queue -> torch" in checked.stdout


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
