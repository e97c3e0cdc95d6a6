# SPDX-License-Identifier: Apache-2.0
"""Cells on long paths move where these are shorter, only to places where they may stand; nothing else changes."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from onespike.fpga.connections import FF
from onespike.fpga.refine import Refined, refine
from onespike.fpga.slices import LUT, PLACE, SITE, Slices, spot_of
from onespike.fpga.static_timing import CLOCK_TO_Q, LUT_DELAY, RESET_SETUP, SETUP, StaticTiming, wire

CONTROLS = {"CLKMUX": "CLK", "CEMUX": "1", "LSRMUX": "LSR", "GSR": "DISABLED", "SRMODE": "LSR_OVER_CE"}
Cells = dict[str, dict[str, Any]]


def cell(
    kind: str, at: str, parameters: dict[str, str], outputs: dict[str, int], inputs: dict[str, int]
) -> dict[str, Any]:
    return {
        "type": kind, "parameters": dict(parameters), "attributes": {PLACE: at},
        "port_directions": {**dict.fromkeys(outputs, "output"), **dict.fromkeys(inputs, "input"), "FXA": "input"},
        "connections": {**{pin: [net] for pin, net in (*outputs.items(), *inputs.items())}, "FXA": []},
    }  # fmt: skip


def register(at: str, out: int, *, clk: int = 1, **pins: int) -> dict[str, Any]:
    return cell(FF, at, CONTROLS, {"Q": out}, {"CLK": clk, **pins})


def lut(at: str, out: int, *, mode: str = "LOGIC", **pins: int) -> dict[str, Any]:
    return cell(LUT, at, {"MODE": mode}, {"F": out}, pins)


def module(cells: Cells) -> dict[str, Any]:
    return {"cells": cells, "ports": {}}


def held(at: str, out: int, **pins: int) -> dict[str, Any]:
    """A register that does not move, as it stands behind what does not."""
    return register(at, out, DI=3, **pins)


def room(*columns: int, row: int = 5) -> Cells:
    """Tiles in which there is room: one LUT in each that nobody waits for."""
    return {f"room{x}": lut(f"X{x}/Y{row}/SLICEA.K0", 1000 + x, A=999) for x in columns}


def chain(hop: dict[str, Any] | None = None, **more: dict[str, Any]) -> Cells:
    """A register at column 60 between one at 0 and one at 62."""
    return {
        "from": held("X0/Y5/SLICEA.FF0", 10),
        "hop": hop or register("X60/Y5/SLICEA.FF0", 11, M=10),
        "to": held("X62/Y5/SLICEB.FF0", 12, M=11),
        **more,
    }


def moved(cells: Cells, tmp_path: Path) -> dict[str, str]:
    """Where cells stand that have moved; nothing else has changed, and no path has become the longest."""
    before = json.loads(json.dumps(cells))
    path = tmp_path / "placed.json"
    path.write_text(json.dumps({"modules": {"top": module(cells)}}))
    first, last = refine(path)
    after = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert last <= first + 1e-9
    if all(c["type"] == FF or (c["parameters"]["MODE"], c["connections"].get("M")) == ("LOGIC", None)
           for c in before.values()):  # fmt: skip
        assert first == pytest.approx(length(before)) and last == pytest.approx(length(after))
    found = {name: c["attributes"].pop(PLACE) for name, c in after.items()}
    old = {name: c["attributes"].pop(PLACE) for name, c in before.items()}
    assert after == before and len(set(found.values())) == len(found)
    return {name: place for name, place in found.items() if place != old[name]}


def length(cells: Cells) -> float:
    """The longest path, by depth first search from every register's output."""
    readers: dict[int, list[tuple[str, str]]] = {}
    for name, c in cells.items():
        for pin, bits in c["connections"].items():
            for bit in bits:
                if c["port_directions"][pin] == "input":
                    readers.setdefault(bit, []).append((name, pin))

    def after(name: str, bit: int) -> float:
        found = [-1e9]
        for to, pin in readers.get(bit, []):
            way = 0.0 if pin == "DI" else wire(spot_of(cells[name]), spot_of(cells[to]))  # type: ignore[arg-type]
            if cells[to]["type"] == FF:
                found.append(-1e9 if pin == "CLK" else way + (RESET_SETUP if pin == "LSR" else SETUP))
            else:
                found.append(way + LUT_DELAY + after(to, cells[to]["connections"]["F"][0]))
        return max(found)

    return max([0.0, *(CLOCK_TO_Q + after(n, c["connections"]["Q"][0]) for n, c in cells.items() if c["type"] == FF)])


