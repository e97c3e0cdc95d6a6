# SPDX-License-Identifier: Apache-2.0
"""Retune: a routed design with its PLL set to another frequency, so that it runs as fast as place and route allows.

The PLL's dividers are bits beside the routing. Nothing else of such a design knows the frequency: its UART measures the
length of a bit against the oscillator (`onespike.hw.fronts.bit_time`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..model.errors import OneSpikeError
from .clocks import Clock

# Words of Project Trellis' configuration -> parameter of EHXPLLL, and what is subtracted from it.
ECP5_WORDS = {
    "CLKI_DIV": ("CLKI_DIV", 1),
    "CLKFB_DIV": ("CLKFB_DIV", 1),
    "CLKOP_DIV": ("CLKOP_DIV", 1),
    "CLKOP_CPHASE": ("CLKOP_CPHASE", 0),
}


def retune_ecp5(routed: str, clock: Clock) -> str:
    """nextpnr's text configuration with the parameters of `clock` in its only EHXPLLL."""

    def write(word: re.Match[str]) -> str:
        if word[1] not in ECP5_WORDS:
            return word[0]
        parameter, less = ECP5_WORDS[word[1]]
        return f"word: {word[1]} {clock.parameters[parameter] - less:0{len(word[2])}b}"

    groups = [found for found in re.finditer(r"(?ms)^\.tile_group .*?(?=^\.|\Z)", routed) if "EHXPLLL" in found[0]]
    (group,) = _only(groups)
    text = re.sub(r"(?m)^word: (\w+) ([01]+)$", write, group[0])
    return routed[: group.start()] + text + routed[group.end() :]


def retune_gowin(routed: str, clock: Clock) -> str:
    """nextpnr's JSON with the parameters of `clock` in its only rPLL."""
    design = json.loads(routed)
    cells = [c for module in design["modules"].values() for c in module["cells"].values() if c["type"] == "rPLL"]
    (pll,) = _only(cells)
    parameters = {n: f"{value:032b}" if isinstance(value, int) else value for n, value in clock.parameters.items()}
    pll["parameters"] |= parameters
    return json.dumps(design)


def _only(found: list[Any]) -> list[Any]:
    if len(found) != 1:
        raise OneSpikeError(f"The routed design should have one PLL, not {len(found)}; report this.")
    return found


RETUNE: Mapping[str, Callable[[str, Clock], str]] = {"ecp5": retune_ecp5, "gowin": retune_gowin}  # by family
