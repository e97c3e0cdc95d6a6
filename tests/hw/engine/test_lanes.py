# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.engine.lanes import Lanes, lane_latency, product_latency
from onespike.model.machine.lanes import lanes
from onespike.model.machine.shadows import shadows
from onespike.model.network.codes import MULTIPLES, factors, most_terms
from onespike.sim.stream import run_pipeline
from shadow_cases import shadow_case

SMALL = {"lanes": 6, "fire_lanes": 2, "weight_bits": 5, "acc_bits": 12}
DRAIN, AHEAD = 2, 1  # cycles from `step` to `drain`; the rest before the weights


def end_latency(config: EngineConfig) -> int:
    """Cycles from `end` to the shadow."""
    return 2 + lane_latency(config)


def cases(config: EngineConfig, rng: random.Random, cycles: int, *, extreme: float = 0.1) -> dict[str, list]:
    half = 1 << (config.weight_bits - 1)

    def weight() -> int:
        return rng.choice([-half, half - 1]) if rng.random() < extreme else rng.randrange(-half, half)

    kinds = len(factors(config.multiples) if config.max_shift > 3 else config.multiples)
    return {
        "add": [rng.random() < 0.8 for _ in range(cycles)],
        "end": [rng.random() < 0.2 for _ in range(cycles)],
        "weights": [[weight() for _ in range(config.lanes)] for _ in range(cycles)],
        "shift": [rng.randint(0, config.max_shift) for _ in range(cycles)],
        "negative": [rng.random() < 0.4 for _ in range(cycles)],
        "multiple": [rng.randrange(kinds) for _ in range(cycles)],
        **(own_digits(config, rng, cycles) if config.depthwise else {}),
    }


def own_digits(config: EngineConfig, rng: random.Random, cycles: int) -> dict[str, list]:
    """Words whose digits are for lanes of their own, every other cycle."""
    return {
        "own": [rng.randrange(2) for _ in range(cycles)],
        "digits": [rng.getrandbits(config.word_bits) & rng.getrandbits(config.word_bits) for _ in range(cycles)],
        "number": [rng.randrange(most_terms(config.multiples)) for _ in range(cycles)],
    }


def rtl(
    config: EngineConfig, case: dict[str, list], steps: list[int], turns: list[int] | None = None, **more: list[int]
) -> tuple[list[int], list[list[int]]]:
    """`captures` and `drain` in each cycle."""
    weights = [case["weights"][0]] * AHEAD + case["weights"][:-AHEAD]
    ports = case | {"step": steps, "weights": weights, "turn": turns or [1] * len(steps)} | more
    if not product_latency(config):
        del ports["multiple"]
    out = run_pipeline(Lanes(config), ports, ["captures", "drain"])
    return out["captures"], [[drain[f] for f in range(config.fire_lanes)] for drain in out["drain"]]


def check(config: EngineConfig, case: dict[str, list], seed: int = 0) -> None:
    """Every cycle: what is captured, and what the chosen F lanes of the shadow show."""
    rng = random.Random(seed)
    cycles = len(case["add"])
    steps = [rng.randrange(config.drain_steps) for _ in range(cycles)]
    turns = [int(rng.random() < 0.8) for _ in range(cycles)]
    captured, drain = rtl(config, case, steps, turns)
    ends = [cycle for cycle, end in enumerate(case["end"]) if end]
    assert captured == [int(cycle - end_latency(config) + 1 in ends) for cycle in range(cycles)]
    shadows = lanes(config, **case)
    for cycle in range(cycles - DRAIN):
        known = sum(end + end_latency(config) < cycle + DRAIN for end in ends)
        if known:
            row = shadows[known - 1][steps[cycle] * config.fire_lanes :][: config.fire_lanes]
            row = row if turns[cycle + 1] else [0] * config.fire_lanes
            assert drain[cycle + DRAIN] == row, f"cycle {cycle}, step {steps[cycle]}"


