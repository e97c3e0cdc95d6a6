# SPDX-License-Identifier: Apache-2.0
"""What lies where in the engine's memories, and how full they are."""

from __future__ import annotations

from typing import Any

from ..hw.config import EngineConfig
from ..hw.engine.load import target_widths
from ..model.mapping.mapping import Mapping
from ..model.network.spec import INPUT

# Depth of EngineConfig -> name, what `target_widths` calls its row, and whether every bank has one.
SMALL = {
    "channel_depth": ("channel parameters", "channels", False),
    "program_depth": ("layer program", "program", False),
}


def figures(mapping: Mapping) -> list[dict[str, Any]]:
    """Every large memory: copies, depth and bits of a row, rows in use, and regions in the spike and weight memories.

    begin, end: first row and the one after the last. first, last: layers, by number, between which a tensor lives; the
    image is there before the first (-1).
    """
    config, needs = mapping.config, mapping.needs
    widths = target_widths(config)
    found = [
        _memory("spike memory", config.banks, config.spike_depth, config.word_bits, needs["spike_depth"],
                _tensors(mapping)),
        _memory("weight memory", config.banks, config.weight_depth, config.lanes * config.weight_bits,
                needs["weight_depth"], _weights(mapping)),
    ]  # fmt: skip
    if config.row_masks:
        bits = config.word_chunks + config.weight_addr_bits
        found.append(_memory("row masks", config.banks, config.mask_depth, bits, needs["mask_depth"]))
    for parameter, (name, row, each) in SMALL.items():
        copies = config.banks if each else 1
        found.append(_memory(name, copies, getattr(config, parameter), widths[row], needs[parameter]))
    walk = [("row table", "rows"), ("column table", "columns")]
    found += [_memory(name, 1, config.walk_depth, widths[row], needs["walk_depth"]) for name, row in walk]
    return found


def _memory(
    name: str, copies: int, depth: int, width: int, used: int, regions: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {
        "name": name, "copies": copies, "depth": depth, "width": width, "used": used, "fill": used / depth,
        "bits": copies * depth * width, "regions": regions or [],
    }  # fmt: skip


def _tensors(mapping: Mapping) -> list[dict[str, Any]]:
    """Tensors in each bank's spike memory; the image has two buffers, so that the next one can be loaded."""
    layers = mapping.net.layers
    made = {layer.name: number for number, layer in enumerate(layers)}
    regions = []
    for name, tensor in mapping.tensors.items():
        readers = [i for i, layer in enumerate(layers) for source in layer.sources if source.tensor == name]
        buffers = 2 if name == INPUT and mapping.image_double else 1
        regions.append(
            {
                "name": name,
                "begin": tensor.base,
                "end": tensor.base + buffers * tensor.size,
                "buffers": buffers,
                "slices": len(tensor.slices),
                "first": made.get(name, -1),
                "last": len(layers) - 1 if name == INPUT else max(readers),
            }
        )
    return regions


def _weights(mapping: Mapping) -> list[dict[str, Any]]:
    """Layers in each bank's weight memory, one after another; streamed ones take turns, and have no fixed place."""
    config: EngineConfig = mapping.config
    if config.streams_weights:
        return []
    regions, at = [], 0
    for layer in mapping.layers:
        regions.append({"name": layer.name, "begin": at, "end": at + layer.weight_rows})
        at += layer.weight_rows
    return regions
