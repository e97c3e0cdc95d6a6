# SPDX-License-Identifier: Apache-2.0
"""Packages: what other tools ask for before they take a module: an instance to copy, a FuseSoC core, IP-XACT.

| file               | what                                                             |
|--------------------|------------------------------------------------------------------|
| TOP_instance.vh    | wires and an instance of TOP, its ports in groups                |
| TOP.core           | FuseSoC core (CAPI2): sources, images, test bench, lint          |
| TOP.xml            | IP-XACT component (IEEE 1685-2014): ports, buses, registers      |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from ..fronts.registers import REGISTERS
from .readable import Port

VENDOR, LIBRARY = "onespike", "engines"
GROUPS = (  # of an instance: what its ports begin with, and what is said of them
    (r"(a?clk|rst|aresetn)$", "clock and reset, which is synchronous"),
    (r"enable$", "run; low while a network is loaded"),
    (r"image__", "images: a beat is taken where valid and ready are high; the manifest says what it holds"),
    (r"logits__", "logits: {last, best, value}, one a beat"),
    (r"load__", "load stream: the words of load.hex, while enable is low"),
    (r"(counter|count)$", "counters of every layer: 4 * layer + (0 cycles, 1 events, 2 empty, 3 waiting)"),
    (r"write__", "spike words that layers write, for observation; leave them open"),
    (r"weight_", "weights in external memory: where they lie, a multiple of 4096; errors"),
    (r"m_axi_", "AXI4 to external memory, which is only read"),
    (r"s_axi_", "AXI4-Lite: registers"),
    (r"s_axis_", "AXI4-Stream: images, a frame each"),
    (r"m_axis_", "AXI4-Stream: logits, a frame for each image; TUSER: the class"),
    (r"wb_", "Wishbone: registers, by word address"),
    (r"irq$", "interrupt, while it is high"),
    (r"", "pins"),
)


@dataclass(frozen=True, kw_only=True)
class Bus:
    """A bus interface of IP-XACT: its ports' prefix, its definition, role, and ports of other names."""

    prefix: str
    vendor: str
    library: str
    name: str
    version: str
    master: bool
    what: str
    memory_map: bool = False


BUSES = (
    Bus(prefix="s_axi_", vendor="amba.com", library="AMBA4", name="AXI4-Lite", version="r0p0_0", master=False,
        what="registers", memory_map=True),
    Bus(prefix="s_axis_", vendor="amba.com", library="AMBA4", name="AXI4Stream", version="r0p0_0", master=False,
        what="images"),
    Bus(prefix="m_axis_", vendor="amba.com", library="AMBA4", name="AXI4Stream", version="r0p0_0", master=True,
        what="logits"),
    Bus(prefix="m_axi_", vendor="amba.com", library="AMBA4", name="AXI4", version="r0p0_0", master=True,
        what="weights in external memory, read only"),
    Bus(prefix="wb_", vendor="opencores.org", library="interface", name="wishbone", version="b4", master=False,
        what="registers", memory_map=True),
)  # fmt: skip


def packages(
    top: str, ports: Sequence[Port], files: Iterable[str], bench: str, network: str, version: str
) -> dict[str, str]:
    """File name -> text. files: all that is emitted; bench: the module that the test bench runs; network: its hash."""
    names = sorted(files)
    return {
        f"{top}_instance.vh": instance(top, ports),
        f"{top}.core": fusesoc(top, names, bench, network, version),
        f"{top}.xml": ip_xact(top, ports, names, network, version),
    }


def instance(top: str, ports: Sequence[Port]) -> str:
    """An instance of the module to be copied, and the wires that it is connected to."""
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        f"// An instance of {top} to copy into your design. Generated.",
        "",
    ]
    grouped = [[port for port in ports if _group(port.name) == number] for number in range(len(GROUPS))]
    for group, (_, what) in zip(grouped, GROUPS, strict=True):
        lines += [f"// {what}"] if group else []
        lines += [f"wire {f'[{port.bits - 1}:0] ' if port.bits > 1 else ''}{port.name};" for port in group]
    lines += ["", f"{top} {top}_0 ("]
    last = [port for group in grouped for port in group][-1]
    for group, (_, what) in zip(grouped, GROUPS, strict=True):
        lines += [f"    // {what}"] if group else []
        for port in group:
            bits = f"[{port.bits - 1}:0]" if port.bits > 1 else ""
            connection = f"    .{port.name}({port.name}){'' if port is last else ','}"
            lines.append(f"{connection}  // {port.direction} {bits}".rstrip())
    return "\n".join([*lines, ");"]) + "\n"


def _group(name: str) -> int:
    return next(number for number, (pattern, _) in enumerate(GROUPS) if re.match(pattern, name))


