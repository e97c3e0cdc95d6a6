# SPDX-License-Identifier: Apache-2.0
"""What the sections are made from: figures, which also leave as JSON, and pixels and times that only pictures show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

HERE = "here"  # the id of what `report` itself has counted


@dataclass(frozen=True, kw_only=True)
class Material:
    """busy: [banks, bins] of the first image's timeline; shades: its tensors by name, [channels, pixels] in -1..1;
    pixels: the image itself [H, W] or [H, W, 3] in 0..1, where it is one that eyes can read; trace: for Perfetto."""

    figures: dict[str, Any]
    busy: np.ndarray
    shades: dict[str, np.ndarray]
    pixels: np.ndarray | None
    trace: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def measured(self, part: str) -> Any:
        """The figures that a file holds of a part, or None."""
        return self.figures["measured"].get(part)

    def origin(self, part: str) -> str:
        """The id of the source of a part; of what has none, that of this command."""
        return next((source["id"] for source in self.figures["sources"] if part in source["parts"]), HERE)

    def missing(self, *parts: str) -> tuple[tuple[str, str], ...]:
        """What of these parts, or of all, nobody has measured, with the commands that do."""
        return tuple(
            (row["what"], row["command"]) for row in self.figures["missing"] if not parts or row["part"] in parts
        )

    @property
    def array(self) -> str:
        """The engine's size."""
        hardware = self.figures["hardware"]
        return f"{hardware['banks']} x {hardware['lanes']}"


def placed(material: Material) -> dict[str, Any] | None:
    """What place and route found, of a bitstream or else of the engine alone: part, clocks in MHz, resources as
    (name, used, available), critical path, seed, tools; None where nobody has asked."""
    if (found := material.measured("bitstream")) is not None:
        last = found["attempts"][-1]
        extra = material["measured"]["bitstream_of"]
        return {
            "origin": material.origin("bitstream"),
            "what": f"the whole design for the board {found['board']}",
            "target": extra["target"],
            "clock_mhz": found["clock_mhz"],
            "asked_mhz": last["clock_mhz"],
            "reached_mhz": last["reached_mhz"],
            "resources": [(name, used, have) for name, (used, have) in found["resources"].items()],
            "critical_path": last["critical_path"],
            "seed": extra["seed"],
            "tools": found["tools"],
        }
    if (found := material.measured("synthesis")) is not None:
        extra = material["measured"]["synthesis_of"]
        have = extra["available"]
        names = (("LUTs", "luts"), ("flip-flops", "flip_flops"), ("block RAMs", "block_rams"))
        return {
            "origin": material.origin("synthesis"),
            "what": "the engine without a front",
            "target": found["target"],
            "clock_mhz": found["fmax_mhz"],
            "asked_mhz": extra["asked_mhz"],
            "reached_mhz": found["fmax_mhz"],
            "resources": [(shown, found[name], have[name]) for shown, name in names],
            "critical_path": found["critical_path"],
            "seed": found["seed"],
            "tools": found["tools"],
        }
    return None


def cycles_per_image(material: Material) -> tuple[float, str, str]:
    """Cycles, whether they were simulated or predicted, and the id of their source."""
    rtl = material.measured("rtl")
    if rtl is not None:
        return rtl["cycles_per_image"], f"simulated, {rtl['images']} images", material.origin("rtl")
    cycles = material["cycles"]
    return cycles["predicted_cycles_per_image"], f"exact model, {cycles['images']} images", HERE
