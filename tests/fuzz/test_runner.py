# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: what it keeps, what it prints, and how a failure is seen again."""

import importlib.util
import sys

import pytest

from fuzz import __main__ as runner
from fuzz.mutations import text_damaged
from fuzz.reader import Reader, saved


@pytest.fixture
def bad(monkeypatch):
    def read(path):
        assert b"words" in path.read_bytes()

    reader = Reader(name="a b", make=saved("a.txt", lambda path: path.write_text("some words")), read=read,
                    damage=text_damaged)  # fmt: skip
    monkeypatch.setattr(runner, "READERS", {"a b": reader})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["fuzz", *map(str, arguments)])
    return runner.main()


def test_failures_are_kept_and_seen_again(bad, monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--seconds", 1, "--folder", tmp_path) == 1
    out = capsys.readouterr().out
    kept = list((tmp_path / "a_b" / "failures").iterdir())
    assert kept and "AssertionError in test_runner.py:read" in out and f"--input {kept[0]}" in out
    assert out.splitlines()[0].startswith("1 readers, 1 s, by chance")
    assert run(monkeypatch, "a_b", "--folder", tmp_path, "--input", kept[0]) == 1
    assert "AssertionError" in capsys.readouterr().out
    (tmp_path / "good").write_text("words")
    assert run(monkeypatch, "a_b", "--folder", tmp_path, "--input", tmp_path / "good") == 0


def test_mistakes(bad, monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "c") == 2
    assert capsys.readouterr().err == "fuzz: there is no reader 'c'; choose from a_b.\n"
    assert run(monkeypatch, "a_b", "--folder", tmp_path, "--input", tmp_path / "none") == 2
    assert capsys.readouterr().err == "fuzz: --input needs a file and the name of its reader.\n"