def fusesoc(top: str, files: Sequence[str], bench: str, network: str, version: str) -> str:
    """A FuseSoC core: `fusesoc --cores-root . run --target sim ::TOP` runs the test bench."""
    sources = [name for name in files if name.endswith(".v") and not name.endswith("_tb.v")]
    images = [name for name in files if name.endswith((".hex", ".bin")) and not name.startswith("tb_")]
    stimuli = [name for name in files if name.startswith("tb_")]

    def copied(names: Sequence[str]) -> str:
        """Files that are read at run time, which must lie where the tool runs."""
        return "".join(f"      - {name}: {{file_type: user, copyto: {name}}}\n" for name in names)

    listed = "".join(f"      - {name}\n" for name in sources)
    return f"""CAPI=2:
# SPDX-License-Identifier: Apache-2.0
# Written by onespike; network {network}.

name: {VENDOR}:{LIBRARY}:{top}:{version}
description: Single-timestep spiking accelerator with its network, network {network[:12]}

filesets:
  rtl:
    files:
{listed}    file_type: verilogSource-2005
  images:
    files:
{copied(images)}  lint:
    files:
      - lint.vlt
    file_type: vlt
  bench:
    files:
      - {bench}_tb.v: {{file_type: verilogSource-2005}}
{copied(stimuli)}
targets:
  default:
    filesets: [rtl, images]
    toplevel: {top}
  sim:
    description: The example test bench
    default_tool: icarus
    filesets: [rtl, images, "tool_verilator ? (lint)", bench]
    toplevel: {bench}_tb
    tools:
      icarus:
        iverilog_options: [-g2005]
      verilator:
        mode: binary
        verilator_options: [--timing]
  lint:
    description: Warnings of Verilator
    default_tool: verilator
    filesets: [lint, rtl]
    toplevel: {top}
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
"""


def ip_xact(top: str, ports: Sequence[Port], files: Sequence[str], network: str, version: str) -> str:
    """The component in IEEE 1685-2014."""
    names = [port.name for port in ports]
    buses = [bus for bus in BUSES if any(name.startswith(bus.prefix) for name in names)]
    clock = next(name for name in names if name in ("clk", "aclk"))
    reset = next(name for name in names if name in ("rst", "aresetn"))
    interfaces = [_interface(bus, names) for bus in buses]
    interfaces += [_signal("clock", "clock", "CLK", clock), _signal("reset", "reset", "RST", reset)]
    interfaces += [_signal("interrupt", "interrupt", "INTERRUPT", "irq", master=True)] if "irq" in names else []
    maps = "".join(_memory_map() for bus in buses if bus.memory_map)
    own = [name for name in files if name.endswith((".v", ".hex", ".bin")) and "tb" not in re.split(r"[_.]", name)]
    listed = "".join(map(_file, own))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- SPDX-License-Identifier: Apache-2.0. Written by onespike; network {network}. -->
<ipxact:component xmlns:ipxact="http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.accellera.org/XMLSchema/IPXACT/1685-2014
    http://www.accellera.org/XMLSchema/IPXACT/1685-2014/index.xsd">
  <ipxact:vendor>{VENDOR}</ipxact:vendor>
  <ipxact:library>{LIBRARY}</ipxact:library>
  <ipxact:name>{top}</ipxact:name>
  <ipxact:version>{version}</ipxact:version>
  <ipxact:busInterfaces>
{"".join(interfaces)}  </ipxact:busInterfaces>
{f"  <ipxact:memoryMaps>{chr(10)}{maps}  </ipxact:memoryMaps>{chr(10)}" if maps else ""}  <ipxact:model>
    <ipxact:views>
      <ipxact:view>
        <ipxact:name>rtl</ipxact:name>
        <ipxact:envIdentifier>Verilog:*Simulation:</ipxact:envIdentifier>
        <ipxact:envIdentifier>Verilog:*Synthesis:</ipxact:envIdentifier>
        <ipxact:componentInstantiationRef>verilog</ipxact:componentInstantiationRef>
      </ipxact:view>
    </ipxact:views>
    <ipxact:instantiations>
      <ipxact:componentInstantiation>
        <ipxact:name>verilog</ipxact:name>
        <ipxact:language>Verilog</ipxact:language>
        <ipxact:moduleName>{top}</ipxact:moduleName>
        <ipxact:fileSetRef>
          <ipxact:localName>rtl</ipxact:localName>
        </ipxact:fileSetRef>
      </ipxact:componentInstantiation>
    </ipxact:instantiations>
    <ipxact:ports>
{"".join(map(_port, ports))}    </ipxact:ports>
  </ipxact:model>
  <ipxact:fileSets>
    <ipxact:fileSet>
      <ipxact:name>rtl</ipxact:name>
{listed}    </ipxact:fileSet>
  </ipxact:fileSets>
  <ipxact:description>Single-timestep spiking accelerator with its network, network {network[:12]}</ipxact:description>
