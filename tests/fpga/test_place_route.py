# SPDX-License-Identifier: Apache-2.0
"""Place and route in one step, or in two with cells moved in between where the placer knows no timing."""

import json
from pathlib import Path

import pytest

from onespike.fpga import place_route, route
from onespike.fpga.place_route import place_and_route, ways
from onespike.model.system.contents import code
from onespike.model.targets import ECP5, ICE40

ROUTER = ["nextpnr", "--json", "top.json", "--report", "a-report.json", "--log", "a-nextpnr.log", "-q", "--freq", "90"]
PLACED = {"modules": {"top": {"ports": {}, "cells": {}}}}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    found: list[tuple[list[str], str]] = []

    def run_tool(command: list[str], folder: Path, log: str, **_: object) -> str:
        found.append((command, log))
        if "--write" in command:
            (folder / command[command.index("--write") + 1]).write_text(json.dumps(PLACED))
        return ""

    for module in (place_route, route):
        monkeypatch.setattr(module, "run_tool", run_tool)
    return found


def test_one_step(commands: list[tuple[list[str], str]], tmp_path: Path) -> None:
    place_and_route(ROUTER, tmp_path, outputs=("--textcfg", "routed.config"))
    assert commands == [([*ROUTER, "--textcfg", "routed.config"], "a-nextpnr.log")]


def test_cells_move_between_two_steps(
    commands: list[tuple[list[str], str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def refine(path: Path) -> tuple[float, float]:
        seen.append((json.loads(path.read_text()), len(commands)))
        return 20.0, 10.0

    monkeypatch.setattr(place_route, "refine", refine)
    router = [*ROUTER, *ECP5.crowded]
    place_and_route(router, tmp_path, outputs=("--textcfg", "routed.config"))
    (first, log), (second, other) = commands
    assert first == [*router, "--no-route", "--write", "a-placed.json"] and log == "a-nextpnr.log"
    again = ["a-placed.json" if part == "top.json" else "a-route.log" if part == log else part for part in router]
    assert second == [*again, "--no-pack", "--no-place", "--textcfg", "routed.config", "--tmg-ripup"]
    assert other == "a-route.log"
    assert seen == [(PLACED, 1)] and not (tmp_path / "a-placed.json").exists()


def test_caches_tell_ways_apart() -> None:
    assert ways(ECP5)[:2] == [ECP5.crowded, ECP5.usual] and ways(ICE40) == [(), ()]
    assert ways(ECP5)[2:] == [code("onespike.fpga.refine"), code("onespike.fpga.route")]