def test_golden():
    config = EngineConfig(lanes=2, fire_lanes=1, weight_bits=4, acc_bits=8, max_shift=8)
    case = {"add": [1, 1, 0, 1], "end": [0, 1, 1, 1], "shift": [3, 0, 1, 8], "negative": [0, 1, 0, 0]}
    weights = [[1, -8], [7, -8], [5, 5], [1, 1]]
    assert lanes(config, weights=weights, **case) == [[1, 200], [1, 200], [1, 200]]  # 1 << 8 is 0 modulo 2**8


def test_golden_of_values_of_their_own():
    """Each lane takes its chunk of the digits, 3 and 4 here; without numbers, the first term of each."""
    config = EngineConfig(lanes=8, fire_lanes=8, acc_bits=8, row_masks=True, depthwise=True)
    case = {"add": [1], "end": [1], "shift": [0], "negative": [0], "own": [1], "digits": [0x43]}
    assert lanes(config, weights=[[1, 1, 2, 1, 1, 1, 1, 1]], **case) == [[3, 4, *[0] * 6]]


@pytest.mark.parametrize(
    ("weights", "shift", "message"),
    [
        ([8, 0], 0, "weights must have 4 bits"),
        ([0], 0, "a weight row has 2 weights, not 1"),
        ([0, 0], 9, r"shift must be one of \[0, 1, .*, 8\], not 9"),
    ],
)
def test_golden_ranges(weights, shift, message):
    config = EngineConfig(lanes=2, fire_lanes=1, weight_bits=4, max_shift=8)
    with pytest.raises(AssertionError, match=message):
        lanes(config, add=[1], end=[0], weights=[weights], shift=[shift], negative=[0])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"max_shift": 0},
        {"max_shift": 15},  # a shifted weight is wider than the accumulator
        {"lanes": 4, "fire_lanes": 4},
        {"lanes": 8, "fire_lanes": 1},
        {"lanes": 1, "fire_lanes": 1},
        {"acc_bits": 40, "weight_bits": 16},
        {"acc_bits": 4, "weight_bits": 2},
        {"multiples": (1,)},
        {"multiples": (1, 3), "max_shift": 3},
        {"depthwise": True, "row_masks": True, "lanes": 16, "fire_lanes": 8},
        {"depthwise": True, "row_masks": True, "lanes": 16, "fire_lanes": 16, "multiples": (1, 3), "max_shift": 9},
        {"depthwise": True, "row_masks": True, "lanes": 4, "fire_lanes": 4, "word_bits": 16, "multiples": (1,)},
    ],
)
def test_random(change):
    """Random rows; small accumulators wrap around many times."""
    config = EngineConfig(**SMALL | change)
    check(config, cases(config, random.Random(str(change)), 200))


@pytest.mark.parametrize("multiples", MULTIPLES)
def test_weights_and_shifts_exhaustively(multiples):
    """Every weight, multiple, shift and sign, one job each: the differences of the shadows are exact."""
    config = EngineConfig(lanes=1, fire_lanes=1, weight_bits=4, acc_bits=16, max_shift=8, multiples=multiples)
    kinds = range(len(factors(multiples)))
    rows = [(w, s, n, k) for w in range(-8, 8) for s in range(9) for n in (0, 1) for k in kinds]
    weights, shift, negative, multiple = ([row[i] for row in rows] for i in range(4))
    count = len(rows)
    latency = end_latency(config) + DRAIN - 1
    idle = [0] * latency
    case = {
        "add": [1] * count + idle,
        "end": [1] * count + idle,
        "weights": [[w] for w in weights] + [[0] for _ in idle],
        "shift": shift + idle,
        "negative": negative + idle,
        "multiple": multiple + idle,
    }
    _, drain = rtl(config, case, [0] * len(case["add"]))
    half = 1 << (config.acc_bits - 1)
    shown = [0, *(row[0] for row in drain[latency:])]
    differences = [(b - a + half) % (2 * half) - half for a, b in itertools.pairwise(shown)]
    assert differences == [(-1 if n else 1) * factors(multiples)[k] * (w << s) for w, s, n, k in rows]


