# SPDX-License-Identifier: Apache-2.0
"""SRAM: energy of an access as a function of width and depth, by a formula fitted to CACTI 7.

    pJ = (per_bit * W + per_access) * sqrt(W * D) * node / 90 nm * (V / 1.3 V)^2

for W bits in each of D rows: sqrt(W * D) is the side of the array, which the W data wires and the address cross.

Source: CACTI 7 (R. Balasubramonian et al., "CACTI 7", ACM TACO 14(2), 2017), 90 nm, its largest node, itrs-lstp cells
and periphery at 1.3 V, 300 K, cache type "ram", no ECC, optimised for energy times delay; 63 sizes (W = 8 .. 512,
D = 64 .. 16,384) for each kind of ports. The formula is within 25 % of CACTI (root mean square), and within a factor of
2 at worst, of narrow deep memories, which it charges too little. Other processes are scaled by C V^2, C in proportion
to the node; that is a rule of thumb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Map
from dataclasses import asdict, dataclass
from typing import Any

from ...hw.config import EngineConfig
from ...hw.engine.fetch import mask_entry
from ..errors import OneSpikeError
from .energy import mask_bits

NODE, VOLTAGE = 90.0, 1.3  # of the fit, in nm and V
NODES = (5.0, 1000.0)  # that anyone may ask for
ONE_PORT, TWO_PORTS = "one port", "a read and a write port"
# pJ per bit and per access, of reads and of writes; nW of leakage per bit.
READ = {ONE_PORT: (0.000535, 0.0265), TWO_PORTS: (0.00071, 0.0336)}
WRITE = {ONE_PORT: (0.00134, 0.031), TWO_PORTS: (0.00172, 0.0376)}
LEAKAGE = {ONE_PORT: 0.013, TWO_PORTS: 0.018}


def scale(node: float, voltage: float) -> float:
    """C V^2 of a process as a share of the fit's. OneSpikeError where node (nm) or voltage is none."""
    if not NODES[0] <= node <= NODES[1] or not 0 < voltage <= 10:
        raise OneSpikeError(f"No memory of {node:g} nm at {voltage:g} V; a node lies in 5..1000 nm, such as 130.")
    return node / NODE * (voltage / VOLTAGE) ** 2


def read_pj(width: int, depth: int, ports: str, node: float = NODE, voltage: float = VOLTAGE) -> float:
    """Energy of reading one row of `width` bits of a memory of `depth` rows."""
    return _access(READ[ports], width, depth) * scale(node, voltage)


def write_pj(width: int, depth: int, ports: str, node: float = NODE, voltage: float = VOLTAGE) -> float:
    """Energy of writing one row."""
    return _access(WRITE[ports], width, depth) * scale(node, voltage)


def leakage_uw(width: int, depth: int, ports: str) -> float:
    """Of the whole memory, of the fit's process: no rule of thumb scales it."""
    return LEAKAGE[ports] * width * depth * 1e-3


def _access(fitted: tuple[float, float], width: int, depth: int) -> float:
    return (fitted[0] * width + fitted[1]) * math.sqrt(width * depth)


def source(node: float, voltage: float) -> str:
    """One line about these figures."""
    return f"CACTI 7 (90 nm, itrs-lstp, 1.3 V; fitted), scaled by C V^2 to {node:g} nm and {voltage:g} V"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`copies` memories of one size; reads, writes: rows per image, of all copies together."""

    name: str
    copies: int
    width: int
    depth: int
    ports: str
    reads: float
    writes: float
    read_pj: float
    write_pj: float
    leakage_uw: float

    def uj(self, seconds: float) -> float:
        """Energy of an image that takes so long."""
        return (self.reads * self.read_pj + self.writes * self.write_pj) * 1e-6 + self.leakage_uw * seconds

    def figures(self, seconds: float) -> dict[str, Any]:
        """All of it, with the energy."""
        return asdict(self) | {"uj": self.uj(seconds)}


def of_engine(
    config: EngineConfig,
    bits: Map[str, float],
    node: float = NODE,
    voltage: float = VOLTAGE,
    *,
    least_rows: int = 1,
    weight_bits: int | None = None,
    word_bits: float | None = None,
) -> list[Memory]:
    """An engine's memories of at least so many rows, with the bits that an image moves (`energy.System.bits`).

    weight_bits, word_bits: of a rival on as many lanes that holds other weights, or other values than spikes. The
    tables of the walk and the layer program are read once a row or layer: they only leak.
    """
    row = config.lanes * (weight_bits or config.weight_bits)
    word = max(1, round(word_bits or config.word_bits))
    small, pool = config.fire_lanes * config.channel_bits, config.fire_lanes * config.code_bits
    sizes: list[tuple[str, int, int, int, str, float, float]] = [
        ("spikes", config.banks, word, config.spike_depth, TWO_PORTS, bits["activations_read"] / word,
         bits["activations_written"] / word),
        ("weights", config.banks, row, config.weight_depth, ONE_PORT, bits["weights_read"] / row, 0),
        ("channels", 1, small, config.channel_depth, ONE_PORT, bits["parameters_read"] / small, 0),
        ("pool", 1, pool, config.pool_depth, TWO_PORTS, bits["pool"] / 2 / pool, bits["pool"] / 2 / pool),
        ("walk", 2, 32, config.walk_depth, ONE_PORT, 0, 0),
        ("program", 1, 32, config.program_depth, ONE_PORT, 0, 0),
    ]  # fmt: skip
    if config.row_masks:
        mask = mask_entry(config).size
        moved = bits["masks_read"] / (mask_bits(config))
        sizes.append(("masks", config.banks, mask, config.mask_depth, ONE_PORT, moved, 0))
    return [
        Memory(
            name=name,
            copies=copies,
            width=width,
            depth=depth,
            ports=ports,
            reads=reads,
            writes=writes,
            read_pj=read_pj(width, depth, ports, node, voltage),
            write_pj=write_pj(width, depth, ports, node, voltage),
            leakage_uw=copies * leakage_uw(width, depth, ports),
        )
        for name, copies, width, depth, ports, reads, writes in sizes
        if depth >= least_rows
    ]
