# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.engine.counters import COUNTERS, Counters, counter_stride, layer_depth
from onespike.hw.program import program_words
from onespike.sim.stream import run_pipeline

PORTS = COUNTERS[1:]


def config(banks: int, layers: int) -> EngineConfig:
    return EngineConfig(banks=banks, program_depth=program_words(EngineConfig(banks=banks), layers))


def golden(layers: list[dict]) -> list[list[int]]:
    """Per layer: cycles from its first to its last, and ones on each port, up to two cycles before the last."""
    return [[layer["cycles"], *(sum(bits.bit_count() for bits in layer[name]) for name in PORTS)] for layer in layers]


def rtl(setup: EngineConfig, layers: list[dict], *, idle: int = 0) -> list[list[int]]:
    """Run layers one after the other, `idle` cycles apart, then read all counters."""
    rng = random.Random(1)
    steps = []
    for layer in layers:
        steps += [{"index": rng.randrange(layer_depth(setup)), "address": rng.randrange(4)} for _ in range(idle)]
        for cycle in range(layer["cycles"]):
            done = cycle == layer["cycles"] - 1
            step = {"start": cycle == 0, "done": done, "index": layer["index"] if done else rng.randrange(2)}
            steps.append(step | {name: layer[name][cycle] for name in PORTS})
    steps += [{} for _ in range(8)]
    first = len(steps)
    steps += [{"address": 4 * layer["index"] + c} for layer in layers for c in range(4)]
    names = ("start", "done", "index", *PORTS, "address")
    inputs = {name: [step.get(name, 0) for step in steps] for name in names}
    data = run_pipeline(Counters(setup), inputs, ["data"], latency=1)["data"][first:]
    return [data[i : i + 4] for i in range(0, len(data), 4)]


def random_layer(rng: random.Random, banks: int, index: int, cycles: int) -> dict:
    """Events everywhere but in the first cycles, where a layer only reads, and the last, where it only drains."""
    layer = {"index": index, "cycles": cycles}
    for name in PORTS:
        density = rng.choice([0, 0.1, 0.9, 1])
        bits = [sum((rng.random() < density) << b for b in range(banks)) for _ in range(cycles)]
        layer[name] = [value if 4 <= cycle < cycles - 3 else 0 for cycle, value in enumerate(bits)]
    return layer


@pytest.mark.parametrize("banks", [1, 2, 4, 8])
@pytest.mark.parametrize("idle", [0, 5])
def test_random(banks, idle):
    """Layers in any order, back to back or apart: none sees what another counted."""
    rng = random.Random(banks)
    setup = config(banks, 5)
    layers = [random_layer(rng, banks, index, rng.randint(12, 60)) for index in rng.sample(range(5), 5)]
    assert rtl(setup, layers, idle=idle) == golden(layers)


def test_the_last_image_counts():
    """The same layer again: its counters are those of the later run."""
    rng = random.Random(2)
    setup = config(2, 2)
    layers = [random_layer(rng, 2, index, 20 + i) for i, index in enumerate([0, 1, 0, 1])]
    assert rtl(setup, layers)[2:] == golden(layers)[2:]
    assert rtl(setup, layers)[:2] == golden(layers)[2:]


def test_short_layers():
    """As few cycles as a layer can have: its counters are copied while the next one runs."""
    rng = random.Random(3)
    setup = config(4, 6)
    layers = [random_layer(rng, 4, index, 5 + (index & 1)) for index in range(6)]
    assert rtl(setup, layers) == golden(layers)


@pytest.mark.parametrize(("layers", "depth"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16)])
def test_depth(layers, depth):
    assert layer_depth(config(1, layers)) == depth
    assert layer_depth(EngineConfig(program_depth=1)) == 1


def test_stalls_are_those_before_a_layer():
    """What is waited while a layer runs belongs to the next one, up to the cycle in which that starts."""
    streamed = EngineConfig(banks=1, external_weights=64)
    setup = dataclasses.replace(streamed, program_depth=program_words(streamed, 2))
    steps = [{"stalled": 1}] * 3
    for index, (before, inside) in enumerate([(0, 5), (2, 4)]):
        steps += [{"stalled": 1}] * before
        stalls = [0, *[1] * inside, *[0] * (9 - inside), 0]
        steps += [
            {"start": i == 0, "done": i == 10, "index": index, "stalled": stalled} for i, stalled in enumerate(stalls)
        ]
    steps += [{}] * 8
    first = len(steps)
    steps += [{"address": counter_stride(setup) * index + len(COUNTERS)} for index in (0, 1)]
    inputs = {name: [step.get(name, 0) for step in steps] for name in ("start", "done", "index", "stalled", "address")}
    assert run_pipeline(Counters(setup), inputs, ["data"], latency=1)["data"][first:] == [3, 5 + 2]