@pytest.mark.parametrize("multiples", MULTIPLES)
def test_every_own_digit(multiples):
    """Every digit beside another one, in all its events: two lanes take two digits, two the same again."""
    config = EngineConfig(
        lanes=8, fire_lanes=4, word_bits=16, weight_bits=4, acc_bits=16, multiples=multiples, depthwise=True,
        row_masks=True,
    )  # fmt: skip
    events = most_terms(multiples)
    pairs = [(low, high) for low in range(16) for high in (15 - low, 0, 7)]
    digits = [low | high << 4 | low << 8 | 1 << 12 for low, high in pairs for _ in range(events)]
    count, idle = len(digits), [0] * (end_latency(config) + DRAIN)
    weights = [1, -8, 7, 3, -1, 5, -3, 2]
    case = {
        "add": [1] * count + idle, "end": ([0] * (events - 1) + [1]) * len(pairs) + idle,
        "weights": [weights] * (count + len(idle)), "shift": [2] * count + idle, "negative": [1] * count + idle,
        "multiple": [0] * (count + len(idle)), "own": [1] * count + idle, "digits": digits + idle,
        "number": list(range(events)) * len(pairs) + idle,
    }  # fmt: skip
    sums = [[0] * 8, *lanes(config, **case)]
    for (before, after), (low, high) in zip(itertools.pairwise(sums), pairs, strict=True):
        got = [(b - a) % (1 << 16) for a, b in zip(before, after, strict=True)]
        assert got == [d * w % (1 << 16) for d, w in zip([low, high, low, 1] * 2, weights, strict=True)]
    check(config, case)


def test_back_to_back_jobs():
    """A job of one row in every cycle: each shadow is seen once."""
    config = EngineConfig(**SMALL)
    case = cases(config, random.Random(3), 60) | {"add": [True] * 60, "end": [True] * 60}
    check(config, case)


@pytest.mark.parametrize("sets", [2, 4])
def test_several_shadow_sets(sets):
    """Jobs wait behind one another; whenever the last set is full, it shows the oldest job that is left."""
    config = EngineConfig(**SMALL, shadows=sets)
    rng, cycles = random.Random(sets), 300
    before = end_latency(config) - 1
    captured, taken = shadow_case(sets, rng, cycles, 0.6, 0.3, quiet=before)
    case = cases(config, rng, cycles) | {"end": [*captured[before:], *[False] * before]}
    expected = shadows(sets, captured, taken)
    steps = [rng.randrange(config.drain_steps) for _ in range(cycles)]
    moves = [sum(move << k for k, move in enumerate(cycle.moves)) for cycle in expected]
    captures, drain = rtl(config, case, steps, moves=moves)
    assert captures == captured
    jobs = lanes(config, **case)
    seen = set()
    for cycle in range(cycles - DRAIN):
        job = expected[cycle + 1].full  # what the register in front of `drain` takes
        if job is not None:
            assert drain[cycle + DRAIN] == jobs[job][steps[cycle] * config.fire_lanes :][: config.fire_lanes]
            seen.add(job)
    assert len(seen) > 20


def test_clear():
    """After a clear, sums start from 0; rows added before it are gone, those after it count."""
    config = EngineConfig(**SMALL)
    rng = random.Random(5)
    before, after = cases(config, rng, 30), cases(config, rng, 30)
    idle = {name: [0] * 8 for name in ("add", "end", "shift", "negative", "multiple")}
    idle["weights"] = [[0] * config.lanes] * 8
    after["end"][-1] = True
    case = {name: [*before[name], *idle[name], *after[name], *idle[name]] for name in idle}
    clear = [int(cycle == len(before["add"]) + 5) for cycle in range(len(case["add"]))]
    (last,) = lanes(config, **after)[-1:]
    drains = []
    for step in range(config.drain_steps):
        _, drain = rtl(config, case | {"clear": clear}, [step] * len(clear))
        drains += drain[-1]
    assert drains == last
