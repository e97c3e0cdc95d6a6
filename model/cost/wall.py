# SPDX-License-Identifier: Apache-2.0
"""The wall: what an image costs at the socket, where a board takes its watts whether it computes or not.

    joules per image = watts of the board / images per second

The floors below are of the chip alone, configured and idle: a board takes more, with its regulators, its USB bridge and
its memory, so measure it and give --board-watts. Sources: typical static currents of core (1.1 V) and auxiliary supply
(2.5 V) in Lattice's data sheets, FPGA-DS-02012 (ECP5: 77, 77, 116 and 212 mA; 16, 16, 17 and 26 mA); of the iCE40UP5K,
measured with a 12 MHz clock and a counter of 28 bits by tinyVision.ai (github.com/tinyvision-ai-inc/ice40_power:
613.5 uA at 1.219 V).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import OneSpikeError

CORE, AUXILIARY = 1.1, 2.5  # V of an ECP5
FLOORS = {
    "ecp5-12k": 0.077 * CORE + 0.016 * AUXILIARY,
    "ecp5-25k": 0.077 * CORE + 0.016 * AUXILIARY,
    "ecp5-45k": 0.116 * CORE + 0.017 * AUXILIARY,
    "ecp5-85k": 0.212 * CORE + 0.026 * AUXILIARY,
    "ice40-up5k": 613.5e-6 * 1.219,
}  # W of the chip
STATIC = "typical static power of the chip (data sheet, or measured; see docs/energy.md); the board takes more"
MEASURED = "as given with --board-watts"


@dataclass(frozen=True, kw_only=True)
class Wall:
    """watts, and what they are of; images_per_second; joules of an image."""

    watts: float
    source: str
    images_per_second: float

    @property
    def joules(self) -> float:
        return self.watts / self.images_per_second


def wall(cycles: float, mhz: float, *, watts: float | None = None, target: str = "") -> Wall | None:
    """What an image of so many cycles costs; None where neither watts nor a known part is given.

    OneSpikeError where watts, clock or cycles are none.
    """
    if watts is not None and not (0 < watts < math.inf):
        raise OneSpikeError(f"A board takes more than 0 W, not {watts:g} W; measure it at its supply.")
    if not (0 < mhz < math.inf and 0 < cycles < math.inf):
        raise OneSpikeError(f"No images per second from {cycles:g} cycles at {mhz:g} MHz.")
    found = FLOORS.get(target) if watts is None else watts
    if found is None:
        return None
    return Wall(watts=found, source=STATIC if watts is None else MEASURED, images_per_second=mhz * 1e6 / cycles)
