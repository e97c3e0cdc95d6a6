# SPDX-License-Identifier: Apache-2.0
"""Boards in a row: every part on a core of its own, and the answers are the whole network's."""

import numpy as np
import pytest

from command_line import small_net
from fake_board import PIXELS
from fake_core import Core
from onespike.fpga.host import Board
from onespike.fpga.link import LinkError, MmioLink
from onespike.fpga.row import Row
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config
from onespike.model.network import golden
from onespike.model.network.split import split


def cores(parts, codes):
    found = []
    for part in parts:
        config = fit_config(part.net, EngineConfig(banks=1, lanes=4, fire_lanes=4))
        found.append(Core(config, part.net, images=codes))
        logits = golden.run(part.net, codes)
        codes = part.hand_over(logits).astype(np.uint8) if part.cut is not None else codes
    return found


def test_answers_are_those_of_the_whole_network():
    net, codes = small_net(), PIXELS[:, None]
    parts = split(net, [1])
    row = Row(parts, [Board(MmioLink(core)) for core in cores(parts, codes)])
    row.load()
    seen = []
    answer = row.classify(codes, progress=lambda: seen.append(1))
    np.testing.assert_array_equal(answer.logits, net.golden(codes))
    np.testing.assert_array_equal(answer.classes, net.golden(codes).argmax(1))
    assert len(seen) == 3 and row.classify(codes[:0]).logits.shape == (0, 3)


def test_what_fails_is_said():
    parts = split(small_net(), [1])
    with pytest.raises(OneSpikeError, match=r"^2 parts need as many boards, not 1\.$"):
        Row(parts, [None])
    last = cores(parts, PIXELS[:, None])
    row = Row(parts, [Board(MmioLink(core)) for core in last])
    row.load()
    last[1].faults = [8, 8]
    with pytest.raises(LinkError, match="noted a fault while it worked"):
        row.classify(PIXELS[:, None])