def column(place: str) -> int:
    return int(place.split("/")[0][1:])


def test_a_register_moves_to_the_middle(tmp_path: Path) -> None:
    found = moved(chain(**room(*range(1, 60))), tmp_path)
    assert 20 < column(found["hop"]) < 42


def test_a_lut_takes_its_register_along(tmp_path: Path) -> None:
    """To the same number of the same slice; a register that reads it from elsewhere stays."""
    cells = {
        "from": held("X0/Y5/SLICEA.FF0", 10), "lut": lut("X1/Y5/SLICEB.K1", 11, A=10),
        "hop": register("X1/Y5/SLICEB.FF1", 12, DI=11), "to": held("X62/Y5/SLICEB.FF0", 13, M=12),
        "also": held("X30/Y5/SLICEB.FF0", 14, M=11), **room(*range(4, 62)),
    }  # fmt: skip
    found = moved(cells, tmp_path)
    assert 10 < column(found["lut"]) < 50 and found["hop"] == found["lut"].replace(".K", ".FF")


def test_a_register_with_many_readers_stands_in_their_middle(tmp_path: Path) -> None:
    """Though all that come late stand at the other end."""
    readers = {f"to{x}": held(f"X{x}/Y5/SLICEB.FF0", 100 + x, M=11) for x in (2, 4, 55, 57, 58, 59)}
    found = moved(chain(register("X3/Y5/SLICEA.FF0", 11, M=10), **readers, **room(*range(5, 55))), tmp_path)
    assert 25 < column(found["hop"]) < 38


def test_several_hops_share_the_way(tmp_path: Path) -> None:
    cells = chain(hop2=register("X61/Y5/SLICEA.FF0", 14, M=11), **room(*range(1, 60)))
    cells["to"]["connections"]["M"] = [14]
    found = moved(cells, tmp_path)
    columns = [0, column(found["hop"]), column(found["hop2"]), 62]
    assert max(after - before for before, after in itertools.pairwise(columns)) < 0.55 * 62


@pytest.mark.parametrize(
    ("tiles", "into"),
    [
        pytest.param({"memory": lut("X31/Y5/SLICEA.K0", 20, mode="DPRAM", A=9)}, None, id="a memory in LUTs"),
        pytest.param({"clock": register("X31/Y5/SLICED.FF1", 20, clk=8, M=9)}, None, id="another clock"),
        pytest.param({}, None, id="no room"),
        pytest.param({"enable": register("X31/Y5/SLICED.FF1", 20, CE=8, M=9)}, "ABC", id="a slice with an enable"),
        pytest.param({f"full{s}{k}": register(f"X31/Y5/SLICE{s}.FF{k}", 20 + 2 * i + k, M=9)
                      for i, s in enumerate("ABC") for k in (0, 1)}, "D", id="full slices"),
        pytest.param({f"wide{s}{k}": lut(f"X31/Y5/SLICE{s}.K{k}", 20 + 2 * i + k, M=9)
                      for i, s in enumerate("ABD") for k in (0, 1)}, "C", id="multiplexers"),
    ],
)  # fmt: skip
def test_where_a_register_may_stand(tiles: Cells, into: str | None, tmp_path: Path) -> None:
    found = moved(chain(**tiles), tmp_path)
    assert ("hop" in found) == (into is not None)
    if into is not None:
        site = SITE.fullmatch(found["hop"])
        assert site is not None and site[1] == "31" and site[3] in into


