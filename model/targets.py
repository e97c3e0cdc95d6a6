# SPDX-License-Identifier: Apache-2.0
"""Parts that open tools can place and route: their resources, their memories, and how the tools are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import OneSpikeError


@dataclass(frozen=True, kw_only=True)
class MemoryKind:
    """One kind of memory of a family, as Yosys' memory_libmap sees it.

    widths: of a port, each twice as deep as the next; rows: words at the first width; byte: bits that share a write
    enable, 0 for all; cost: charged for each one, of which `scaled` only for the share of the width in use.
    """

    widths: tuple[int, ...]
    rows: int
    byte: int
    cost: float
    scaled: float = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the parts of one family share.

    block: block RAM, at every width that Yosys may choose; distributed: memory in LUTs, read without a clock, if there
    is any; port_bits: the most that one block RAM reads in a cycle. cells: LUTs and registers that a cell takes once it
    is packed. merged: the router counts logic cells, each a LUT, a register, or a LUT and the register behind it.
    luts, flip_flops, block_rams, multipliers, single_ports (large single-port RAMs, where there are some): what the
    router calls them. map_luts: in place of Yosys' own mapping.
    crowded: the router's options where a design fills most of the part; usual: elsewhere. repacked: whether the netlist
    is packed better before it is placed (`onespike.fpga.repack`).
    """

    name: str
    synth: str
    router: str
    block: tuple[MemoryKind, ...]
    distributed: MemoryKind | None
    port_bits: int
    cells: Mapping[str, tuple[int, int]]
    merged: bool
    luts: str
    flip_flops: str
    block_rams: str
    multipliers: str
    single_ports: str = ""
    map_luts: str = ""
    crowded: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    repacked: bool = False

    def synthesis(self, top: str, output: str) -> str:
        """Yosys' commands from the Verilog that it has read to the netlist `output`, as JSON."""
        command = f"{self.synth} -top {top}"
        if not self.map_luts:
            return f"{command} -json {output}"
        apart = " ".join(APART)
        return (
            f"hierarchy -top {top}; setattr -mod -set keep_hierarchy 1 {apart}; "
            f"{command} -run begin:map_luts; check -latchonly -assert; {self.map_luts}; clean; "
            f"setattr -mod -unset keep_hierarchy {apart}; flatten; clean; "
            f"{command} -run map_cells: -json {output}"
        )


CROWDED = (0.75, 0.5)  # of the block RAMs of a part, or of its LUTs


@dataclass(frozen=True, kw_only=True)
class Target:
    """A part: the router's options, its resources, and where the four pins of the timing wrapper may lie.

    luts: LUT4s (on iCE40 logic cells); pins: those of clock, reset, input and output that the router does not choose;
    single_ports: large single-port RAMs, of 16,384 x 16 bits.
    """

    name: str
    family: Family
    part: tuple[str, ...]
    luts: int
    flip_flops: int
    block_rams: int
    pins: tuple[str, ...] = ()
    single_ports: int = 0

    def routing(self, block_rams: int, luts: int) -> tuple[str, ...]:
        """The router's options for a design with so many block RAMs and LUTs."""
        shares = (block_rams / self.block_rams, luts / self.luts)
        full = any(share > most for share, most in zip(shares, CROWDED, strict=True))
        return self.family.crowded if full else self.family.usual


# Modules that are synthesised apart and put together at the end: equal registers of two banks, or of two groups of
# lanes, would become one otherwise, and that one would be slow to reach them all.
APART = ("*onespike_bank", "*onespike_bank.lanes.group*")

# Picoseconds that a wire between two LUTs takes after place and route, about; the 300 of `synth_ecp5` make the mapper
# take deep trees of LUTs for fast ones. Paths shorter than PERIOD may become longer where that saves LUTs: less than
# the clock's own period, as no mapper knows which wires will be long. A second round saves more LUTs than that costs.
WIRE_DELAY, PERIOD = 1000, 5500
ROUNDS = "scratchpad -copy abc9.script.flow2 abc9.script"

STATIC = "static"  # nextpnr's placer for crowded parts

