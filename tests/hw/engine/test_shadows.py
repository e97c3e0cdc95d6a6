# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from onespike.hw.engine.shadows import Shadows
from onespike.model.machine.shadows import Cycle, shadows
from onespike.sim.stream import run_pipeline
from shadow_cases import shadow_case


def test_golden():
    """Two jobs pass a row of two; the second one waits in the first set until the last one has been read."""
    captured = [True, True, False, False, False, False]
    taken = [False, False, False, True, False, False]
    assert shadows(2, captured, taken) == [
        Cycle([True], None), Cycle([False], None), Cycle([False], 0), Cycle([True], 0), Cycle([False], None),
        Cycle([False], 1),
    ]  # fmt: skip


def test_golden_ranges():
    with pytest.raises(AssertionError, match="the first set is not free"):
        shadows(2, [True] * 3, [False] * 3)
    with pytest.raises(AssertionError, match="nothing to take"):
        shadows(2, [True, False], [False, True])


@pytest.mark.parametrize(("captures", "takes"), [(1, 1), (1, 0.3), (0.3, 1), (0.4, 0.4)])
@pytest.mark.parametrize("sets", [2, 3, 4])
def test_random(sets, captures, takes):
    """Jobs as dense as they can come, a drain that is slow or as fast as it can be."""
    captured, taken = shadow_case(sets, random.Random(sets), 120, captures, takes)
    expected = shadows(sets, captured, taken)
    out = run_pipeline(Shadows(sets), {"captured": captured, "taken": taken}, ["moves", "full"])
    assert out["full"] == [int(cycle.full is not None) for cycle in expected]
    assert out["moves"] == [sum(move << k for k, move in enumerate(cycle.moves)) for cycle in expected]
    seen = [cycle.full for cycle, takes_it in zip(expected, taken, strict=True) if takes_it]
    assert seen == list(range(len(seen)))
    assert len(seen) > 15
    if captures == takes == 1:  # a set is taken, the next one is full two cycles later
        assert [cycle for cycle, takes_it in enumerate(taken) if takes_it] == list(range(sets, 120, 2))
