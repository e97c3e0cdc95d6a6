# SPDX-License-Identifier: Apache-2.0
"""Mutation testing, on a tree of one file: what is killed, what survives, what is equivalent, what is kept."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from onespike.model.errors import OneSpikeError
from onespike.sim.mutant_tree import LISTED, Tree, Verdict
from onespike.sim.mutants import campaign, report
from onespike.sim.mutations import drawn, mutations
from paths import ROOT

SOURCE = '''"""A file."""


def larger(a: int, b: int) -> int:
    """The larger one of 2."""
    assert a != 17, "never 17"
    return a if a > b else b


def spare(a: int) -> int:
    return a % 8
'''
TEST = """from onespike.hw.thing import larger


def test_larger():
    assert larger(1, 2) == larger(2, 1) == 2
"""
EQUIVALENT = """[[equivalent]]
file = "hw/thing.py"
line = "return a if a > b else b"
change = "a > b -> a >= b"
reason = "both are the larger one"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in {"hw/thing.py": SOURCE, "tests/hw/test_thing.py": TEST, LISTED: EQUIVALENT,
                       "onespike/__init__.py": ""}.items():  # fmt: skip
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tree"


def test_campaign(tree, tmp_path, monkeypatch):
    console = Console(record=True, width=160, file=io.StringIO())
    verdicts = campaign(tree, tmp_path / "keep", more=10)
    how = {mutation.change: verdict.how for mutation, verdict in verdicts.items()}
    assert how == {
        "a > b -> a >= b": "survived", "a > b -> (not (a > b))": "killed", "a % 8 -> a // 8": "survived",
        "8 -> 7 in `return a % 8`": "survived", "8 -> 9 in `return a % 8`": "survived",
    }  # fmt: skip
    killed = [verdict for verdict in verdicts.values() if verdict.how == "killed"]
    assert [verdict.test for verdict in killed] == ["tests/hw/test_thing.py::test_larger"]
    assert (tree / "hw/thing.py").read_text() == SOURCE
    assert report(Tree(tree), verdicts, console) == 1 / 4
    text = console.export_text()
    assert "survived: hw/thing.py:11: a % 8 -> a // 8" in text and "a >= b" not in text

    # A second run runs nothing; new tests meet the survivors alone.
    monkeypatch.setattr("onespike.sim.mutants.Host.trial", lambda self, mutation, tests: Verdict("survived"))
    assert campaign(tree, tmp_path / "keep", more=10) == verdicts
    (tree / "tests/hw/test_thing.py").write_text(TEST + "\n\ndef test_nothing():\n    pass\n")
    monkeypatch.setattr("onespike.sim.mutants.Host.trial", lambda self, mutation, tests: Verdict("timeout"))
    monkeypatch.setattr("onespike.sim.mutants._require_sound", lambda *given: None)
    again = campaign(tree, tmp_path / "keep", more=10)
    assert [v.how for v in again.values()].count("timeout") == 4


def test_a_test_that_fails_by_itself_kills_nothing(tree, tmp_path):
    (tree / "tests/hw/test_thing.py").write_text(TEST.replace("== 2", "== 3"))
    with pytest.raises(OneSpikeError, match=r"larger fails on the tree as it is; mend it first: no mutant counts\.$"):
        campaign(tree, tmp_path / "keep")


def test_every_file_of_ours_has_its_tests():
    tree = Tree(ROOT)  # an error where an equivalent that is listed has gone
    assert len(tree.files()) > 80 and all(tree.tests_of(file) for file in tree.files())


def test_what_is_listed_must_be_there(tree):
    assert Tree(tree).tests_of("hw/thing.py") == ["tests/hw/test_thing.py"]
    (tree / "hw/thing.py").write_text(SOURCE.replace("a > b", "a >= b"))
    with pytest.raises(OneSpikeError, match=r"names a mutation that is not there: hw/thing\.py: return a if a > b"):
        Tree(tree)
    (tree / LISTED).write_text('[tests]\n"hw/thing.py" = ["tests/hw/test_something.py"]\n')
    with pytest.raises(OneSpikeError, match="one of them is not there"):
        Tree(tree)


def changes(source: str) -> set[str]:
    return {mutation.change for mutation in mutations("hw/nothing.py", source.encode())}


def test_mutations_of_hardware():
    source = b"""
m.d.comb += [a.eq(b), *(c.eq(d) for c in e)]
m.d.comb += f.eq(Mux(g, h, ~i))
with m.If(j & k):
    m.d.sync += l.eq(n.any())
"""
    assert changes(source.decode()) == {
        "a.eq(b) -> ()", "*(c.eq(d) for c in e) -> *()", "f.eq(Mux(g, h, ~i)) -> ()",
        "a register: m.d.comb += f.eq(Mux(g, h, ~i))", "Mux(g, h, ~i) -> Mux(g, ~i, h)", "~i -> i",
        "j & k -> (j & k) == 0", "j & k -> j | k", "l.eq(n.any()) -> ()", "n.any() -> .all()",
    }  # fmt: skip
    found = mutations("hw/nothing.py", source)
    assert [m.kind for m in drawn(found, source, 4, 1)].count("statement") == 1  # of each kind in turn
    for mutation in found:
        compile(mutation.apply(source), "x", "exec")


def test_what_no_test_can_notice_is_left_out():
    """Texts, widths that are wider, attributes, defaults, assertions and errors."""
    assert not changes('a = Signal(b, name="c", reset_less=True)\nassert a == 1\n')
    assert changes("a = Signal(range(b + 2))") == {"b + 2 -> b - 2", "2 -> 1 in `ignal(range(b + 2))`"}
    assert not changes("a = Signal(b // c)")
    assert not changes('def f(a: int = 3) -> None:\n    """1 + 1"""\n    raise ValueError(f"{a + 1}")\n')
    assert "old > new -> old >= new" not in changes("a = Mux(old > new, old, new)")


def test_bytes_are_not_characters():
    source = "a = 'Θ' if b < c else 'θ'  # Θ\nd = e + f\n".encode()
    (plus,) = [m for m in mutations("hw/nothing.py", source) if m.change == "e + f -> e - f"]
    assert plus.apply(source) == source.replace(b"+", b"-")
