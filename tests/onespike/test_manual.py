# SPDX-License-Identifier: Apache-2.0
"""The manual: it builds without a warning, every page is in its contents, and its quick start runs as it stands."""

import json
import os
import re
import subprocess
import sys

import pytest

from paths import ROOT

BLOCK = re.compile(r"```(python|sh)\n(.*?)```", re.DOTALL)
QUICK = (ROOT / "docs" / "quick-start.md").read_text()


def test_it_builds_without_a_warning(tmp_path):
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    made = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    pages = {page.stem for page in (tmp_path / "site").glob("*.html")}
    assert pages == {page.stem for page in (ROOT / "docs").glob("*.md")} | {"404"}
    home = (tmp_path / "site" / "index.html").read_text()
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', home)  # it reads without a network


def test_the_timing_diagram_shows_its_source():
    """`wavedrompy --input start.json --svg start.svg`, and a white ground behind the definitions."""
    source = re.search(r"WaveDrom JSON.*?\n\n((?: {4}.*\n)+)", (ROOT / "docs" / "verilog.md").read_text())
    signals = json.loads(source[1])["signal"]
    drawn = (ROOT / "docs" / "start.svg").read_text()
    assert re.findall(r"<tspan[^>]*>([^<]+)<", drawn) == [
        text for signal in signals for text in (signal["name"], *signal.get("data", ()))
    ]
    bricks = sum(2 * len(signal["wave"]) + signal["wave"].count("|") for signal in signals)
    assert len(re.findall(r'href="#([^"]+)"', drawn)) == bricks


def commands(text):
    """The words of every command line of the quick start, in order."""
    blocks = [body for kind, body in BLOCK.findall(text) if kind == "sh"]
    return [line.split() for body in blocks for line in body.strip().splitlines()]


def quick_start(folder, monkeypatch, capsys, simulated):
    """What the quick start's commands print, after its Python; without or with those that need Verilator."""
    from onespike.cli import main

    monkeypatch.chdir(folder)
    (python,) = [body for kind, body in BLOCK.findall(QUICK) if kind == "python"]
    exec(compile(python, "quick-start.md", "exec"), {"__name__": "prepare"})
    for name, *words in commands(QUICK):
        assert name == "onespike"
        if words[0] == "simulate" and not simulated:
            continue
        if not simulated and "simulate.json" in words:
            words.remove("simulate.json")
        assert main(words) == 0, words
    return capsys.readouterr().out


def test_the_quick_start_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    said = quick_start(tmp_path, monkeypatch, capsys, simulated=False)
    found = re.search(r"accuracy +([\d.]+) % of 500 images \(test.npz\); ([\d.]+) % in floating", said)
    integers, real = found.groups()
    assert float(real) > 98 and float(integers) > float(real) - 2
    assert (tmp_path / "verilog" / "manifest.json").is_file() and (tmp_path / "motor.html").is_file()


@pytest.mark.slow
def test_the_quick_start_in_hardware(tmp_path, monkeypatch, capsys):
    quick_start(tmp_path, monkeypatch, capsys, simulated=True)
    assert '"mismatches": 0' in (tmp_path / "simulate.json").read_text()
