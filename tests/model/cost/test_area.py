# SPDX-License-Identifier: Apache-2.0
"""The area estimate: memories as in the Verilog, block RAMs as Yosys maps them, LUTs and registers as synthesised."""

import collections
import dataclasses
import json
import random
import re
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest

from onespike.fpga import fit_area
from onespike.fpga.synth import synthesise
from onespike.fpga.tools import find_tool
from onespike.hw.config import EngineConfig
from onespike.hw.emit.verilog import to_verilog
from onespike.model.cost.area import Memory, block_rams, estimate, fitted, memories, place_memory
from onespike.model.errors import OneSpikeError
from onespike.model.targets import ECP5, GOWIN, ICE40, TARGETS, Family, find_target

FAMILIES = {family.name: family for family in (ECP5, ICE40, GOWIN)}
HELD_OUT = [(name, index) for name in FAMILIES for index in range(len(fitted()["families"][name]["held_out"]))]


@pytest.mark.parametrize(
    "config",
    [
        EngineConfig(),
        EngineConfig(banks=1, lanes=3, fire_lanes=1, word_bits=16, weight_bits=5, acc_bits=17, spike_depth=700,
                     pool_depth=3, class_depth=10, word_fifo=5, command_fifo=3, program_depth=256),
        EngineConfig(banks=2, lanes=8, fire_lanes=4, segments=3, code="unary", max_groups=8, max_code=8),
        EngineConfig(banks=2, lanes=4, fire_lanes=4, code="psg", max_groups=8, max_code=8, loadable=False),
        EngineConfig(tables=2, signed_codes=True),
        EngineConfig(banks=2, lanes=8, fire_lanes=4, tables=1, table_codes=32, multiples=(1,)),
        EngineConfig(banks=1, lanes=8, fire_lanes=4, tables=2, arithmetic="zero-skip"),
        EngineConfig(banks=1, lanes=8, fire_lanes=4, arithmetic="dense", product_bits=8, dsp=True, segments=2),
    ],
)  # fmt: skip
def test_memories_are_those_of_the_verilog(config: EngineConfig) -> None:
    found = re.findall(r"reg \[(\d+):0\] \w+ ?\[(\d+):0\];", to_verilog(config))
    apart = [m for m in memories(config) if not m.line and not m.copy]
    here = {m: m.number if m.name.startswith("fire.levels.") else 1 for m in apart}
    expected = sorted((m.width, m.depth) for m, copies in here.items() for _ in range(copies))
    assert expected == sorted((int(w) + 1, int(d) + 1) for w, d in found)


