# SPDX-License-Identifier: Apache-2.0
"""What the commands print, as plain dictionaries: the contents of --json files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .hw.config import EngineConfig
from .model.convert.layerwise import Losses, Occupancy
from .model.cost import sensitivity
from .model.cost.cycles import CAUSES, LayerCycles, utilisation
from .model.cost.energy import PROSE, Energy
from .model.cost.readout import interval
from .model.mapping.mapping import Mapping
from .model.network.operations import Operations
from .model.network.spec import SpikeNet

if TYPE_CHECKING:
    from .sim.engine import Simulated


def network(net: SpikeNet) -> dict[str, Any]:
    """Shapes, weights and widths of a network."""
    layers = []
    for layer in net.layers:
        low, high = net.accumulator_range(layer)
        kernel = "x".join(map(str, layer.sources[0].weights.shape[2:]))
        pool = "" if layer.pool is None else f"{layer.pool.kind} {'x'.join(map(str, layer.pool.kernel))}"
        layers.append(
            {
                "name": layer.name,
                "sources": [source.tensor for source in layer.sources],
                "kernel": kernel,
                "kernel_groups": [source.groups for source in layer.sources],
                "pool": pool,
                "shape": list(net.shapes[layer.name]),
                "weights": sum(source.weights.size for source in layer.sources),
                "zero_weights": sum(int((source.weights == 0).sum()) for source in layer.sources),
                "groups": layer.groups,
                "low": layer.low,
                "levels": None if layer.levels is None else list(layer.levels.levels),
                "shift": [int(layer.shift.min()), int(layer.shift.max())],
                "accumulator": [low, high],
            }
        )
    return {
        "hash": net.hash,
        "image": list(net.image.shape),
        "weight_bits": net.weight_bits,
        "accumulator_bits": net.accumulator_bits,
        "groups": groups(net),
        "meta": net.meta,
        "layers": layers,
    }


def groups(net: SpikeNet) -> int:
    """g, the most spikes of any value before a sum pool."""
    return max((layer.groups for layer in net.layers), default=0)


def layers(occupied: list[Occupancy], losses: Losses | None) -> dict[str, Any]:
    """What `eval` finds in every layer; a layer's loss only where the float network is known."""
    rows = {found.name: vars(found) for found in occupied}
    for loss in losses.layers if losses is not None else ():
        rows[loss.name] = rows.get(loss.name, {}) | vars(loss)
    return {"layers": list(rows.values())}


def hardware(mapping: Mapping) -> dict[str, Any]:
    """The engine's parameters; by layer, the banks that share a job; tensors whose channels are in another order."""
    return {**vars(mapping.config), "slices": mapping.options["slices"], "ordered": list(mapping.ordered)}


def operations(counted: Operations) -> dict[str, Any]:
    """Per image, with the layers."""
    names = (
        "dense_macs", "macs_nonzero", "events_radix", "additions_radix", "additions_unary", "spikes_radix",
        "spikes_unary",
    )  # fmt: skip
    per_layer = (
        "macs",
        "macs_nonzero",
        "events_radix",
        "additions_radix",
        "additions_unary",
        "spikes_radix",
        "spikes_unary",
        "neurons",
        "neurons_fired",
        "neuron_operations",
    )
    return {
        "images": counted.images,
        "image_code": counted.image_code,
        **{name: getattr(counted, name) for name in names},
        "neuron_operations": counted.total("neuron_operations"),
        "neurons_fired": counted.total("neurons_fired"),
        "spike_rate": counted.spike_rate,
        "layers": [
            {"name": layer.name, **{name: getattr(layer, name) / counted.images for name in per_layer}}
            for layer in counted.layers
        ],
    }


def energy(estimated: Energy) -> dict[str, Any]:
    """Per image, both cost tables by name, with the sentences that say where spiking loses."""
    return {
        "images": estimated.images,
        "tables": {"operations": estimated.tables[0], "memory": estimated.tables[1]},
        "systems": [
            {
                "name": system.name,
                "label": system.label,
                "operations": system.operations,
                "operations_fp32_uj": system.fp32_uj,
                "operations_int8_uj": system.int8_uj,
                "memory_uj": system.total_uj,
                "memory_parts_uj": dict(system.memory_uj),
                "bits": dict(system.bits),
            }
            for system in estimated.systems
        ],
        "sentences": estimated.sentences(),
    }


