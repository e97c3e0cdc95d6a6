# SPDX-License-Identifier: Apache-2.0
"""Every place in which the product opens or takes apart a file has a reader that is fuzzed, or a reason why not."""

import ast
from pathlib import Path

import pytest

from fuzz.openings import CALLS, OPENINGS
from fuzz.readers import READERS
from paths import ROOT

FOLDERS = ("hw", "model", "sim", "fpga", "onespike")


def dotted(node: ast.expr) -> str:
    """The name that is called, such as json.loads; of a method of something computed, its own name after a dot."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def opened(text: str) -> dict[str, str]:
    """Function -> what it calls that opens or takes apart a file, of the source of a module."""
    found: dict[str, str] = {}

    def visit(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = node.name
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            last = name.rpartition(".")[2]
            if name in CALLS or (f".{last}" in CALLS and "." in name):
                found.setdefault(where, name)
        for child in ast.iter_child_nodes(node):
            visit(child, where)

    visit(ast.parse(text), "")
    return found


def places() -> set[str]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {f"{path.relative_to(ROOT)}:{where}" for path in paths for where in opened(path.read_text())}


def test_no_reader_is_forgotten():
    missing = sorted(places() - OPENINGS.keys())
    assert not missing, f"say in tests/support/fuzz/openings.py who fuzzes, or why nobody does: {missing}"


def test_no_place_is_made_up():
    assert not sorted(OPENINGS.keys() - places())


def test_every_reader_is_named():
    named = {name for entry in OPENINGS.values() if isinstance(entry, tuple) for name in entry}
    assert not named - READERS.keys()
    assert READERS.keys() - named == {"board by UART", "board by SPI", "requests", "replies"}  # they read no file


def test_reasons_are_reasons():
    assert all(len(entry) > 20 for entry in OPENINGS.values() if isinstance(entry, str))


@pytest.mark.parametrize(
    "line",
    ["open(path)", "path.open('rb')", "json.load(file)", "np.load(path)", "torch.load(path)", "onnx.load(path)",
     "path.read_text()", "Path(name).read_bytes()", "h5py.File(path)", "bounded.opened(path)", "(a / b).read_bytes()"],
)  # fmt: skip
def test_a_new_opening_is_seen(line):
    assert list(opened(f"class A:\n    def read(self, path):\n        return {line}\n")) == ["read"]


def test_words_that_open_nothing():
    assert opened("def f(net, text):\n    return net.load(text), text.read(), json.dumps(1)\n") == {}


def test_files_are_where_they_are_said_to_be():
    assert all((ROOT / place.partition(":")[0]).is_file() for place in OPENINGS)
    assert Path(ROOT / "tests/support/fuzz/readers.py").is_file()
