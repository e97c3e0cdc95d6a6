# SPDX-License-Identifier: Apache-2.0
"""`report` and energy: every verdict names the energy that it means, and what it lacks is said in one sentence."""

import json
import re

import numpy as np
import pytest

from command_line import ENGINE, small_net, write_idx
from onespike.cli import main


@pytest.fixture
def words(tmp_path):
    """The command on a small network and three images, with a file of figures."""
    small_net().save(tmp_path / "net.spike")
    rng = np.random.default_rng(0)
    data = write_idx(tmp_path / "images", rng.integers(0, 256, (3, 6, 6)), rng.integers(0, 3, 3))
    return ["report", str(tmp_path / "net.spike"), "--data", str(data), "--images", "3", *ENGINE]


def test_no_verdict_without_the_energy_that_it_means(words, tmp_path, capsys):
    """Terminal and figures alike; and the rivals' figures agree with the table that they come from."""
    assert main([*words, "--json", str(tmp_path / "report.json")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    figures = json.loads((tmp_path / "report.json").read_text())
    energy = figures["energy"]
    said = [*energy["sentences"], *energy["reuse_sentences"], *(flip["sentence"] for flip in energy["sensitivity"])]
    for sentence in said:
        assert sentence in printed
    verdicts = [part for part in re.split(r"(?=Against the )", printed) if re.search(r"\b(wins|loses)\b", part)]
    assert len(verdicts) == len(said)
    for verdict in verdicts:
        assert "by energy with memory" in verdict or "price of memory" in verdict or "byte of weights costs" in verdict
    systems = {system["name"]: system for system in energy["systems"]}
    for one in energy["reuse"]:
        if one["pixels"] == 1:
            assert one["total_uj"] == pytest.approx(systems[one["rival"]]["memory_uj"])
        assert one["ours_share"] == pytest.approx(systems["onespike"]["memory_uj"] / one["total_uj"])
    assert "Effective_MACs" in figures["neurobench"]["synaptic_operations"] and "NeuroBench terms" in printed
    assert figures["wall"] is None and "At the wall" not in printed


def test_at_the_wall(words, tmp_path, capsys):
    """2 W over a clock of 50 MHz divided by the cycles of an image."""
    assert main([*words, "--board-watts", "2", "--frequency", "50", "--json", str(tmp_path / "report.json")]) == 0
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["wall"]["joules"] == pytest.approx(2 * figures["cycles"]["interval"] / 50e6)
    assert "2 W over" in capsys.readouterr().out
    assert main([*words, "--target", "ecp5-25k", "--frequency", "50", "--json", str(tmp_path / "chip.json")]) == 0
    wall = json.loads((tmp_path / "chip.json").read_text())["wall"]
    assert wall["watts"] == pytest.approx(0.1247) and "the board takes more" in wall["source"]


@pytest.mark.parametrize(("options", "sentence"), [
    (["--board-watts", "2"], "--board-watts needs the clock: add --frequency MHZ, or --from with a file of `onespike"),
    (["--board-watts", "-2", "--frequency", "50"], "Argument --board-watts: must be a number in 1e-06..1000000.0, not"),
    (["--board-watts", "2", "--frequency", "none"], "Argument --frequency: must be a number in 0.1..5000, not 'none'"),
])  # fmt: skip
def test_watts_and_clocks_that_are_none(words, capsys, options, sentence):
    assert main([*words, *options]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