def defended(estimated: Energy, config: EngineConfig) -> dict[str, Any]:
    """At which price of memory each verdict flips, and the rivals that use a weight for several pixels."""
    ours, who = estimated["onespike"].total_uj, estimated["onespike"].label.split(",")[0]
    found = sensitivity.reuses(estimated, config)
    flips = sensitivity.flips(estimated, config)
    best = [sensitivity.best(found, name) for name in dict.fromkeys(one.rival for one in found)]
    return {
        "sensitivity": [vars(flip) | {"sentence": flip.sentence(PROSE[flip.rival], who)} for flip in flips],
        "reuse": [vars(one) | {"ours_share": ours / one.total_uj} for one in found],
        "reuse_sentences": [
            f"Against the {PROSE[one.rival]}, each weight used for {one.pixels} pixels, {who} "
            f"{'loses' if ours > one.total_uj else 'wins'} by energy with memory, {ours / one.total_uj:.2f} of the "
            f"rival's, whose register file takes {one.file_uj:.3f} uJ."
            for one in best
        ],
    }


def cycles(mapping: Mapping, images: Sequence[Sequence[LayerCycles]]) -> dict[str, Any]:
    """What the cycle model says of each layer, means over the images; `lane_cycles` explains every lane's cycles."""
    config = mapping.config
    layers: list[dict[str, Any]] = []
    for index, layer in enumerate(mapping.net.layers):
        parts = [place for place, part in enumerate(mapping.layers) if part.index == index]
        mean = {key: float(np.mean([sum(getattr(image[p], key) for p in parts) for image in images]))
                for key in ("cycles", "total", "event", "empty", "waiting", "useful", "stalled", "fetch")}  # fmt: skip
        causes = [image[p].lane_cycles(config.banks, config.lanes) for image in images for p in parts]
        found = {
            "name": layer.name,
            "predicted_cycles": mean["total"],
            "events": mean["event"],
            "empty": mean["empty"],
            "waiting": mean["waiting"],
            "slices": mapping.layers[parts[0]].slices,
            "utilisation": mean["useful"] / (config.banks * config.lanes * mean["total"]),
            "lane_cycles": {cause: sum(one[cause] for one in causes) / len(images) for cause in CAUSES},
        }
        if config.streams_weights:
            found |= {
                "parts": len(parts),
                "compute_cycles": mean["cycles"],
                "fetch_cycles": mean["fetch"],
                "stalled": mean["stalled"],
                "bound": "weights" if mean["fetch"] > mean["cycles"] else "compute",
            }
        layers.append(found)
    every = [layer for image in images for layer in image]
    return {
        "predicted_cycles_per_image": sum(layer["predicted_cycles"] for layer in layers),
        "interval": float(np.mean([interval(mapping, list(image)) for image in images])),
        "utilisation": utilisation(every, config.banks, config.lanes),
        "utilisation_with_zeros": utilisation(every, config.banks, config.lanes, zeros=True),
        "lane_cycles": {cause: sum(layer["lane_cycles"][cause] for layer in layers) for cause in CAUSES},
        "layers": layers,
    }


def rtl(found: Simulated, mapping: Mapping) -> dict[str, Any]:
    """What the simulation showed; cycles, events and utilisation by layer are means over the images with counters."""
    predicted = found.predicted[-len(found.counters) :]
    layers = cycles(mapping, predicted)["layers"]
    for index, layer in enumerate(layers):
        parts = [place for place, part in enumerate(mapping.layers) if part.index == index]
        counted, events, empty, waiting, *stalled = (float(v) for v in found.counters[:, parts].sum(1).mean(0))
        layer |= {"cycles": counted + sum(stalled), "events": events, "empty": empty, "waiting": waiting}
        layer["utilisation"] *= layer["predicted_cycles"] / layer["cycles"]
        del layer["lane_cycles"]  # predicted only
        if stalled:
            layer["stalled"] = stalled[0]
    return {
        "images": found.images,
        "mismatches": found.mismatches,
        "cycle_mismatches": found.cycle_mismatches,
        "words_compared": found.words,
        "cycles_per_image": found.cycles_per_image,
        "predicted_cycles_per_image": found.predicted_cycles_per_image,
        "utilisation": found.utilisation,
        "simulated_cycles": found.simulated_cycles,
        "seconds": found.seconds,
        "layers": layers,
    }
