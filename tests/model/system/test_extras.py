# SPDX-License-Identifier: Apache-2.0
"""Whatever package is missing, its sentence names the extra that brings it."""

import ast
import sys
import tomllib

import pytest

import onespike
from onespike.model.errors import OneSpikeError
from onespike.model.system.extras import EXTRAS, extra_of, missing
from paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("hw", "model", "sim", "fpga", "onespike")
ALWAYS = {"amaranth", "numpy", "rich", "threadpoolctl"}  # what everybody has


def imported() -> set[str]:
    """Packages of others that our sources import, anywhere."""
    found = set()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)


def test_every_import_has_an_extra():
    assert imported() - ALWAYS <= set(EXTRAS)
    assert {requirement.split(">")[0].split("[")[0] for requirement in PROJECT["dependencies"]} == ALWAYS
    assert set(EXTRAS.values()) <= set(PROJECT["optional-dependencies"])


def test_sentence_of_a_missing_package():
    found = missing("this command needs", ModuleNotFoundError("x", name="cocotb.triggers"))
    assert str(found) == "this command needs cocotb.triggers; run `pip install onespike[sim]`."
    for name in ("torchvision", "", None):
        error = ModuleNotFoundError("x", name=name)
        assert extra_of(name) is None and missing("it needs", error) is error


def test_a_public_name_whose_package_is_missing(monkeypatch):
    """`None` in sys.modules is a package that cannot be imported."""
    monkeypatch.delitem(sys.modules, "onespike.model.training.finetune", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(vars(onespike), "finetune", raising=False)
    with pytest.raises(OneSpikeError, match=r"^finetune needs torch; run `pip install onespike\[torch\]`\.$"):
        _ = onespike.finetune


def test_networks_of_torch_without_torch(monkeypatch, tmp_path):
    (tmp_path / "a.pt2").write_bytes(b"something")
    monkeypatch.delitem(sys.modules, "onespike.model.frontend.importer", raising=False)
    monkeypatch.delattr("onespike.model.frontend.importer", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OneSpikeError, match=r"^PyTorch networks need torch; run `pip install onespike\[torch\]`\.$"):
        onespike.convert(tmp_path / "a.pt2")


def test_a_serial_port_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(OneSpikeError, match=r"^A serial port needs serial; run `pip install onespike\[host\]`\.$"):
        onespike.SerialLink.open("/dev/null")
