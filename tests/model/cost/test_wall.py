# SPDX-License-Identifier: Apache-2.0
"""The wall: watts over images per second, and watts that nobody can mean."""

import math

import pytest

from onespike.fpga.boards import BOARDS
from onespike.model.cost.wall import FLOORS, MEASURED, STATIC, wall
from onespike.model.errors import OneSpikeError


def test_joules_of_an_image():
    """100,000 cycles at 50 MHz are 500 images a second; 2 W over them 4 mJ."""
    found = wall(100_000, 50, watts=2.0)
    assert (found.images_per_second, found.joules, found.source) == (500, 0.004, MEASURED)


def test_known_parts_have_a_floor():
    """A 25F at 1.1 V and 77 mA, and 2.5 V and 16 mA."""
    found = wall(1e6, 1, target="ecp5-25k")
    assert found.watts == found.joules == pytest.approx(0.1247) and found.source == STATIC
    assert wall(1e6, 1, target="ecp5-25k", watts=3.0).watts == 3.0
    assert wall(1e6, 1, target="gw1nr-9") is None and wall(1e6, 1) is None
    assert set(FLOORS) <= {board.target for board in BOARDS.values()}


@pytest.mark.parametrize("watts", [0, -1.5, math.nan, math.inf])
def test_no_such_watts(watts):
    with pytest.raises(OneSpikeError, match=r"^A board takes more than 0 W, not .* W; measure it at its supply\.$"):
        wall(1000, 50, watts=watts)


@pytest.mark.parametrize(("cycles", "mhz"), [(0, 50), (1000, 0), (math.nan, 50), (1000, math.inf)])
def test_no_rate(cycles, mhz):
    with pytest.raises(OneSpikeError, match=r"^No images per second from .* cycles at .* MHz\.$"):
        wall(cycles, mhz, watts=1.0)
