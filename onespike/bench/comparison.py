# SPDX-License-Identifier: Apache-2.0
"""The same trained network under several methods: an entry is a row of `METHODS` with settings.

All that run on hardware share one engine, the smallest that holds each of them, so that their cycles compare. Methods
without hardware have none: of the T-step networks stands beside what `model/cost/baselines.py` charges a rival that has
this engine and a memory for its membranes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..hw.program import program_words
from ..model.convert.converter import Conversion, prepare
from ..model.convert.image_tensor import check_images
from ..model.convert.methods import METHODS, Groups, Start, own_settings
from ..model.cost import baselines, energy
from ..model.cost.choose import choose_for, spike_rates
from ..model.cost.cycles import predict_all, utilisation
from ..model.frontend.graph import Graph
from ..model.mapping.mapper import map_network, round_depth
from ..model.mapping.mapping import Mapping as Mapped
from ..model.mapping.sparse import for_sparse
from ..model.network import golden, stepped
from ..model.network.operations import count, dense_macs
from ..model.network.spec import INPUT, Image, Layer, SpikeNet, signed_bits
from .fired import count_fired

BATCH = 4  # images whose spikes of all steps are held at a time
MOVED = {
    "weights": ("weights_read", "masks_read"),
    "activations": ("activations_read", "activations_written"),
    "parameters": ("parameters_read", "pool"),
    "state": ("state",),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """label: short, unique. stated: groups, phases, steps and wait. method: a row of METHODS, with these settings."""

    label: str
    stated: str
    method: str
    settings: Mapping[str, Any]


def entries(
    groups: Sequence[int], phases: Sequence[int], base: float | str | None, methods: Sequence[str] | None = None
) -> tuple[Entry, ...]:
    """All methods, or those named; T of ASG and of the T-step networks is the first of `groups`, and four times it."""
    steps = groups[0]
    own: dict[str, Any] = {} if base is None else {"base": base}
    listed: list[tuple[str, str, str, dict[str, Any]]] = [
        *(("psg", f"g={g}", f"g = {g} groups, 1 step", {"groups": g}) for g in groups),
        ("psg", "short", "16 short levels, 1 step", {"levels": "short"}),
        *(("phase", f"T={t}", f"T = {t} phases, wait {t}", {"phases": t} | own) for t in phases),
        ("asg", f"T={steps}", f"T = {steps}, averaged: 1 step", {"steps": steps}),
        *((name, f"T={t}", f"T = {t} steps, g = {steps}", {"steps": t, "groups": steps})
          for name in ("if", "ctt") for t in (steps, 4 * steps)),
    ]  # fmt: skip
    return tuple(
        Entry(label=f"{method} {variant}", stated=stated, method=method, settings=settings)
        for method, variant, stated, settings in listed
        if method in METHODS and (methods is None or method in methods)
    )


def start_of(graph: Graph, image: Image, images: np.ndarray | None, settings: Mapping[str, Any]) -> Start:
    """What all entries start from; a conversion that several want is made once. settings: of `prepare`, for all."""
    known: dict[str, Conversion] = {}

    def build(*, groups: Groups = 8, levels: Any = "uniform", budget: int = 8, rounding: str = "nearest") -> Conversion:
        own: dict[str, Any] = {"groups": groups, "levels": levels, "budget": budget, "rounding": rounding}
        if repr(own) not in known:
            made = prepare(graph, calibration=images, **own, **settings)
            known[repr(own)] = dataclasses.replace(made, settings={})
        return known[repr(own)]

    checked = None if images is None else check_images(images, image, own_scale=graph.image is not None)
    return Start(graph=graph, image=image, images=checked, build=build)


def convert(entry: Entry, start: Start) -> Conversion:
    """One entry's conversion, as `prepare` makes it."""
    method = METHODS[entry.method]
    given = own_settings(method, entry.settings)
    made = method.convert(start, **given)
    return dataclasses.replace(made, method=method.name, settings={**given, **made.settings})


def on_one_engine(nets: Sequence[SpikeNet], config: EngineConfig, codes: np.ndarray) -> list[Mapped]:
    """Every network on the smallest engine of these banks and lanes that holds them all.

    codes: images that guide the choice of slices, made for each as if it was alone.
    """
    config, alone = for_sparse(config, *nets), []
    for net in nets:
        result = golden.run(net, codes, layers=True)
        alone.append((choose_for(net, config, result), spike_rates(net, result, config)))
    needed = {"shadows"} | {name for mapping, _ in alone for name in mapping.needs}
    widest = {name: max(getattr(mapping.config, name) for mapping, _ in alone) for name in needed}
    engine = dataclasses.replace(config, **widest)
    words = max(program_words(engine, len(mapping.layers)) for mapping, _ in alone)
    engine = dataclasses.replace(engine, program_depth=round_depth(words))
    found = []
    for mapping, rates in alone:
        found.append(map_network(mapping.net, engine, rates=rates, **mapping.options))
    return found