@pytest.mark.parametrize(("reset", "fits"), [(30, True), (40, False)])
def test_a_tile_has_one_reset(reset: int, fits: bool, tmp_path: Path) -> None:
    hop = register("X60/Y5/SLICEA.FF0", 11, M=10, LSR=30)
    there = register("X31/Y5/SLICEB.FF0", 20, M=9, LSR=reset)
    assert ("hop" in moved(chain(hop, there=there), tmp_path)) == fits


@pytest.mark.parametrize(
    "hop",
    [
        pytest.param({"hop": lut("X60/Y5/SLICEA.K0", 11, mode="CCU2", A=10)}, id="a carry chain"),
        pytest.param({"hop": lut("X60/Y5/SLICEA.K0", 11, A=10, M=9)}, id="a wide multiplexer"),
        pytest.param({"hop": lut("X60/Y5/SLICEA.K0", 11, A=10), "mux": lut("X60/Y5/SLICEA.K1", 21, FXA=11)},
                     id="a LUT in front of one"),
        pytest.param({"hop": register("X60/Y5/SLICEA.FF0", 11, DI=15),
                      "sum": lut("X60/Y5/SLICEA.K0", 15, mode="CCU2", A=10)}, id="a register behind a sum"),
    ],
)  # fmt: skip
def test_what_stays(hop: Cells, tmp_path: Path) -> None:
    assert not {"hop", "sum"} & {*moved(chain(**room(*range(1, 60))) | hop, tmp_path)}


def test_estimates_follow_moves() -> None:
    """After every move of a random network's LUTs and registers, all times are those that are found anew."""
    draw = random.Random(1)
    cells: Cells = {}
    nets = list(range(10, 20))
    for i, net in enumerate(nets):
        cells[f"r{i}"] = register(f"X{i}/Y0/SLICEA.FF0", net, M=100 + i)
    for i in range(60):
        pins = dict(zip("ABCD", draw.sample(nets, 3), strict=False))
        nets.append(30 + i)
        cells[f"l{i}"] = lut(f"X{draw.randrange(40)}/Y{1 + i}/SLICEA.K0", 30 + i, **pins)
    for i in range(10):
        cells[f"r{i}"]["connections"]["M"] = [draw.choice(nets[-20:])]
    slices = Slices(cells)
    timing = StaticTiming(module(cells), slices.at)
    assert timing.longest == pytest.approx(length(cells))
    for name in draw.choices(list(cells), k=50):
        slices.move(name, (draw.randrange(40), 70 + draw.randrange(20), "B"), "0")
        timing.moved([name])
        anew = StaticTiming(module(cells), slices.at)
        assert timing.late == pytest.approx(anew.late) and timing.tail == pytest.approx(anew.tail)


def test_no_path_gets_longer_than_the_longest() -> None:
    """Random networks, crowded and with loops through a unit's own register."""
    for seed in range(20):
        draw = random.Random(seed)
        cells: Cells = room(*range(40))
        for i in range(30):
            pins = {pin: draw.randrange(10, 40) for pin in "ABC"[: draw.randrange(1, 4)]}
            x, y = draw.randrange(40), draw.randrange(6, 12)
            if f"X{x}/Y{y}" in {c["attributes"][PLACE][: len(f"X{x}/Y{y}")] for c in cells.values()}:
                continue
            cells[f"l{i}"] = lut(f"X{x}/Y{y}/SLICEC.K1", 100 + i, **pins)
            cells[f"r{i}"] = register(f"X{x}/Y{y}/SLICEC.FF1", 10 + i, DI=100 + i)
        before = length(cells)
        first, last = Refined(module(cells)).run()
        assert first == pytest.approx(before) and last == pytest.approx(length(cells)) and last <= before + 1e-9
