# SPDX-License-Identifier: Apache-2.0
"""The public names: each is there, documented and of one home; the examples in their docstrings run as they stand."""

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest
import torch

import onespike
from paths import ROOT

NAMES = [name for name in onespike.__all__ if name != "__version__"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_name_is_there_with_a_docstring():
    assert set(NAMES) == set(onespike._HOME) and dir(onespike) == sorted(onespike.__all__)
    for name in NAMES:
        found = getattr(onespike, name)
        assert found is getattr(importlib.import_module(f"onespike.{onespike._HOME[name]}"), name)
        assert inspect.getdoc(found), f"{name} has no docstring"
    with pytest.raises(AttributeError, match=r"^module 'onespike' has no attribute 'nothing'$"):
        _ = onespike.nothing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_use_names_that_are_there(path):
    """In code, that is behind four spaces or in backquotes."""
    code = re.findall(r"(?m)^    .*$|`[^`\n]+`", path.read_text())
    used = {name for text in code for name in re.findall(r"(?<![\w./-])onespike\.([A-Za-z_]\w*)\(", text)}
    assert used <= set(NAMES)


PUBLIC = {"onespike": onespike, **{name: getattr(onespike, name) for name in NAMES}}
EXAMPLES = {name: text for name, found in PUBLIC.items() if ">>>" in (text := inspect.getdoc(found) or "")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    given = {"module": module.eval(), "images": torch.rand(100, 1, 8, 8), "np": np, name: PUBLIC[name]}
    found = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(EXAMPLES[name], given, name, None, None))
    assert found.attempted and not found.failed


def test_the_quick_start_is_an_example():
    assert {"onespike", "convert", "Dataset", "EngineConfig"} <= set(EXAMPLES)
