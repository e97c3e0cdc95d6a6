# SPDX-License-Identifier: Apache-2.0
"""README.md: its results block is replaced whole and nothing else is touched; what it names exists."""

import re
import textwrap

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.frontend.importer import import_exported
from onespike.parsers.engine import WORKLOADS
from onespike.readme import BEGIN, DEMO, END, _other_cycles, update
from paths import ROOT

FOLDERS = ("docs", "fpga", "hw", "model", "onespike", "sim", "tests")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_update_replaces_the_block_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert update(path, "new")
    assert path.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert not update(path, "new")


@pytest.mark.parametrize("text", ["", f"{BEGIN}", f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}"])
def test_a_readme_without_its_markers_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(OneSpikeError, match=r"once each, in this order\.$"):
        update(path, "new")
    assert path.read_text() == text


def test_the_lines_that_write_a_pt2_run_as_they_stand(tmp_path, monkeypatch):
    import torch

    text = (ROOT / "README.md").read_text()
    lines = textwrap.dedent(text.split("<!-- pt2: begin -->\n")[1].split("<!-- pt2: end -->")[0])
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 3))
    example = torch.rand(2, 1, 6, 6)
    monkeypatch.chdir(tmp_path)
    exec(lines, {"module": module, "example": example})
    graph = import_exported("model.pt2")
    with torch.no_grad():
        np.testing.assert_allclose(graph.run(example.numpy()), module(example).numpy(), atol=1e-5)


def test_the_readme_is_true():
    text = (ROOT / "README.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", text):
        assert re.search(rf"(?m)^{target}:", makefile), target
    from onespike.parsers.parser import build_parser

    commands = set(re.findall(r"(?m)^    ([a-z]+) ", build_parser().format_help()))
    assert set(re.findall(r"`onespike ([a-z]+)[ `]", text)) == commands
    assert set(re.findall(r"(?m)^\| `onespike ([a-z]+)", text)) == commands
    for citation in ("2111.10027", "2306.12742", "2409.08290", "Horowitz"):
        assert citation in text


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_pages_name_files_that_exist(path):
    text = path.read_text()
    named = re.findall(rf"(?<![\w/.-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)", text)
    named = [ROOT / name for name in named if "NAME" not in name]  # what the reader will call it
    named += [path.parent / link for link in re.findall(r"\]\(([^)#:]+)[#)]", text)]
    assert not [str(name) for name in named if not name.exists()]


def test_sources_name_files_that_exist():
    """In comments, docstrings and messages, from the root of the repository; a `thing.py` is made up by a test."""
    name_of_file = re.compile(r"(?<![\w/.-])((?:docs|hw|model|sim|fpga|tests)/[\w./-]*\.(?:py|md|json|c|h))\b")
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".c", ".h")]
    for path in sources:
        named = [name for name in name_of_file.findall(path.read_text()) if not name.endswith("thing.py")]
        assert not [name for name in named if not (ROOT / name).exists()], path


def test_table_of_folders_is_whole():
    """Every room, the file that each is best begun with, and every page."""
    table = (ROOT / "README.md").read_text().split("## Where things are\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1:4] for row in table.splitlines() if row.startswith("| `")]
    folders = [[ROOT / name for name in re.findall(r"`([\w/]+/)`", row[0])] for row in rows]
    for (_, _, first), where in zip(rows, folders, strict=True):
        for name in re.findall(r"`([\w.]+)`", first):
            assert any((folder / name).is_file() for folder in where), name
    rooms = {path.parent for folder in ("hw", "model") for path in (ROOT / folder).glob("*/__init__.py")}
    assert rooms <= {folder for row in folders for folder in row}
    assert set(re.findall(r"`([\w-]+\.md)`", table)) == {page.name for page in PAGES}


def test_the_bench_says_why_its_demo_network_differs():
    """The sentence in the README is the one that `make results` writes."""
    said = _other_cycles({"name": DEMO, "data": "mnist"})
    assert said.count(".") == 1 and f"\n{said}\n" in (ROOT / "README.md").read_text()
    assert DEMO in WORKLOADS
