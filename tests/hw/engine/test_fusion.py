# amaranth: UnusedElaboratable=no
# SPDX-License-Identifier: Apache-2.0
import gc
import random

import pytest

from onespike.hw.engine.fusion import LATENCY, FusionUnit
from onespike.model.machine.fusion import FusionLayer, cycles, fusion
from onespike.sim.stream import run_stream

SMALL = {"fraction": 5, "acc_bits": 12, "depth": 64, "lift": 2, "most_shift": 4}


def rtl(unit: FusionUnit, layers: list[FusionLayer], sums: list[int], shift: list[int], **settings) -> dict:
    """Spikes and membranes; with stamps, also when layers and sums were taken."""
    told = [
        {**layer._asdict(), "neurons": layer.neurons - 1, "windows": layer.windows - 1, "same": int(layer.same)}
        for layer in layers
    ]
    pairs = [{"sum": total, "shift": by} for total, by in zip(sums, shift, strict=True)]
    return run_stream(unit, {"layer": told, "sums": pairs}, {"fired": len(sums)}, **settings)


def case(unit: FusionUnit, rng: random.Random, number: int) -> tuple[list[FusionLayer], list[int], list[int]]:
    """Layers of any shape, every other one of that of the layer before; sums around the threshold, and extreme ones."""
    layers: list[FusionLayer] = []
    for _ in range(number):
        windows = rng.choice([1, 2, 4])
        shape, same = (rng.randint(1, unit.depth // windows), windows), bool(layers) and rng.random() < 0.5
        shape = layers[-1][:2] if same else shape
        layers.append(FusionLayer(*shape, same, rng.choice([0, 1, 128, 255, 256]), rng.randint(1, 40)))
    sums, shift = [], []
    half = 1 << unit.acc_bits - 1
    for layer in layers:
        for _ in range(layer.neurons * layer.windows):
            by = rng.randint(-unit.lift, unit.most_shift)
            near = layer.threshold * 2**by if by >= 0 else layer.threshold >> -by
            total = rng.choice([near, near - 1, near + 1, rng.randrange(-half, half), rng.randrange(-80, 80)])
            sums.append(max(-half, min(half - 1, rng.choice([total, rng.choice([-half, half - 1])] + [total] * 8))))
            shift.append(by)
    return layers, sums, shift


def pairs(fired: list) -> list[tuple[bool, int]]:
    return [(bool(one.spike), one.membrane) for one in fired]


@pytest.mark.parametrize(("seed", "stall"), [(0, 0.0), (1, 0.3), (2, 0.6)])
def test_layers_follow_each_other_while_both_ends_stall(seed, stall):
    unit, rng = FusionUnit(**SMALL), random.Random(seed)
    layers, sums, shift = case(unit, rng, 6)
    found = pairs(rtl(unit, layers, sums, shift, seed=seed, stall=stall)["fired"])
    assert found == fusion(layers, sums=sums, shift=shift, fraction=unit.fraction)


@pytest.mark.parametrize(("lift", "most_shift"), [(0, 0), (1, 9), (9, 1)])
def test_shifts_that_reach_further_one_way(lift, most_shift):
    unit = FusionUnit(**{**SMALL, "depth": 16, "lift": lift, "most_shift": most_shift})
    layers, sums, _ = case(unit, random.Random(4), 4)
    shift = [(-lift, most_shift)[i % 2] for i in range(len(sums))]
    found = pairs(rtl(unit, layers, sums, shift, stall=0)["fired"])
    assert found == fusion(layers, sums=sums, shift=shift, fraction=unit.fraction)


@pytest.mark.parametrize("stall", [{"fired": 0.5}, {"sums": 0.5}])
def test_every_pair_of_phases(stall):
    """A layer that loads the memory, and one that meets all b of it with all a of its own first window."""
    fraction, turn = 1, 16
    unit = FusionUnit(fraction=fraction, acc_bits=8, depth=2 * turn**2)
    load = FusionLayer(turn**2, 2, False, 0, 127)  # no leak, no spike: membranes are the sums
    ask = FusionLayer(turn**2, 2, True, 256, 100)  # no spike in its first window
    every = [i % turn for i in range(turn**2)]
    sums = [0] * turn**2 + every + [i // turn for i in range(turn**2)] + [95 + i % 9 for i in range(turn**2)]
    found = pairs(rtl(unit, [load, ask], sums, [0] * len(sums), stall=stall)["fired"])
    assert found == fusion([load, ask], sums=sums, shift=[0] * len(sums), fraction=fraction)


def test_cycles_where_nothing_stalls():
    unit = FusionUnit(**SMALL)
    layers = [FusionLayer(7, 4, False, 128, 16), FusionLayer(1, 4, False, 128, 16), FusionLayer(1, 4, True, 9, 16),
              FusionLayer(20, 1, False, 128, 16)]  # fmt: skip
    sums = [random.Random(0).randrange(-99, 99) for layer in layers for _ in range(layer.neurons * layer.windows)]
    found = rtl(unit, layers, sums, [0] * len(sums), stall=0, stamps=True)
    for one, other in zip(found["sums"], found["fired"], strict=True):
        assert other.cycle - one.cycle == LATENCY
    begun = [transfer.cycle for transfer in found["layer"]]
    assert [cycle - begun[0] for cycle in begun] == [cycles(layers[:i]) for i in range(4)]
    assert found["fired"][-1].cycle - begun[0] == cycles(layers) - 1
    assert cycles(layers) == 4 + 4 * 12 + 8 * 6 + 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraction": 0}, r"fraction must be in 1\.\.16, not 0"),
        ({"acc_bits": 1}, "acc_bits must be at least 2, not 1"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"lift": -1}, "lift and most_shift must not be negative, not -1 and 4"),
    ],
)
def test_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        FusionUnit(**{**SMALL, **change})
    gc.collect()


def test_golden_refuses_membranes_of_another_shape():
    with pytest.raises(AssertionError, match="there is no layer of this shape"):
        fusion([FusionLayer(2, 2, True, 1, 1)], sums=[0] * 4, shift=[0] * 4, fraction=4, memory=[0] * 3)
    with pytest.raises(AssertionError, match="more sums than neurons"):
        fusion([FusionLayer(1, 1, False, 1, 1)], sums=[0, 0], shift=[0, 0], fraction=4)
