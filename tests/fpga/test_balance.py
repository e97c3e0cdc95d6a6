# SPDX-License-Identifier: Apache-2.0
"""Registers between two registers that lie far apart move to the middle, where they may stand; all others stay."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from onespike.fpga.balance import LONG, PLACE, balance

CONTROLS = {"CLKMUX": "CLK", "CEMUX": "1", "LSRMUX": "LSR", "GSR": "DISABLED", "SRMODE": "LSR_OVER_CE"}


def register(at: str, source: int, out: int, **pins: int) -> dict[str, Any]:
    nets = {"CLK": 1, "M": source, "Q": out, **pins}
    return {
        "type": "TRELLIS_FF", "parameters": dict(CONTROLS), "attributes": {PLACE: at},
        "port_directions": {pin: "output" if pin == "Q" else "input" for pin in nets},
        "connections": {pin: [net] for pin, net in nets.items()},
    }  # fmt: skip


def lut(at: str, out: int, *, mode: str = "LOGIC", **pins: int) -> dict[str, Any]:
    return {
        "type": "TRELLIS_COMB", "parameters": {"MODE": mode}, "attributes": {PLACE: at},
        "port_directions": {"F": "output", **dict.fromkeys(pins, "input")},
        "connections": {"F": [out], **{pin: [net] for pin, net in pins.items()}},
    }  # fmt: skip


def chain(**more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A register at column 60 between one at 0 and one at 62, and logic in the middle."""
    return {
        "from": register("X0/Y5/SLICEA.FF0", 2, 10), "hop": register("X60/Y5/SLICEA.FF0", 10, 11),
        "to": register("X62/Y5/SLICEB.FF0", 11, 12), "there": register("X31/Y5/SLICED.FF1", 3, 4), **more,
    }  # fmt: skip


def places(cells: dict[str, dict[str, Any]], tmp_path: Path) -> dict[str, str]:
    """Where the cells stand afterwards; nothing else has changed."""
    before = json.loads(json.dumps(cells))
    path = tmp_path / "placed.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells, "ports": {}}}}))
    moved = balance(path)
    after = json.loads(path.read_text())["modules"]["top"]["cells"]
    found = {name: cell["attributes"].pop(PLACE) for name, cell in after.items()}
    old = {name: cell["attributes"].pop(PLACE) for name, cell in before.items()}
    assert after == before and len(set(found.values())) == len(found)
    assert moved == sum(found[name] != old[name] for name in found)
    return {name: place for name, place in found.items() if place != old[name]}


def test_a_register_moves_to_the_middle(tmp_path: Path) -> None:
    """Into a slice of a tile in use, beside a register that is controlled alike; of two that are as near, any."""
    moved = places(chain(), tmp_path)
    assert list(moved) == ["hop"] and moved["hop"].startswith("X31/Y5/SLICE")


@pytest.mark.parametrize(("column", "stays"), [(LONG, True), (LONG + 2, False)])
def test_only_long_ways(column: int, stays: bool, tmp_path: Path) -> None:
    cells = {
        "from": register("X0/Y5/SLICEA.FF0", 2, 10), "hop": register(f"X{column}/Y5/SLICEA.FF0", 10, 11),
        "to": register(f"X{column}/Y5/SLICEB.FF0", 11, 12),
        "there": register(f"X{column // 2}/Y5/SLICED.FF1", 3, 4),
    }  # fmt: skip
    assert (not places(cells, tmp_path)) == stays


def test_several_hops_share_the_way(tmp_path: Path) -> None:
    """Both go where all three wires are shorter than the one was."""
    logic = {f"tile{x}": lut(f"X{x}/Y5/SLICEA.K0", 100 + x, A=3) for x in range(1, 60)}  # without a clock of their own
    cells = chain(**logic, hop2=register("X61/Y5/SLICEA.FF0", 11, 13), to=register("X62/Y5/SLICEB.FF0", 13, 12))
    found = places(cells, tmp_path)
    columns = [0, *(int(found[name].split("/")[0][1:]) for name in ("hop", "hop2")), 62]
    assert max(after - before for before, after in itertools.pairwise(columns)) < 62 * 0.55


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(chain(hop=register("X60/Y5/SLICEA.FF0", 10, 11, LSR=7)), id="reset"),
        pytest.param(chain(hop=register("X60/Y5/SLICEA.FF0", 10, 11, CE=7)), id="enable"),
        pytest.param(chain(hop=register("X60/Y5/SLICEA.FF0", 10, 11, DI=7)), id="behind a LUT"),
        pytest.param(chain(**{"from": lut("X0/Y5/SLICEA.K0", 10, A=9)}), id="from a LUT"),
        pytest.param(chain(reads=lut("X62/Y5/SLICEA.K0", 20, A=11)), id="to a LUT, too"),
        pytest.param(chain(to=register("X62/Y5/SLICEB.FF0", 9, 12, CE=11)), id="to an enable"),
        pytest.param(chain(there=register("X31/Y5/SLICED.FF1", 3, 4, CLK=8)), id="a tile of another clock"),
        pytest.param(chain(there=register("X44/Y9/SLICED.FF1", 3, 4)), id="no tile near the middle"),
        pytest.param(chain(memory=lut("X31/Y5/SLICEA.K0", 20, mode="DPRAM", A=9)), id="a memory in LUTs"),
        pytest.param(
            chain(
                there=register("X31/Y5/SLICEA.FF0", 3, 4, CE=9),
                **{f"wide{s}{k}": lut(f"X31/Y5/SLICE{s}.K{k}", 30 + 2 * i + k, M=9)
                   for i, s in enumerate("BCD") for k in (0, 1)},
            ),
            id="a slice with another enable, and multiplexers",
        ),
    ],
)  # fmt: skip
def test_what_stays(cells: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert not places(cells, tmp_path)
