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
    for name in re.findall(r"`((?:docs|hw|model|sim|onespike)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
    from onespike.parsers.parser import build_parser

    commands = build_parser().format_help()
    for name in set(re.findall(r"`onespike ([a-z]+) ", text)):
        assert f"    {name} " in commands, name
    for citation in ("2111.10027", "2306.12742", "2409.08290", "Horowitz"):
        assert citation in text


def test_the_bench_says_why_its_demo_network_differs():
    """The sentence in the README is the one that `make results` writes."""
    said = _other_cycles({"name": DEMO, "data": "mnist"})
    assert said.count(".") == 1 and f"\n{said}\n" in (ROOT / "README.md").read_text()
    assert DEMO in WORKLOADS
