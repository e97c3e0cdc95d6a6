# SPDX-License-Identifier: Apache-2.0
"""The wheel: built from the sources alone, installed into a fresh environment, used from a directory of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from networks import random_network
from paths import ROOT

FOLDERS = ("hw", "model", "sim", "fpga", "onespike")
PACKAGING = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def package_folders() -> dict[str, Path]:
    """Every package's name and folder, as the sources have them."""
    found = {}
    for folder in FOLDERS:
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT).parts
            found[".".join(parts if parts[0] == "onespike" else ("onespike", *parts))] = init.parent
    return found


def run(command: list[str | Path], folder: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    run([sys.executable, "-c", build, folder], source)
    (found,) = folder.glob("onespike-*.whl")
    return found


def test_every_folder_is_packaged() -> None:
    assert set(PACKAGING["packages"]) == set(package_folders())


def test_wheel_holds_every_file(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = set()
    for package, folder in package_folders().items():
        data = [path for pattern in PACKAGING["package-data"].get(package, ()) for path in folder.glob(pattern)]
        expected |= {f"{package.replace('.', '/')}/{p.relative_to(folder)}" for p in [*folder.glob("*.py"), *data]}
    assert names == expected
    assert {"onespike/model/cost/area.json", "onespike/sim/harness.v", "onespike/fpga/driver/onespike.c"} <= names
    assert "onespike/py.typed" in names  # or users' type checkers see no annotation of ours


def test_installed_wheel_works_anywhere(wheel: Path, tmp_path: Path) -> None:
    """A folder with modules of the names of ours must not get in the way, either."""
    run([sys.executable, "-m", "venv", "--without-pip", "fresh"], tmp_path)
    python = tmp_path / "fresh/bin/python"
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip3") or "pip"]
    run([*pip, "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel], tmp_path)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip())
    (site / "dependencies.pth").write_text(f"{Path(np.__file__).parents[1]}\n")  # a .pth found there is not read

    work = tmp_path / "work"
    for name in ("model", "hw", "sim"):
        (work / name).mkdir(parents=True)
        (work / f"{name}.py").write_text("raise ImportError('a module of the user')\n")
    random_network(np.random.default_rng(3), (4,), 15).save(work / "net.spike")
    onespike = tmp_path / "fresh/bin/onespike"
    assert "verilog" in run([onespike, "--help"], work)
    assert str(site) in run([python, "-c", "import onespike.model.cost as c; print(c.__file__)"], work)
    run([onespike, "export", "net.spike", "-o", "net.onnx"], work)
    run([onespike, "verilog", "net.spike", "--banks", "1", "--lanes", "4", "-o", "verilog"], work)
    assert (work / "net.onnx").stat().st_size > 100
    assert "module onespike (" in (work / "verilog/onespike.v").read_text()