def mapped(family: Family, shapes: list[Memory], folder: Path) -> list[collections.Counter[str]]:
    """Cells that Yosys maps each memory to, by type."""
    text = ["module top(input clk, input we, input [15:0] a, b, input [255:0] d, output [255:0] q);"]
    for i, m in enumerate(shapes):
        read = f"always @(posedge clk) r{i} <= m{i}[b];" if m.clocked else f"always @* r{i} = m{i}[b];"
        write = f"always @(posedge clk) if (we) m{i}[a] <= d;" if m.written else f'initial $readmemh("m{i}.hex", m{i});'
        text.append(f"(* no_rw_check *) reg [{m.width - 1}:0] m{i} [{m.depth - 1}:0]; reg [{m.width - 1}:0] r{i};")
        text.append(f"{read} {write} (* keep *) wire [{m.width - 1}:0] k{i} = r{i};")
        if not m.written:
            draw = random.Random(i)
            rows = (f"{draw.getrandbits(m.width):x}\n" for _ in range(m.depth))
            (folder / f"m{i}.hex").write_text("".join(rows))
    (folder / "top.v").write_text("\n".join([*text, "endmodule"]))
    script = f"read_verilog top.v; {family.synth} -top top -run begin:map_ffram; select top; "
    script += "write_json -selected top.json"
    done = subprocess.run([find_tool("yosys"), "-q", "-p", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"]
    counts = [collections.Counter[str]() for _ in shapes]
    for name, cell in cells.items():
        if belongs := re.match(r"m(\d+)\.\d", name):
            counts[int(belongs[1])][cell["type"]] += 1
    return counts


def test_rivals_are_not_estimated() -> None:
    with pytest.raises(OneSpikeError, match="engine with dense arithmetic is not estimated; use `onespike synth`"):
        estimate(EngineConfig(arithmetic="dense"), find_target("ecp5-25k"))


def test_shadow_sets_are_registers() -> None:
    """Each more is acc_bits registers a lane, and no LUTs, but where a register takes a logic cell of its own."""
    for name, luts in (("ecp5-25k", 0), ("ice40-up5k", 1)):
        one, three = (estimate(EngineConfig(banks=2, shadows=sets), find_target(name)) for sets in (1, 3))
        factor = fitted()["families"][find_target(name).family.name]["factor"]
        more = 2 * 2 * 16 * 20
        assert three.flip_flops - one.flip_flops == pytest.approx(more * factor["flip_flops"], abs=1)
        assert three.luts - one.luts == pytest.approx(luts * more * factor["luts"], abs=1)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_memories_become_what_yosys_makes_of_them(family: Family, tmp_path: Path) -> None:
    rng = random.Random(family.name)
    widths, depths = (1, 8, 16, 18, 20, 32, 36, 40, 64, 100, 128), (2, 4, 8, 16, 24, 64, 100, 256, 512, 600, 2048, 3072)
    shapes = [Memory(name="m", width=rng.choice(widths), depth=rng.choice(depths), clocked=rng.random() < 0.8)
              for _ in range(40)]  # fmt: skip
    shapes += [Memory(name="m", width=w, depth=d, written=False) for w, d in ((32, 64), (64, 512), (128, 300))]
    for shape, cells in zip(shapes, mapped(family, shapes, tmp_path), strict=True):
        placed = place_memory(shape, family)
        rams = sum(number for name, number in cells.items() if "16X4" in name or "16SDP4" in name)
        blocks = sum(number for name, number in cells.items() if re.search(r"16KD|RAM40|^\w*(SP|DP)(X9)?B?$", name))
        assert (placed.block_rams, placed.lut_rams) == (blocks, rams), f"{shape}: {dict(cells)}"


@pytest.mark.parametrize(("name", "index"), HELD_OUT)
def test_block_rams_of_whole_engines(name: str, index: int) -> None:
    entry = fitted()["families"][name]["held_out"][index]
    assert block_rams(EngineConfig(**entry["config"]), FAMILIES[name]) == entry["block_rams"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("what", ["luts", "flip_flops"])
def test_estimates_of_engines_that_the_fit_has_not_seen(name: str, what: str) -> None:
    errors = [error for family, kind, error in fit_area.errors(fitted()) if (family, kind) == (name, what)]
    assert len(errors) >= 3
    assert statistics.median(errors) < 0.10 and max(errors) < 0.20, errors


def test_estimates_grow_with_the_engine() -> None:
    for part in TARGETS.values():
        one = estimate(EngineConfig(banks=1, lanes=8, fire_lanes=4), part)
        for larger in ({"banks": 2}, {"lanes": 16}, {"acc_bits": 24}):
            two = estimate(dataclasses.replace(EngineConfig(banks=1, lanes=8, fire_lanes=4), **larger), part)
            assert two.luts > one.luts and two.flip_flops > one.flip_flops
        assert abs(sum(one.by_block.values()) - one.luts) <= len(one.by_block)


def test_the_fit_finds_coefficients() -> None:
    rng = np.random.default_rng(0)
    rows = [{"one": 1.0, "bits": float(rng.integers(1, 99)), "nothing": float(rng.integers(1, 9))} for _ in range(20)]
    found = fit_area.fit_block(rows, [7 + 2.5 * row["bits"] for row in rows])
    assert found.keys() <= {"one", "bits", "nothing"}
    assert abs(found["one"] - 7) < 1e-4 and abs(found["bits"] - 2.5) < 1e-4 and found.get("nothing", 0) < 1e-4


def test_coefficients_are_never_negative() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        matrix, target = rng.random((12, 6)), rng.normal(size=12)
        solution = fit_area.nonnegative(matrix, target)
        slope = matrix.T @ (target - matrix @ solution)
        assert (solution >= 0).all() and (slope < 1e-6).all() and abs(slope @ solution) < 1e-6  # the optimum


def test_every_block_of_an_engine_is_fitted() -> None:
    assert set(fit_area.blocks(to_verilog(EngineConfig(tables=1)))) == set(fit_area.SAMPLES)


@pytest.mark.slow
def test_a_held_out_engine_synthesised_now(tmp_path: Path) -> None:
    entry = min(fitted()["families"]["gowin"]["held_out"], key=lambda e: e["luts"])
    config, part = EngineConfig(**entry["config"]), find_target(entry["part"])
    now, guess = synthesise(config, part.name, tmp_path, place=False), estimate(config, part)
    assert abs(guess.luts / now.luts - 1) < 0.20 and abs(guess.flip_flops / now.flip_flops - 1) < 0.20
    assert guess.block_rams == now.block_rams