def on_hardware(mapping: Mapped, codes: np.ndarray, cycled: int) -> dict[str, Any]:
    """Figures per image of a network on the engine; cycles of the first `cycled` images."""
    net, config = mapping.net, mapping.config
    operations = count(net, codes, image_code=mapping.tensors[INPUT].code, multiples=config.worths)
    estimated = energy.estimate(mapping, codes, operations)
    predicted = predict_all(mapping, golden.run(net, codes[:cycled], layers=True))
    every = [layer for image in predicted for layer in image]
    found = {
        "events": operations.events_radix,
        "additions": operations.additions_radix,
        "neuron_operations": operations.total("neuron_operations"),
        "cycles": sum(layer.total for layer in every) / cycled,
        "utilisation": utilisation(every, config.banks, config.lanes),
        "rival_cycles": None,
    }
    quantised, skipped = estimated["quantised"], estimated["quantised_skip"]
    bits = max((value_bits(layer) for layer in net.layers[:-1]), default=1)
    return found | _spent(estimated["onespike"]) | {
        "quantised": {
            "bits": bits,
            "operations_int8_uj": quantised.int8_uj,
            "memory_uj": quantised.total_uj,
            "macs_nonzero": operations.macs_nonzero,
            "skipping_memory_uj": skipped.total_uj,
        },
        "dense": {
            "operations_int8_uj": estimated["dense"].int8_uj,
            "memory_uj": estimated["dense"].total_uj,
        },
    }  # fmt: skip


def value_bits(layer: Layer) -> int:
    """Bits of what a layer fires, before a pool adds any up: ceil(log2(g + 1)) of counts."""
    low, top = (layer.low, layer.groups) if layer.levels is None else (layer.levels.low, layer.levels.top)
    return signed_bits(low, top) if low else top.bit_length()


def over_steps(net: SpikeNet, config: EngineConfig, codes: np.ndarray, cycled: int) -> dict[str, Any]:
    """The same figures of a T-step network, as `baselines.integrate_and_fire` runs it; its cycles are a rival's."""
    step = baselines.one_step(net, config, codes[:cycled])
    rival = baselines.integrate_and_fire(net, config, codes[:cycled], step)
    held = rival.neurons * baselines.membrane_bits(net)
    system, events = energy.stepped(step[0], _batches(net, codes), rival.state_bits, held)
    return {
        "events": events,
        "additions": system.operations,
        "neuron_operations": float(rival.steps * rival.neurons),
        "cycles": None,
        "utilisation": None,
        "rival_cycles": rival.cycles,
    } | _spent(system)


def _batches(net: SpikeNet, codes: np.ndarray) -> Iterator[list[dict[str, np.ndarray]]]:
    """Spikes of every step, some images at a time."""
    for start in range(0, len(codes), BATCH):
        yield stepped.run(net, codes[start : start + BATCH], layers=True).steps


def _spent(system: energy.System) -> dict[str, Any]:
    moved = {name: sum(system.bits.get(part, 0) for part in parts) for name, parts in MOVED.items()}
    return {
        "bits": moved | {"all": sum(moved.values())},
        "energy": {"operations_int8_uj": system.int8_uj, "memory_uj": system.total_uj},
    }


def measure(
    conversions: Sequence[tuple[Entry, Conversion | str]],
    config: EngineConfig,
    codes: np.ndarray,
    cycled: int,
    right: Callable[[SpikeNet], float],
    stage: Callable[[str], Any],
) -> dict[str, Any]:
    """Figures of every entry, of those that were converted; a sentence stands for one that was not.

    codes: images that are counted, the first `cycled` of them by cycles. right: share of right answers of a network.
    stage: a context of what is being done, for people.
    """
    nets = {entry.label: found.net for entry, found in conversions if not isinstance(found, str)}
    different = {net.hash: net for net in nets.values() if net.membranes is None}
    with stage("Choosing the engine that holds them all"):
        mappings = dict(zip(different, on_one_engine(list(different.values()), config, codes[:cycled]), strict=True))
    engine = next((mapping.config for mapping in mappings.values()), config)
    measured: dict[str, dict[str, Any]] = {}  # by hash: methods may give the same network
    rows: list[dict[str, Any]] = []
    for entry, found in conversions:
        row: dict[str, Any] = {**vars(entry), "settings": dict(entry.settings), "refused": None}
        if isinstance(found, str):
            rows.append(row | {"refused": found})
            continue
        net = found.net
        row |= {"hash": net.hash, "settings": dict(found.settings), "without_hardware": None}
        if net.membranes is not None:
            row["without_hardware"] = METHODS[entry.method].hardware
        if net.hash not in measured:
            with stage(f"{entry.label}: accuracy, spikes, operations, cycles and energy"):
                spikes = count_fired(net, codes)
                figures = {"accuracy": right(net), **vars(spikes), "spikes_per_neuron": spikes.per_neuron}
                if net.membranes is None:
                    figures |= on_hardware(mappings[net.hash], codes, cycled)
                else:
                    figures |= over_steps(net, config, codes, cycled)
                    beside = measured.get(found.one_step.hash, {})
                    figures |= {key: beside.get(key) for key in ("quantised", "dense")}
            measured[net.hash] = figures
        rows.append(row | measured[net.hash])
    macs = next((sum(dense_macs(net, layer) for layer in net.layers) for net in nets.values()), 0)
    for row in rows:
        if not row["refused"]:
            row["events_per_mac"] = row["events"] / max(1, macs)
    return {
        "engine": vars(engine),
        "images": {"counted": len(codes), "cycles": cycled},
        "dense": {"macs": macs, "cycles": macs / (engine.banks * engine.lanes)},
        "tables": {"operations": energy.OPERATIONS_TABLE, "memory": energy.MEMORY_TABLE},
        "methods": rows,
    }
