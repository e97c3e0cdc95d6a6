# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.engine.lanes import lane_latency
from onespike.hw.engine.products import ProductGroup
from onespike.model.machine.lanes import lanes, shifts
from onespike.sim.stream import run_pipeline

FORMS = [(4, False), (8, False), (4, True), (8, True)]  # product_bits, dsp


def group(bits: int, dsp: bool, **change) -> EngineConfig:
    """Two lanes that one fire lane drains."""
    usual = {"lanes": 2, "fire_lanes": 1, "weight_bits": 4, "acc_bits": 20, "arithmetic": "dense"}
    return EngineConfig(**usual | {"product_bits": bits, "dsp": dsp} | change)


def sums(config: EngineConfig, case: dict[str, list]) -> list[list[int]]:
    """The shadow set of every job, lane by lane, shown whenever it may be new."""
    latency = lane_latency(config) + 4  # from `end` to what is shown of it
    idle = latency + 1
    ports = {name: [*values, *[values[0]] * idle] for name, values in case.items()}
    ports |= {name: [*case[name], *[0] * idle] for name in ("add", "end")}
    ports["weights"] = [case["weights"][0], *ports["weights"][:-1]]  # which come a cycle later
    shown = []
    for step in range(config.drain_steps):
        steady = {"step": [step] * len(ports["add"]), "turn": [1] * len(ports["add"])}
        found = run_pipeline(ProductGroup(config), ports | steady, ["drain"])["drain"]
        shown.append([found[cycle + latency - 1] for cycle, end in enumerate(case["end"]) if end])
    return [list(job) for job in zip(*shown, strict=True)]


@pytest.mark.parametrize(("bits", "dsp"), FORMS)
def test_every_product(bits, dsp):
    """Every weight and sign, many values, all shifts, a job each: the differences of the shadows are exact."""
    config = group(bits, dsp, max_shift=5)
    top = (1 << bits) - 1
    numbers = range(16) if bits == 4 else (0, 1, 2, 3, 4, 15, 16, 63, 64, 85, 127, 128, 170, 192, 254, 255)
    rows = [(w, v, shifts(config)[(w + v) % 4], n) for w, v, n in itertools.product(range(-8, 8), numbers, (0, 1))]
    random.Random(bits).shuffle(rows)
    case = {
        "add": [1] * len(rows), "end": [1] * len(rows), "weights": [[w, 7 - w if w >= 0 else -8 - w] for w, *_ in rows],
        "multiple": [v for _, v, _, _ in rows], "shift": [s for *_, s, _ in rows], "negative": [n for *_, n in rows],
    }  # fmt: skip
    assert max(case["multiple"]) == top and shifts(config) == [0, 1, 4, 5]
    found = sums(config, case)
    assert found == lanes(config, **case)
    before = [0, 0]
    for job, (w, value, shift, minus) in zip(found, rows, strict=True):
        assert (job[0] - before[0]) % (1 << 20) == (-w if minus else w) * (value << shift) % (1 << 20)
        before = job


@pytest.mark.parametrize("max_shift", [0, 3, 4, 8, 11])
@pytest.mark.parametrize(("bits", "dsp"), FORMS)
def test_random(bits, dsp, max_shift):
    """Jobs of random rows; small accumulators wrap around, and rows that do not count lie between."""
    config = group(bits, dsp, max_shift=max_shift, weight_bits=8, acc_bits=14)
    rng, cycles = random.Random(max_shift), 150
    case = {
        "add": [int(rng.random() < 0.7) for _ in range(cycles)],
        "end": [int(rng.random() < 0.3) for _ in range(cycles)],
        "weights": [[rng.choice([-128, 127, rng.randrange(-128, 128)]) for _ in range(2)] for _ in range(cycles)],
        "multiple": [rng.randrange(1 << bits) for _ in range(cycles)],
        "shift": [rng.choice(shifts(config)) for _ in range(cycles)],
        "negative": [rng.randrange(2) for _ in range(cycles)],
    }
    assert sums(config, case) == lanes(config, **case)


@pytest.mark.parametrize(("bits", "dsp"), FORMS)
def test_own_digits(bits, dsp):
    """Lanes that take the digit of their own channel: whatever value, shift and sign the others are told."""
    config = group(bits, dsp, depthwise=True, row_masks=True, lanes=8, fire_lanes=4, word_bits=16, max_shift=4)
    rng, cycles = random.Random(bits), 100
    case = {
        "add": [1] * cycles,
        "end": [1] * cycles,
        "weights": [[rng.randrange(-8, 8) for _ in range(8)] for _ in range(cycles)],
        "multiple": [rng.randrange(1 << bits) for _ in range(cycles)],
        "shift": [rng.choice([0, 4]) for _ in range(cycles)],
        "negative": [rng.randrange(2) for _ in range(cycles)],
        "own": [rng.randrange(2) for _ in range(cycles)],
    }
    digits = [rng.getrandbits(16) for _ in range(cycles)]
    expected = lanes(config, **case, digits=digits)
    for f in range(4):  # the group of fire lane f has lanes f and f + 4, and chunk f
        own = case | {"digit": [word >> 4 * f & 15 for word in digits]}
        own["weights"] = [[row[f], row[f + 4]] for row in case["weights"]]
        assert sums(config, own) == [[job[f], job[f + 4]] for job in expected]
