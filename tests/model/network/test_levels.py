# SPDX-License-Identifier: Apache-2.0
"""Tables of levels: their constructors compute what they say, a table that cannot be is refused by its number."""

import itertools

import numpy as np
import pytest

from described import layer, source
from onespike.model.errors import OneSpikeError
from onespike.model.network.levels import Levels, counts, nearest, phase
from onespike.model.network.spec import INPUT, Image, Layer, SpikeNet
from onespike.model.network.storage import hidden
from onespike.model.neurons.count import count
from onespike.model.neurons.levels import levels

EVERY = np.arange(-300, 3000)


@pytest.mark.parametrize(("low", "top"), [(0, 1), (0, 8), (0, 31), (-8, 7), (-16, 15)])
def test_counts_fire_as_the_count_unit_does(low, top):
    table = counts(low, top)
    found = levels(EVERY, table.thresholds, table.levels)
    np.testing.assert_array_equal(found, np.clip(EVERY, low, top))
    if low == 0:
        np.testing.assert_array_equal(found, count(EVERY, 0, top))


@pytest.mark.parametrize("known", [(0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20), (-20, -3, 0, 7, 9), (0, 5)])
@pytest.mark.parametrize("fraction", [1, 2, 5])
def test_nearest_fires_the_nearest_level(known, fraction):
    table = nearest(known, fraction)
    found = levels(EVERY, table.thresholds, table.levels)
    distances = np.abs(EVERY[:, None] - (np.array(known) << fraction))
    np.testing.assert_array_equal(np.abs(EVERY - (found << fraction)), distances.min(1))
    halves = [(a + b << fraction) // 2 for a, b in itertools.pairwise(known)]
    np.testing.assert_array_equal(levels(halves, table.thresholds, known), known[1:])  # a half goes up


def test_phase_levels_and_thresholds_of_the_paper():
    table = phase(2 ** (1 / 3), 12, bits=16, fraction=0)
    assert table.levels[:-7:-1] == (52016, 41285, 32768, 26008, 20643, 16384)
    assert table.thresholds[:-5:-1] == (46651, 37027, 29388, 23325)
    # W = 48, -20, 33 at Fw = 6 on phases 2, 5, silent, bias 0.1: phase 3.
    acc = 48 * 41285 - 20 * 20643 + 33 * 0 + round(0.1 * 2**22)
    assert acc == 1988250
    assert levels(acc >> 6, table.thresholds, table.levels) == 32768


def test_phase_is_a_priority_encoder():
    for base, phases in ((1.3, 16), (2 ** (1 / 3), 15), (2.0, 7), (2**0.25, 24)):
        table = phase(base, phases, bits=8, fraction=6)
        middle = np.rint(2**14 * base ** -np.arange(1.0, phases + 1) * (base + 1) / (2 * base))
        found = levels(EVERY * 64, table.thresholds, np.arange(phases + 1))
        wanted = [next((p for p in range(1, phases + 1) if x >= middle[p - 1]), None) for x in EVERY * 64]
        assert [0 if p is None else phases + 1 - p for p in wanted] == found.tolist()
        np.testing.assert_array_equal(table.levels[1:], [round(256 * base**-p) for p in range(phases, 0, -1)])


@pytest.mark.parametrize(
    ("known", "thresholds", "message"),
    [
        ((0, 2, 2), (1, 2), r"^The levels of a table must rise strictly, but 2 follows 2\.$"),
        ((0, 3, 1), (1, 2), r"^The levels of a table must rise strictly, but 1 follows 3\.$"),
        ((0, 1, 2), (4, 4), r"^The thresholds .* strictly, but 4 follows 4 \(two thresholds collide in integers: "),
        ((1, 2, 3), (1, 2), r"^One level of a table must be 0, its code 0, but the nearest is 1\.$"),
        ((-2, -1, 0), (1, 2), r"^The levels of a table must reach from 0 or less up to 1\.\.65535, not -2\.\.0\.$"),
        ((0, 1, 2), (1,), r"^A table of 3 levels needs 2 thresholds, not 1\.$"),
        ((0,), (), r"^A table must have 2\.\.32 levels, not 1\.$"),
        (tuple(range(33)), tuple(range(32)), r"^A table must have 2\.\.32 levels, not 33\.$"),
        ((0, 1.5), (1,), r"^Number 1 of the levels must be an integer, not 1\.5\.$"),
        ("01", (1,), r"^The levels of a table must be a list of integers, not str\.$"),
        ((0, 1), (1 << 21,), r"^Thresholds must lie in "),
        ((0, 1 << 16), (1,), r"^The levels of a table must reach "),
    ],
)
def test_tables_that_cannot_be(known, thresholds, message):
    with pytest.raises(OneSpikeError, match=message):
        Levels(known, thresholds)


@pytest.mark.parametrize(
    ("base", "phases", "bits", "message"),
    [
        (1.0, 8, 8, r"^The base of phase coding must lie above 1 and up to 2, not 1\.0\.$"),
        (2.5, 8, 8, r"^The base of phase coding must lie above 1 and up to 2, not 2\.5\.$"),
        (1.2, 24, 5, r"^24 phases of base 1\.2 have no different levels in 5 bits; use fewer phases, another base or"),
        (1.2, 32, 16, r"^The number of phases must be at most 31, not 32\.$"),
    ],
)
def test_phases_that_cannot_be(base, phases, bits, message):
    with pytest.raises(OneSpikeError, match=message):
        phase(base, phases, bits)


def fired(**options) -> Layer:
    return layer("a", source(INPUT, (4, 1, 1, 1)), **options)


def test_layers_that_cannot_be():
    with pytest.raises(OneSpikeError, match=r"^Layer 'a': its levels lie in 0\.\.5, so low and groups must be these"):
        fired(groups=4, levels=Levels((0, 5), (2,)))
    with pytest.raises(OneSpikeError, match=r"^Layer 'a': low, the least value, must lie in -65535\.\.0, not 1\.$"):
        fired(low=1)
    with pytest.raises(OneSpikeError, match=r"does not fire, so it can have neither a pool nor a shift, low end or"):
        fired(groups=0, low=-1, shift=np.zeros(4, int))


def net(hidden_layer: Layer) -> SpikeNet:
    last = layer("out", source("a", (2, 4, 1, 1)), groups=0, shift=np.zeros(2, int))
    return SpikeNet(image=Image(shape=(1, 1, 1)), layers=(hidden_layer, last))


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"groups": 8}, "radix", 4),
        ({"groups": 7, "low": -8}, "twos", 4),
        ({"groups": 8, "low": -1}, "twos", 8),
        ({"groups": 7, "low": -9}, "twos", 8),
        ({"levels": nearest([*range(0, 31), 255])}, "signed", 8),
        ({"levels": nearest([*range(0, 30), 640])}, "levels", 8),
        ({"levels": nearest([*range(0, 30), 171])}, "signed", 8),
        ({"levels": nearest([-1, *range(0, 30)])}, "twos", 8),
        ({"levels": nearest([-128, *range(0, 30), 127])}, "twos", 8),
        ({"groups": 127, "low": -128}, "twos", 8),
        ({"levels": nearest((0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48))}, "levels", 4),
        ({"levels": nearest((-20, 0, 48))}, "levels", 4),
        ({"levels": phase(2**0.25, 24)}, "signed", 8),
        ({"levels": nearest((-100, -97, 0, 3))}, "levels", 4),
        ({"levels": nearest(range(-16, 16))}, "twos", 8),
    ],
)
def test_how_values_are_held(options, code, field):
    if "levels" in options:
        options |= {"groups": options["levels"].top, "low": options["levels"].low}
    network = net(fired(**options))
    held = hidden(network, network.layers[0], (1, 3, 5))
    assert (held.code, held.field) == (code, field)
    assert network.ranges["a"] == (options.get("low", 0), options["groups"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 128, "low": -1}, r"^Layer 'a': values in -1\.\.128 do not fit the 8 bits \(-128\.\.127\) of a"),
        ({"groups": 1, "low": -129}, r"^Layer 'a': values in -129\.\.1 do not fit the 8 bits \(-128\.\.127\) of a"),
        ({"levels": nearest([*range(0, 31), 256])}, r"^Layer 'a': 32 levels .*, and 0\.\.256 fit no 8-bit field"),
        ({"levels": nearest([-129, *range(0, 31)])}, r"^Layer 'a': 32 levels .*, and -129\.\.30 fit no 8-bit field"),
        ({"levels": nearest([-1, *range(0, 30), 128])}, r"^Layer 'a': 32 levels .*, and -1\.\.128 fit no 8-bit field"),
        ({"levels": nearest((0, 1, 3, 4096))}, r"^Layer 'a': the level 4096 needs more than the 2 events of an"),
        ({"levels": nearest(range(0, 320, 10))}, r"^Layer 'a': 32 levels are more than the 16 of a 4-bit field, and"),
    ],
)
def test_values_that_no_engine_holds(options, message):
    if "levels" in options:
        options |= {"groups": options["levels"].top, "low": options["levels"].low}
    network = net(fired(**options))
    with pytest.raises(OneSpikeError, match=message):
        hidden(network, network.layers[0], (1, 3, 5))


def test_tables_hold_tuples_of_ints():
    """Whatever they were given: a table is hashed and compared."""
    table = Levels(levels=[0, 1, 4], thresholds=np.array([1, 3]))
    assert table == Levels(levels=(0, 1, 4), thresholds=(1, 3)) and hash(table)
    assert [type(value) for value in (*table.levels, *table.thresholds)] == [int] * 5
