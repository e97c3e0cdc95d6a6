# SPDX-License-Identifier: Apache-2.0
"""The router is asked for lower and lower clocks, until its first round says that it can reach one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onespike.fpga import route as module
from onespike.fpga.route import BOLD, LATE_STEP, LEAST, PATIENCE, ROUNDS, STEP, aim, hopeless, route
from onespike.fpga.tools import run_tool
from onespike.model.errors import OneSpikeError
from onespike.model.system.processes import Stopped

COMMAND = ["nextpnr", "--json", "placed.json", "--freq", "130", "--log", "route.log"]
NETLIST = {"modules": {"top": {"settings": {"seed": "1", "target_freq": "130000000.000000"}, "cells": {"a": {}}}}}


def rounds(*slow: int) -> str:
    """The log of a router with so many wires that are too slow, round by round."""
    lines = [f"Info:     iter={i} wires=9 overused=3 overuse=4 tmgfail={n} archfail=NA" for i, n in enumerate(slow, 1)]
    return "\n".join(["Info: Running main router loop...", *lines, ""])


def clock(placed: Path) -> float:
    return float(json.loads(placed.read_text())["modules"]["top"]["settings"]["target_freq"]) / 1e6


Router = Callable[[float], list[tuple[float, bool]]]


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Router:
    """What a router that can reach some clock was asked for, and whether it had to keep it."""

    def reaching(reached: float) -> list[tuple[float, bool]]:
        asked: list[tuple[float, bool]] = []

        def pretend(
            command: list[str], folder: Path, log: str, *, hopeless: Callable[[str], bool] | None = None
        ) -> str:
            assert (folder, log) == (tmp_path, "route.log")
            asked.append((clock(folder / "placed.json"), "--tmg-ripup" in command))
            assert (hopeless is not None) == asked[-1][1]
            assert command == [*COMMAND, *(["--tmg-ripup"] if hopeless else [])]
            if hopeless is not None and hopeless(rounds(int(asked[-1][0] > reached), 5)):
                raise Stopped
            return ""

        monkeypatch.setattr(module, "run_tool", pretend)
        (tmp_path / "placed.json").write_text(json.dumps(NETLIST))
        return asked

    return reaching


def test_what_is_asked_for_is_tried_first(router: Router, tmp_path: Path) -> None:
    for command in (COMMAND, [*COMMAND[:1], "--tmg-ripup", *COMMAND[1:]]):  # the router takes the option once
        asked = router(130)
        route(command, tmp_path, "route.log", tmp_path / "placed.json", 1000 / (130 / BOLD))
        assert asked == [(130, True)]


def test_lower_clocks_until_one_is_reached(router: Router, tmp_path: Path) -> None:
    asked = router(90.5)
    route(COMMAND, tmp_path, "route.log", tmp_path / "placed.json", 1000 / 80)
    wanted = [BOLD * 80 * STEP**number for number in range(3)]
    assert wanted[1] > 90.5 >= wanted[2]
    assert asked == [(pytest.approx(mhz, rel=1e-6), True) for mhz in wanted]


def test_a_longer_step_after_many_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def pretend(command: list[str], folder: Path, log: str, *, hopeless: Callable[[str], bool]) -> str:
        asked.append(clock(folder / "placed.json"))
        if len(asked) < 3:
            log = rounds(0, *[3] * PATIENCE) if len(asked) == 1 else rounds(1)
            assert not hopeless(rounds(0)) and hopeless(log)
            raise Stopped
        return ""

    monkeypatch.setattr(module, "run_tool", pretend)
    (tmp_path / "placed.json").write_text(json.dumps(NETLIST))
    route(COMMAND, tmp_path, "route.log", tmp_path / "placed.json", 1000 / 130)
    assert asked == pytest.approx([130, 130 * LATE_STEP, 130 * LATE_STEP * STEP], rel=1e-6)


def test_in_the_end_without(router: Router, tmp_path: Path) -> None:
    asked = router(0)
    route(COMMAND, tmp_path, "route.log", tmp_path / "placed.json", 1000 / 80)
    assert [timed for _, timed in asked] == [True] * (len(asked) - 1) + [False]
    assert asked[-2][0] >= LEAST * 80 > STEP * asked[-2][0] and asked[-1][0] == 130


def test_a_netlist_without_paths_has_no_estimate(router: Router, tmp_path: Path) -> None:
    asked = router(130)
    route(COMMAND, tmp_path, "route.log", tmp_path / "placed.json", 0.0)
    assert asked == [(130, True)]


def test_nothing_else_of_the_netlist_changes(tmp_path: Path) -> None:
    placed = tmp_path / "placed.json"
    placed.write_text(json.dumps(NETLIST))
    aim(placed, 101.5)
    changed = json.loads(placed.read_text())
    assert changed["modules"]["top"]["settings"].pop("target_freq") == "101500000.000000"
    assert changed["modules"]["top"] == {"settings": {"seed": "1"}, "cells": {"a": {}}}


def test_what_the_log_says() -> None:
    assert not hopeless("") and not hopeless("Info: Running main router loop...\n")
    assert not hopeless(rounds(0)) and hopeless(rounds(1)) and hopeless(rounds(12, 0))
    assert not hopeless(rounds(0, 8, 300))  # on the way, some are
    assert not hopeless(rounds(*[0] * ROUNDS)) and hopeless(rounds(*[0] * ROUNDS, 0))
    stuck = [0, 0, *range(1, PATIENCE)]
    assert not hopeless(rounds(*stuck)) and hopeless(rounds(*stuck, 1)) and not hopeless(rounds(*stuck, 0, 1))
    assert not hopeless("Info: iter=1 wires=9 overused=3 overuse=4 archfail=NA\n")


def test_a_tool_is_stopped_by_its_log(tmp_path: Path) -> None:
    """By its own, not by that of a run before; one that fails by itself says why."""
    (tmp_path / "route.log").write_text(rounds(7))
    script = "import sys, time; open('route.log', 'w').write(sys.argv[1]); time.sleep(float(sys.argv[2])); print('out')"

    def run(log: str, seconds: float, more: str = "") -> str:
        command = [sys.executable, "-c", script + more, log, str(seconds)]
        return run_tool(command, tmp_path, "route.log", hopeless=hopeless)

    assert run(rounds(0, 4), 1.2) == "out\n"
    with pytest.raises(Stopped):
        run(rounds(3), 60)
    with pytest.raises(OneSpikeError, match=r"failed: ERROR: no way through \(log: "):
        run(rounds(0) + "ERROR: no way through\n", 0.7, "; sys.exit(1)")
