# SPDX-License-Identifier: Apache-2.0
"""Sensitivity: at which price of memory, against that of an addition, a verdict on energy flips; and reuse of weights.

Every system of `energy.Energy` costs a + k m, its arithmetic and its memory in the table, with k times the table's
price of memory. Ours and a rival's are equal at

    k* = (a_rival - a_ours) / (m_ours - m_rival)

The ratio that a reader knows is that of a byte read from the weight memory to an addition at the accumulator's width:
the table's, times k.

A rival that holds each weight for R pixels reads it R times less often, and holds R sums in every lane for it: they
move into a register file of R words, which every addition reads and writes.

    a + weights / R + activations + parameters + 2 bits(R sums) * file(R)

file(R), per bit: a register file of 0.5 KB takes as much for 16 bits as a 16-bit MAC (Y.-H. Chen, J. Emer, V. Sze,
"Eyeriss", ISCA 2016, table IV); the MAC is Horowitz's; smaller files cost less by the root of their size. R = 1 is the
table's own array, whose sums lie in registers like ours, which nobody is charged for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from .energy import Energy, System, access, add, multiply

FILE_BITS = 4096  # of Eyeriss's register file
FILE_PJ = (multiply(16, 16) + add(16)) / 16  # per bit of an access
REUSE = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Where the verdict against one rival flips.

    ratio: of the table, a byte of weights to an addition. wins: ours, at that ratio. flips_at: the ratio at which both
    take the same, None where ours wins or loses at every ratio.
    """

    rival: str
    ratio: float
    wins: bool
    flips_at: float | None

    def sentence(self, prose: str, who: str = "OneSpike") -> str:
        """In words, for a rival called so, and ours."""
        now = "wins" if self.wins else "loses"
        if self.flips_at is None:
            return f"Against the {prose}, {who} {now} at every price of memory."
        return (
            f"Against the {prose}, {who} {now} where a byte of weights costs {self.ratio:.1f} additions, as in the "
            f"table with memory; the verdict flips at {self.flips_at:.1f}."
        )


def table_ratio(config: EngineConfig) -> float:
    """What a byte of weights costs in the table with memory, in additions at the accumulator's width."""
    bits = config.weight_depth * config.lanes * config.weight_bits
    return 8 * access(bits) / add(config.acc_bits)


def flips(energy: Energy, config: EngineConfig) -> list[Flip]:
    """One for every rival."""
    ratio, ours = table_ratio(config), energy["onespike"]
    return [flip(ours, rival, ratio) for rival in energy.systems if rival is not ours]


def flip(ours: System, rival: System, ratio: float) -> Flip:
    """Where a + k m of both are equal, as a ratio; only k > 0 is a price."""
    gained = rival.memory_uj["arithmetic"] - ours.memory_uj["arithmetic"]
    lost = memory(ours) - memory(rival)
    k = gained / lost if lost else math.inf
    wins = ours.total_uj < rival.total_uj
    return Flip(rival=rival.name, ratio=ratio, wins=wins, flips_at=k * ratio if 0 < k < math.inf else None)


def memory(system: System) -> float:
    """uJ of all but arithmetic."""
    return system.total_uj - system.memory_uj["arithmetic"]


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """A rival that uses each weight for `pixels` pixels: uJ per image of all, of weights, and of its register file."""

    rival: str
    pixels: int
    total_uj: float
    weights_uj: float
    file_uj: float


def file_pj(words: int, bits: int) -> float:
    """pJ per bit of an access to a register file of so many words of so many bits; a single word is no file."""
    return 0.0 if words == 1 else FILE_PJ * math.sqrt(words * bits / FILE_BITS)


def reuse(system: System, acc_bits: int, pixels: int) -> Reuse:
    """A system of the table that uses each weight for so many pixels."""
    if pixels < 1:
        raise OneSpikeError(f"A weight is used for 1 pixel or more, not {pixels}.")
    weights = system.memory_uj["weights"] / pixels
    held = 2 * system.bits["registers"] * file_pj(pixels, acc_bits) * 1e-6
    rest = system.total_uj - system.memory_uj["weights"]
    return Reuse(
        rival=system.name, pixels=pixels, total_uj=rest + weights + held, weights_uj=weights, file_uj=held
    )


def reuses(energy: Energy, config: EngineConfig, pixels: Sequence[int] = REUSE) -> list[Reuse]:
    """Dense, quantised and zero-skipping rivals at each reuse."""
    rivals = [energy[name] for name in ("dense", "quantised", "quantised_skip")]
    return [reuse(rival, config.acc_bits, number) for rival in rivals for number in pixels]


def best(found: Sequence[Reuse], rival: str) -> Reuse:
    """The reuse that costs a rival least."""
    return min((one for one in found if one.rival == rival), key=lambda one: one.total_uj)
