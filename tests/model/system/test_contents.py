# SPDX-License-Identifier: Apache-2.0
"""A job is known by the code that it runs: all of that, and nothing else."""

import subprocess
import sys

import pytest

import campaign_jobs as jobs
from onespike.model.system import contents
from paths import SUPPORT


def names(module):
    return {path.relative_to(contents.ROOM).as_posix() for path in contents.modules(module)}


def test_what_a_campaign_of_networks_depends_on():
    found = names("onespike.sim.campaign")
    assert {"hw/engine/bank.py", "model/network/golden.py", "model/__init__.py", "sim/campaign.py"} <= found
    assert "sim/engine_bench.py" in found  # named in a string: cocotb imports it, in a process of its own
    assert not {path for path in found if path.startswith(("model/frontend", "model/training", "model/convert"))}


def test_a_module_that_is_loaded_is_known():
    code = "import sys; from onespike.model.cost import explore; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.split()
    paths = {contents._path(name) for name in loaded} - {None}
    assert len(paths) > 30 and paths <= contents.modules("onespike.model.cost.explore")


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A package of our own in place of ours: a imports b, and b the package d; c is alone."""
    files = {
        "inner/__init__.py": "", "outer/__init__.py": "", "outer/table.json": "{}", "inner/c.py": "",
        "inner/a.py": "def f():\n    from .b import g\n", "inner/b.py": "from ..outer import d as e\n",
        "outer/d/__init__.py": "from . import inner\n", "outer/d/inner.py": "", "outer/d/more/cells.v": "",
        "outer/late.py": "",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(contents, "ROOM", tmp_path)
    monkeypatch.setattr(contents, "CODE", ("inner", "outer"))
    return tmp_path


def code(module):
    return contents.code.__wrapped__(module)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("inner/a.py", True), ("inner/b.py", True), ("outer/d/inner.py", True), ("outer/d/more/cells.v", True),
     ("outer/table.json", True), ("inner/__init__.py", True), ("inner/c.py", False), ("outer/late.py", False)],
)  # fmt: skip
def test_a_change_counts_where_it_is_run(room, name, counts):
    before = code("onespike.inner.a")
    assert code("onespike.inner.a") == before
    with (room / name).open("a") as file:
        file.write("\n# or is it?\n")
    assert (code("onespike.inner.a") != before) == counts


def test_a_cycle_of_imports_ends(room):
    (room / "inner" / "c.py").write_text("from . import a\n")
    (room / "inner" / "b.py").write_text("from .c import h\n")
    assert {path.name for path in contents.modules("onespike.inner.a")} == {"__init__.py", "a.py", "b.py", "c.py"}


def test_code_of_others():
    """A function of somebody's own module."""
    assert contents.home(jobs.slow) == "campaign_jobs"
    assert SUPPORT / "campaign_jobs.py" in contents.modules("campaign_jobs")
