# SPDX-License-Identifier: Apache-2.0
"""`onespike split`: parts, figures, and what cannot be split."""

import json

import numpy as np
import pytest

from command_line import fails
from networks import random_codes, residual
from onespike.cli import main
from onespike.model.network import golden
from onespike.model.network.spec import SpikeNet
from onespike.model.network.split import run, split

ENGINE = ("--banks", "1", "--lanes", "4")


@pytest.fixture
def net(tmp_path):
    residual().save(tmp_path / "net.spike")
    return tmp_path / "net.spike"


def test_parts_are_networks(net, tmp_path, capsys):
    out, figures = tmp_path / "out", tmp_path / "out.json"
    words = ["split", str(net), "--seed", "1", *ENGINE, "-o", str(out), "--json", str(figures), "--clock", "10"]
    assert main([*words, "--boards", "4"]) == 0 and len(list(out.iterdir())) == 4
    assert main([*words, "--boards", "3"]) == 0
    shown, found = capsys.readouterr().out, json.loads(figures.read_text())
    assert sorted(path.name for path in out.iterdir()) == ["part1.spike", "part2.spike", "part3.spike"]
    nets = [SpikeNet.load(part["file"]) for part in found["parts"]]
    at = [each.meta["part"][0] for each in nets[1:]]
    parts = split(residual(), at)
    assert [each.hash for each in nets] == [part.net.hash for part in parts]
    codes = random_codes(np.random.default_rng(1), residual(), 2)
    np.testing.assert_array_equal(run(parts, codes), golden.run(residual(), codes))
    assert found["interval_cycles"] == max(part["interval"] for part in found["parts"])
    assert found["latency_cycles"] == pytest.approx(sum(part["cycles"] for part in found["parts"]))
    assert "Mbit/s of the busiest board" in shown and f"{found['latency_cycles']:,.0f} cycles in all boards" in shown


def test_what_cannot_be_split(net, tmp_path, capsys):
    words = ("split", net, *ENGINE, "-o", tmp_path / "out")
    fails(capsys, "A network of 4 layers goes over at most 4 boards, not 5; take fewer.", *words, "--boards", 5)
    assert main([*map(str, words), "--boards", "2", "--target", "ice40", "--set", "weight_depth=60000"]) == 2
    error = capsys.readouterr().err
    assert "onespike: No split over 2 boards fits: part 1 of 2 needs " in error and "block RAMs, " in error
    assert error.endswith("; take more boards or a smaller engine.\n") and not (tmp_path / "out").exists()
