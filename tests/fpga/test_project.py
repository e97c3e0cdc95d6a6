# SPDX-License-Identifier: Apache-2.0
"""Vendor scripts: Tcl runs every one of them to its end, with the tool's commands recorded, and every file is there."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from networks import random_network
from onespike.fpga.project import TOOLS, write_project
from onespike.hw.config import EngineConfig
from onespike.hw.emit.emit import emit
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network

# Every command that Tcl itself does not know belongs to the vendor's tool: it is printed, and a slack of zero returned.
RECORD = """
proc unknown {args} { puts "CALL $args"; return 0 }
rename package tcl_package
proc package {args} { puts "CALL package $args" }
if {[catch {source [lindex $argv 0]} message]} { puts stderr $message; exit 1 }
"""
PARTS = {"vivado": "xc7a35tcpg236-1", "quartus": "10CX085YU484I6G"}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    net = random_network(np.random.default_rng(2), (3, 8), 60)
    config = fit_config(net, EngineConfig(banks=2, lanes=4, fire_lanes=4, max_code=60))
    directory = tmp_path_factory.mktemp("verilog")
    emit(map_network(net, config), directory)
    return directory


def calls(script, tmp_path):
    if shutil.which("tclsh") is None:
        pytest.skip("no tclsh to run the scripts with")
    (tmp_path / "record.tcl").write_text(RECORD)
    done = subprocess.run(
        ["tclsh", str(tmp_path / "record.tcl"), str(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("CALL ")]


@pytest.mark.parametrize("tool", TOOLS)
def test_scripts_run_to_their_end(tool, emitted, tmp_path):
    script, constraints = write_project(emitted, tool, PARTS[tool], mhz=125)
    found = calls(script, tmp_path)
    words = [word.strip("{}") for call in found for word in call]
    assert PARTS[tool] in words
    assert found[-1][0] == {"vivado": "get_property", "quartus": "project_close"}[tool]
    named = {
        word for word in words if word.endswith((".v", ".xdc", ".sdc")) or (word.endswith(".hex") and "*" not in word)
    }
    assert "onespike.v" in named and constraints.name in named
    assert all((emitted / name).is_file() for name in named), "a file that is not there"
    if tool == "vivado":  # Quartus finds them in its search path
        assert named >= {f"weights{b}.hex" for b in range(2)} | {"program.hex", "channels.hex"}
    clock = constraints.read_text().splitlines()[1]
    assert clock == "create_clock -name clk -period 8.000 [get_ports clk]"


def test_missed_timing_is_an_error(emitted, tmp_path):
    script, _ = write_project(emitted, "vivado", PARTS["vivado"], mhz=125)
    late = tmp_path / "late.tcl"
    late.write_text("proc get_property {args} { return -0.3 }\n" + script.read_text())
    with pytest.raises(AssertionError, match="timing is not met"):
        calls(late, tmp_path)


def test_what_cannot_be_built(emitted, tmp_path):
    def refused(message, *arguments, **options):
        with pytest.raises(OneSpikeError, match=message):
            write_project(*arguments, **({"mhz": 100} | options))

    refused(r"^Unknown tool 'ise'; choose one of vivado, quartus\.$", emitted, "ise", "xc7")
    refused(r"^'xc7; exec rm' is not the name of a part; write it as vivado does,", emitted, "vivado", "xc7; exec rm")
    refused(r"^The clock must lie in 1\.\.1000 MHz, not 0\.$", emitted, "vivado", "xc7", mhz=0)
    refused(r"^Cannot read .*manifest\.json: No such file or directory; write", tmp_path, "vivado", "xc7")
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "other"}))
    refused(
        r"^.*manifest\.json is not a manifest of `onespike verilog`; write the engine again\.$",
        tmp_path,
        "vivado",
        "xc7",
    )
