# SPDX-License-Identifier: Apache-2.0
"""AXI4 read master: the bursts that read an image in external memory, over and over."""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from ...hw.config import EngineConfig


class Burst(NamedTuple):
    """First beat and number of beats."""

    start: int
    length: int


def bursts(config: EngineConfig, first_beats: int, beats: int, restart: int) -> Iterator[Burst]:
    """The bursts in order, without end. Golden function of :class:`onespike.hw.engine.axi_read.AxiRead`."""
    assert first_beats > 0 and beats > 0 and restart % config.burst == 0, "passes need beats, bursts must be aligned"
    for number in count():
        start, length = (restart, beats) if number else (0, first_beats)
        for at in range(0, length, config.burst):
            yield Burst(start + at, min(config.burst, length - at))
