# SPDX-License-Identifier: Apache-2.0
"""How long reading the outputs takes, and what that is for images that follow one another."""

from __future__ import annotations

from ..mapping.mapping import Mapping
from .cycles import LayerCycles

READOUT_LATENCY = 3  # cycles of a readout beside its beats and rows


def readout(mapping: Mapping) -> int:
    """Cycles from the last layer's end until the next image's may begin: its outputs leave meanwhile, if they are taken
    at once; one every two cycles, and a cycle for each row of F (see `onespike.hw.engine.logits.Logits`).
    """
    last = mapping.layers[-1]
    return 2 * mapping.net.classes + last.pixels * last.logit_rows(mapping.config) + READOUT_LATENCY


def interval(mapping: Mapping, layers: list[LayerCycles]) -> int:
    """Cycles from image to image where all are like this one and follow back to back: those of its layers, or, where
    that is more, those of the last layer and of the outputs that it waits for.
    """
    pairs = list(zip(mapping.layers, layers, strict=True))
    last = sum(cycles.total for layer, cycles in pairs if not layer.layer.fires)
    return max(sum(cycles.total for _, cycles in pairs), last + readout(mapping))
