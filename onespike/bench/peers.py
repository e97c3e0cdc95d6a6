# SPDX-License-Identifier: Apache-2.0
"""Other generators and cores on the networks that `onespike bench` runs, with what was measured and where.

measured: generated or built by us with open tools on a 2-core machine, weights random; LUTs by yosys synth_xilinx (sum
of LUT1..6), ECP5 cells and clock by nextpnr (85k, speed 6, carry included). published: read in the source.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One system on one network; None where nobody measured."""

    network: str
    system: str
    source: str
    kind: str  # "measured" or "published"
    cycles: int | None = None
    interval: int | None = None  # cycles between images where they are fewer
    luts: int | None = None  # Xilinx
    ecp5_cells: int | None = None
    block_rams: int | None = None
    dsps: int | None = None
    mhz: float | None = None
    note: str = ""


SPIKER = "arXiv 2401.01141 (Carpegna et al.; VHDL, LIF neurons)"
ALKAID = "PyPI 0.8.2 (unrolled shift-add logic)"
TPU = "github.com/sohaiberrabii/tpu (Amaranth, INT8 8x8 systolic array)"

PEERS = (
    Peer(network="64-32-10", system="Spiker+, T = 10", source=SPIKER, kind="measured", cycles=1072, luts=3119,
         ecp5_cells=5054, block_rams=6, mhz=71, note="saturates in another order than its own model"),
    Peer(network="64-32-10", system="alkaid, 4 bits", source=ALKAID, kind="measured", cycles=5, interval=1,
         luts=10_400, ecp5_cells=20_000, mhz=60, note="exact on 2,000 vectors"),
    Peer(network="64-32-10", system="alkaid, 4 bits", source=ALKAID, kind="measured", cycles=11, interval=1,
         luts=10_400, ecp5_cells=20_000, mhz=106, note="exact on 2,000 vectors"),
    Peer(network="64-32-10", system="tpu", source=TPU, kind="measured", cycles=1384, luts=5216, dsps=96,
         ecp5_cells=11_728, mhz=58),
    Peer(network="64-32-10", system="FINN, first layer", source="FINN's RTL matrix unit, PE 4, SIMD 8",
         kind="measured", cycles=64, luts=1450, dsps=8, note="one layer alone"),
    Peer(network="784-128-10", system="Spiker+, T = 10", source=SPIKER, kind="measured", cycles=9856, luts=9054,
         ecp5_cells=20_883, block_rams=45, dsps=0, mhz=44),
    Peer(network="784-128-10", system="Spiker+, T = 100", source=SPIKER, kind="measured", cycles=92_566, luts=9054,
         ecp5_cells=20_883, block_rams=45, dsps=0, mhz=44),
    Peer(network="784-128-10", system="tpu, batch 1", source=TPU, kind="measured", cycles=48_838, luts=5216, dsps=96,
         ecp5_cells=11_728, mhz=58),
    Peer(network="784-32-10", system="alkaid", source=ALKAID, kind="measured", cycles=6, interval=1, luts=66_000,
         note="LUTs by its own estimate"),
    Peer(network="784-128-10", system="Spiker+", source=SPIKER, kind="published", note="780 us, 180 mW, 7,612 cells"),
    Peer(network="MNIST", system="Skydiver", source="its paper (XC7Z045)", kind="published",
         note="98.5 %, 22,600 images/s, 42.4 uJ"),
    Peer(network="MNIST", system="FireFly-S", source="its paper", kind="published", note="10,047 images/s/W"),
    Peer(network="MNIST", system="FINN", source="its paper, 2017 (ZC706)", kind="published",
         note="95.8 %, 12.3 M images/s, 0.31 us"),
    Peer(network="MNIST", system="Loihi", source="its paper", kind="published", note="2.5 uJ, 0.17 ms"),
    Peer(network="CIFAR-10", system="FireFly-S", source="its paper", kind="published", note="2,327 images/s/W"),
    Peer(network="CIFAR-10", system="FINN", source="its paper, 2017 (ZC706, CNV)", kind="published",
         note="80.1 %, 21,900 images/s, 283 us"),
)  # fmt: skip

# What the comparison with Spiker+ on 784-128-10 has to show.
SPIKER_RIVAL = next(p for p in PEERS if p.network == "784-128-10" and p.cycles == 9856)
FEWER_CYCLES, FRAMES_PER_CELL = 10, 30


@dataclass(frozen=True, kw_only=True)
class SpikerComparison:
    """Ours against SPIKER_RIVAL on 784-128-10. Cells count nextpnr's TRELLIS_COMB on both sides."""

    cycles_ratio: float  # theirs / ours
    cells: int | None = None
    cells_ratio: float | None = None  # theirs / ours
    multipliers: int | None = None
    mhz: float | None = None
    frames_per_second_per_cell_ratio: float | None = None  # ours / theirs
    reached: bool | None = None  # all four goals


def against_spiker(
    cycles: float, cells: int | None = None, multipliers: int | None = None, mhz: float | None = None
) -> SpikerComparison:
    """Ratios; what needs place and route stays None without it."""
    their_cycles, their_cells, their_mhz = SPIKER_RIVAL.cycles, SPIKER_RIVAL.ecp5_cells, SPIKER_RIVAL.mhz
    assert their_cycles is not None and their_cells is not None and their_mhz is not None
    fewer = their_cycles / cycles
    if cells is None or multipliers is None or mhz is None:
        return SpikerComparison(cycles_ratio=fewer)
    frames = (mhz / cycles / cells) / (their_mhz / their_cycles / their_cells)
    return SpikerComparison(
        cycles_ratio=fewer,
        cells=cells,
        cells_ratio=their_cells / cells,
        multipliers=multipliers,
        mhz=mhz,
        frames_per_second_per_cell_ratio=frames,
        reached=fewer >= FEWER_CYCLES and cells < their_cells and not multipliers and frames >= FRAMES_PER_CELL,
    )
