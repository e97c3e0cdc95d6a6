# SPDX-License-Identifier: Apache-2.0
"""Networks without weights: parameters, dense MACs and an estimate of the cycles, from shapes alone.

The estimate has the engine's structure (jobs, slices, one drain) but no data: every layer's inputs are taken to hold
`rate` events per dense MAC, spread evenly over channels and places. Per layer, with P = banks / S groups,

    jobs   = places x blocks of L channels
    cycles = latency + max(jobs / P x inputs x rate / S,  jobs / P x spike words / S,  jobs x max(S / D, 1) x L / F)

for the S with the fewest. Exact cycles need weights and images: `onespike report`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...hw.config import EngineConfig
from ..errors import OneSpikeError
from ..network.codes import field_width

NAMED = Path(__file__).with_name("networks.json")  # made by onespike.model.training.shapes

# Events per dense MAC: ResNet-20 on CIFAR-10 at g = 8, padding included; its first layer, on 8-bit pixels.
RATE = 0.41
IMAGE_RATE = 2.4
LATENCY = 45  # cycles between a layer's last event and the next layer's first


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """One layer of the machine. inputs: channels; size: output map before the pool; places: output places that are
    computed, more than the map has where pooling windows overlap; shortcut: channels of an identity that is added.
    """

    name: str
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    size: tuple[int, int]
    places: int
    weights: int
    biases: int
    shortcut: int = 0

    @property
    def macs(self) -> int:
        """Of the dense network, padding included."""
        return self.size[0] * self.size[1] * self.weights


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """cycles: estimated; bound: what they wait for, "events", "words" or "drain"; slices: banks that share a job."""

    cycles: float
    bound: str
    slices: int


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A network by shape. parameters: before batch norm is folded."""

    parameters: int
    layers: tuple[LayerShape, ...]


def named(name: str) -> Shapes:
    """A network by name, from networks.json; OneSpikeError where there is none of that name."""
    known = json.loads(NAMED.read_text())
    if name not in known["networks"]:
        raise OneSpikeError(f"There is no network {name!r}; choose one of {', '.join(known['networks'])}.")
    found = known["networks"][name]
    rows = (dict(zip(known["fields"], row, strict=True)) for row in found["layers"])
    layers = (LayerShape(**(row | {"kernel": tuple(row["kernel"]), "size": tuple(row["size"])})) for row in rows)
    return Shapes(parameters=found["parameters"], layers=tuple(layers))


def estimate(
    layers: Sequence[LayerShape], config: EngineConfig, *, rate: float = RATE, image_rate: float = IMAGE_RATE
) -> list[LayerEstimate]:
    """Cycles of every layer for one image; the first layer reads the image."""
    result = []
    for index, layer in enumerate(layers):
        density = image_rate if index == 0 else rate
        field = field_width("signed", 255) if index == 0 else field_width("radix", config.max_groups)
        per_word = config.word_bits // field
        jobs = layer.places * -(-layer.outputs // config.lanes)
        reads = layer.inputs * math.prod(layer.kernel) + layer.shortcut
        best: LayerEstimate | None = None
        for slices in (2**i for i in range(config.banks.bit_length())):
            share = jobs / (config.banks // slices)
            words = math.prod(layer.kernel) * -(-layer.inputs // (slices * per_word))
            times = {
                "events": share * reads * density / slices,
                "words": share * words,
                "drain": float(jobs * max(slices // config.drain_banks, 1) * config.drain_steps),
            }
            bound = max(times, key=lambda name: times[name])
            found = LayerEstimate(cycles=LATENCY + times[bound], bound=bound, slices=slices)
            if best is None or found.cycles < best.cycles:
                best = found
        assert best is not None
        result.append(best)
    return result