</ipxact:component>
"""


def _interface(bus: Bus, names: Sequence[str]) -> str:
    """A bus interface; the standard's name of a port is what follows the prefix, in capitals."""
    pairs = [(name.removeprefix(bus.prefix).upper(), name) for name in names if name.startswith(bus.prefix)]
    role = "<ipxact:master/>" if bus.master else "<ipxact:slave/>"
    if bus.memory_map:
        role = '<ipxact:slave>\n        <ipxact:memoryMapRef memoryMapRef="registers"/>\n      </ipxact:slave>'
    return _bus(bus.prefix.rstrip("_"), bus.what, (bus.vendor, bus.library, bus.name, bus.version), pairs, role)


def _signal(kind: str, name: str, logical: str, physical: str, *, master: bool = False) -> str:
    role = "<ipxact:master/>" if master else "<ipxact:slave/>"
    return _bus(name, kind, ("xilinx.com", "signal", kind, "1.0"), [(logical, physical)], role)


def _bus(
    name: str, what: str, definition: tuple[str, str, str, str], pairs: Sequence[tuple[str, str]], role: str
) -> str:
    reference = dict(zip(("vendor", "library", "name", "version"), definition, strict=True))
    maps = "".join(
        f"""          <ipxact:portMap>
            <ipxact:logicalPort>
              <ipxact:name>{logical}</ipxact:name>
            </ipxact:logicalPort>
            <ipxact:physicalPort>
              <ipxact:name>{physical}</ipxact:name>
            </ipxact:physicalPort>
          </ipxact:portMap>
"""
        for logical, physical in pairs
    )
    return f"""    <ipxact:busInterface>
      <ipxact:name>{name}</ipxact:name>
      <ipxact:description>{escape(what)}</ipxact:description>
      <ipxact:busType {_attributes(reference)}/>
      <ipxact:abstractionTypes>
        <ipxact:abstractionType>
          <ipxact:abstractionRef {_attributes(reference | {"name": f"{reference['name']}_rtl"})}/>
          <ipxact:portMaps>
{"".join("  " + line + chr(10) for line in maps.splitlines())}          </ipxact:portMaps>
        </ipxact:abstractionType>
      </ipxact:abstractionTypes>
      {role}
    </ipxact:busInterface>
"""


def _attributes(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())


def _memory_map() -> str:
    """The registers of every front."""
    access = {"r": "read-only", "w": "write-only"}
    registers = "".join(
        f"""        <ipxact:register>
          <ipxact:name>{register.name}</ipxact:name>
          <ipxact:description>{escape(register.text)}</ipxact:description>
          <ipxact:addressOffset>'h{register.offset:X}</ipxact:addressOffset>
          <ipxact:size>32</ipxact:size>
          <ipxact:access>{access.get(register.access, "read-write")}</ipxact:access>
{"".join(_field(field.name, field.low, field.bits) for field in register.fields)}        </ipxact:register>
"""
        for register in REGISTERS
    )
    return f"""    <ipxact:memoryMap>
      <ipxact:name>registers</ipxact:name>
      <ipxact:addressBlock>
        <ipxact:name>registers</ipxact:name>
        <ipxact:baseAddress>0</ipxact:baseAddress>
        <ipxact:range>256</ipxact:range>
        <ipxact:width>32</ipxact:width>
        <ipxact:usage>register</ipxact:usage>
{registers}      </ipxact:addressBlock>
      <ipxact:addressUnitBits>8</ipxact:addressUnitBits>
    </ipxact:memoryMap>
"""


def _field(name: str, low: int, bits: int) -> str:
    return f"""          <ipxact:field>
            <ipxact:name>{name}</ipxact:name>
            <ipxact:bitOffset>{low}</ipxact:bitOffset>
            <ipxact:bitWidth>{bits}</ipxact:bitWidth>
          </ipxact:field>
"""


def _port(port: Port) -> str:
    vector = f"""
          <ipxact:vectors>
            <ipxact:vector>
              <ipxact:left>{port.bits - 1}</ipxact:left>
              <ipxact:right>0</ipxact:right>
            </ipxact:vector>
          </ipxact:vectors>"""
    return f"""      <ipxact:port>
        <ipxact:name>{port.name}</ipxact:name>
        <ipxact:wire>
          <ipxact:direction>{port.direction.removesuffix("put")}</ipxact:direction>{vector if port.bits > 1 else ""}
        </ipxact:wire>
      </ipxact:port>
"""


def _file(name: str) -> str:
    kind = "verilogSource" if name.endswith(".v") else "user"
    attribute = "" if kind == "verilogSource" else ' user="memory image"'
    return f"""      <ipxact:file>
        <ipxact:name>{name}</ipxact:name>
        <ipxact:fileType{attribute}>{kind}</ipxact:fileType>
      </ipxact:file>
"""


__all__ = ["fusesoc", "instance", "ip_xact", "packages"]
