# SPDX-License-Identifier: Apache-2.0
"""Other ways to compute the same network on the same images, with as many lanes: their cycles per image.

* `dense_cycles`: a dense MAC array whose every lane multiplies in every cycle, the best that any dense design can do.
* `coded_cycles`: the same engine with unary or PSG spikes: the paper taken literally, its groups one after the other.
* `parallel_cycles`: one array for each of the g groups, side by side. Group g fires whenever any group does, so its
  array is the slowest in every job, and the engine on one bit per value (n > 0) takes exactly the time of all.
* `integrate_and_fire`: the T-step network (`model/network/stepped.py`), every step on the same engine.

Each gets the mapping that suits it best, chosen as ours is. The image is coded as in ours: the papers leave that open.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ...hw.config import EngineConfig
from ..mapping.mapping import Mapping
from ..network import golden, stepped
from ..network.codes import MAX_FIELD
from ..network.operations import dense_macs
from ..network.spec import INPUT, Source, SpikeNet
from .choose import choose_for
from .cycles import predict_all

CHOOSING = 2  # images or steps that guide the choice of slices


def dense_cycles(net: SpikeNet, config: EngineConfig) -> float:
    """Dense MACs / lanes."""
    return sum(dense_macs(net, layer) for layer in net.layers) / (config.banks * config.lanes)


def coded_cycles(net: SpikeNet, config: EngineConfig, codes: np.ndarray, code: str) -> float:
    """Cycles per image of the engine with hidden spikes in `code`; OneSpikeError where the code cannot hold them.

    Sums of a pool that are too large for a field are left to the next layer's kernel.
    """
    if code != "radix":
        net.require_counts(f"The {code} code")
    if code != "radix" and max(top for name, top in net.top_code.items() if name != INPUT) > MAX_FIELD:
        net = without_sum_pools(net)
    groups = max((layer.groups for layer in net.layers), default=1)
    config = dataclasses.replace(config, code=code, max_groups=groups)
    result = golden.run(net, codes, layers=True, trains=code == "psg")
    mapping = choose_for(net, config, _part(result, slice(CHOOSING)))
    return _mean([sum(layer.cycles for layer in image) for image in predict_all(mapping, result)])


def parallel_cycles(net: SpikeNet, config: EngineConfig, codes: np.ndarray) -> float:
    """Cycles per image of g arrays that take one group each; they hold g times the adders and weight memories."""
    net.require_counts("An array for each group")
    found = golden.run(net, codes, trains=True)
    spikes = {INPUT: codes}
    for layer in net.layers[:-1]:
        any_group = (found.trains[layer.name] != 0).transpose(0, 2, 3, 1).astype(np.uint32)
        pooled = any_group if layer.pool is None else golden.pool(any_group, layer.pool)
        spikes[layer.name] = pooled.transpose(0, 3, 1, 2)
    result = golden.Result(logits=found.logits, codes=spikes)
    net = binary(net)
    mapping = choose_for(net, config, _part(result, slice(CHOOSING)))
    return _mean([sum(layer.cycles for layer in image) for image in predict_all(mapping, result)])


@dataclass(frozen=True, kw_only=True)
class IntegrateAndFire:
    """What the T-step network takes per image.

    update_cycles: part of `cycles`, the later steps of the layers on the image. neurons: membranes, logits included.
    state_bits: read and written of membranes and stored currents.
    """

    steps: int
    cycles: float
    update_cycles: float
    neurons: int
    state_bits: int


def integrate_and_fire(
    net: SpikeNet, config: EngineConfig, codes: np.ndarray, step: tuple[Mapping, golden.Result] | None = None
) -> IntegrateAndFire:
    """The T-step network on the engine, step after step, generously.

    Each step is a network of binary spikes whose cycles the exact model gives. Membranes lie in a block RAM with a
    read and a write port, F in a row: the drain gives F sums a cycle, so each membrane is read, updated and written
    back on their way to the fire units, and costs traffic but no cycle. A layer on the image has the same current in
    every step: its sums are made once and kept, and later steps only update its membranes, F a cycle, which nothing
    hides. The first step reads no membrane and the last writes none. step: what `one_step` gives, where it is known.
    """
    steps = stepped.steps_of(net)
    mapping, result = step or one_step(net, config, codes)
    cycles = np.array([[layer.cycles for layer in image] for image in predict_all(mapping, result)])
    cycles = cycles.reshape(steps, len(codes), -1)
    update = 0
    for index, layer in enumerate(mapping.layers):
        if stepped.constant(layer.layer):
            cycles[1:, :, index] = layer.jobs * config.drain_steps
            update += (steps - 1) * layer.jobs * config.drain_steps
    sizes = {layer.name: math.prod(net.conv_shapes[layer.name]) for layer in net.layers}
    kept = sum(sizes[layer.name] for layer in net.layers if stepped.constant(layer))
    accesses = 2 * (steps - 1) * sum(sizes.values()) + steps * kept
    return IntegrateAndFire(
        steps=steps,
        cycles=float(cycles.sum()) / len(codes),
        update_cycles=float(update),
        neurons=sum(sizes.values()),
        state_bits=accesses * membrane_bits(net),
    )


def membrane_bits(net: SpikeNet) -> int:
    """Those of an accumulator, as the sums of g steps lie within its proven range, and more for more steps."""
    steps = stepped.steps_of(net)
    least = min((layer.groups for layer in net.layers[:-1]), default=steps)
    return net.accumulator_bits + max(0, math.ceil(math.log2(steps / least)))


def one_step(net: SpikeNet, config: EngineConfig, codes: np.ndarray) -> tuple[Mapping, golden.Result]:
    """A step of the T-step network on the engine, and the spikes of all its steps, all images of a step together."""
    steps = stepped.steps_of(net)
    found = stepped.run(net, codes, layers=True).steps
    every = {name: np.concatenate([step[name] for step in found]) for name in found[0]}
    result = golden.Result(logits=np.zeros((steps * len(codes), 1), np.int64), codes=every)
    middle = len(codes) * (steps // 2)  # the first steps are almost silent
    return choose_for(binary(net), config, _part(result, slice(middle, middle + CHOOSING))), result


def binary(net: SpikeNet) -> SpikeNet:
    """The same layers with one spike a value, for mappings of binary spikes."""
    layers = (dataclasses.replace(layer, groups=min(1, layer.groups)) for layer in net.layers)
    return dataclasses.replace(net, layers=tuple(layers), membranes=None)


def without_sum_pools(net: SpikeNet) -> SpikeNet:
    """The same function with sum pools folded into the kernels that read them, where windows do not overlap."""
    readers: dict[str, list[Source]] = {}
    for layer in net.layers:
        for source in layer.sources:
            readers.setdefault(source.tensor, []).append(source)
    windows = {
        layer.name: layer.pool.kernel
        for layer in net.layers
        if layer.pool is not None
        and layer.pool.kind == "sum"
        and layer.pool.kernel == layer.pool.stride
        and not any(layer.pool.padding)
        and all(source.dilation == (1, 1) for source in readers[layer.name])
    }

    def unfolded(source: Source) -> Source:
        if source.tensor not in windows:
            return source
        tall, wide = windows[source.tensor]
        top, bottom, left, right = source.padding
        return dataclasses.replace(
            source,
            weights=source.weights.repeat(tall, 2).repeat(wide, 3),
            stride=(source.stride[0] * tall, source.stride[1] * wide),
            padding=(top * tall, bottom * tall, left * wide, right * wide),
        )

    layers = []
    for layer in net.layers:
        pool = None if layer.name in windows else layer.pool
        layers.append(dataclasses.replace(layer, pool=pool, sources=tuple(map(unfolded, layer.sources))))
    return dataclasses.replace(net, layers=tuple(layers))


def _part(result: golden.Result, part: slice) -> golden.Result:
    return golden.Result(
        logits=result.logits[part],
        codes={name: values[part] for name, values in result.codes.items()},
        trains={name: values[part] for name, values in result.trains.items()},
    )


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