ECP5 = Family(
    name="ecp5",
    synth="synth_lattice -family ecp5 -cmp2softlogic",
    map_luts=f"{ROUNDS}; abc9 -W {WIRE_DELAY} -D {PERIOD}",
    # ResNet-20 in 176 of 208 block RAMs: wires half as long as with the usual placer, routed in minutes rather than
    # hours, as are 512 lanes in half of the LUTs. 4 x 16 lanes in 45 % of a 25k are slower that way: 73 MHz for 124.
    crowded=("--placer", STATIC, "--router", "router2"),
    # 4 x 16 lanes on a 25k: 4 MHz more than 10, nextpnr's own, on the median (docs/fpga.md).
    usual=("--placer-heap-timingweight", "30"),
    repacked=True,
    router="nextpnr-ecp5",
    block=(
        MemoryKind(widths=(1, 2, 4, 9, 18), rows=16384, byte=9, cost=128),
        MemoryKind(widths=(9, 18, 36), rows=2048, byte=9, cost=128),
    ),
    distributed=MemoryKind(widths=(4,), rows=16, byte=0, cost=4),
    port_bits=36,
    cells={"LUT4": (1, 0), "PFUMX": (1, 0), "CCU2C": (2, 0), "TRELLIS_DPR16X4": (6, 0), "TRELLIS_FF": (0, 1)},
    merged=False,
    luts="TRELLIS_COMB",
    flip_flops="TRELLIS_FF",
    block_rams="DP16KD",
    multipliers="MULT18X18D",
)
ICE40 = Family(
    name="ice40",
    synth="synth_ice40 -device u -spram",  # for memories that ask for it: engines with `single_port`
    router="nextpnr-ice40",
    block=(MemoryKind(widths=(2, 4, 8, 16), rows=2048, byte=1, cost=64),),
    distributed=None,
    port_bits=16,
    cells={"SB_LUT4": (1, 0), "SB_DFF": (0, 1)},
    merged=True,
    luts="ICESTORM_LC",
    flip_flops="SB_DFF",
    block_rams="ICESTORM_RAM",
    multipliers="ICESTORM_DSP",
    single_ports="ICESTORM_SPRAM",
)
GOWIN = Family(
    name="gowin",
    synth="synth_gowin -family gw1n",
    router="nextpnr-himbaechel-gowin",
    block=(MemoryKind(widths=(1, 2, 4, 9, 18, 36), rows=16384, byte=9, cost=128),),
    distributed=MemoryKind(widths=(4,), rows=16, byte=0, cost=4, scaled=4),
    port_bits=36,
    # A LUT RAM closes the rest of its slice: eight LUTs, six registers.
    cells={"LUT": (1, 0), "ALU": (1, 0), "RAM16SDP4": (8, 6), "DFF": (0, 1)},
    merged=False,
    luts="LUT4",
    flip_flops="DFF",
    block_rams="BSRAM",
    multipliers="MULT18X18",
)
GOWIN2 = dataclasses.replace(GOWIN, synth="synth_gowin -family gw2a")


ECP5_PINS = ("G2",)  # of the package CABGA381: reaches the clock network


def _ecp5(size: str) -> tuple[str, ...]:
    return (f"--{size}", "--speed", "6", "--package", "CABGA381", "--lpf-allow-unconstrained")


TARGETS = {
    target.name: target
    for target in (
        Target(name="ecp5-12k", family=ECP5, part=_ecp5("12k"),
               luts=12144, flip_flops=12144, block_rams=32, pins=ECP5_PINS),
        Target(name="ecp5-25k", family=ECP5, part=_ecp5("25k"),
               luts=24288, flip_flops=24288, block_rams=56, pins=ECP5_PINS),
        Target(name="ecp5-45k", family=ECP5, part=_ecp5("45k"),
               luts=43848, flip_flops=43848, block_rams=108, pins=ECP5_PINS),
        Target(name="ecp5-85k", family=ECP5, part=_ecp5("85k"),
               luts=83640, flip_flops=83640, block_rams=208, pins=ECP5_PINS),
        Target(name="ice40-up5k", family=ICE40, part=("--up5k", "--package", "sg48", "--pcf-allow-unconstrained"),
               luts=5280, flip_flops=5280, block_rams=30, single_ports=4),
        Target(name="gw1nr-9", family=GOWIN, part=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
               luts=8640, flip_flops=6480, block_rams=26, pins=("52", "4", "25", "26")),
        Target(name="gw2ar-18", family=GOWIN2, part=("--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"),
               luts=20736, flip_flops=15552, block_rams=46, pins=("4", "88", "73", "74")),
    )
}  # fmt: skip
ALIASES = {"ecp5": "ecp5-25k", "ice40": "ice40-up5k", "tangnano9k": "gw1nr-9", "tangnano20k": "gw2ar-18"}


def find_target(name: str) -> Target:
    """A target by its name; `ecp5` is the 25k part, `ice40` the UP5K, `tangnano9k` and `tangnano20k` the boards'."""
    name = ALIASES.get(name, name)
    if name not in TARGETS:
        raise OneSpikeError(f"Unknown target {name!r}; choose one of {', '.join(TARGETS)}.")
    return TARGETS[name]
