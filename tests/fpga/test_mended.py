# SPDX-License-Identifier: Apache-2.0
"""What a host does with the faults that an engine notes: repeat, load again, or say in one sentence what is wrong."""

import dataclasses

import numpy as np
import pytest

from command_line import small_net
from fake_board import PIXELS
from fake_core import Core
from onespike.fpga.host import Board, FaultError
from onespike.fpga.link import MmioLink
from onespike.hw.config import EngineConfig
from onespike.hw.engine.faults import FAULTS
from onespike.hw.fronts.registers import flag, word
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network

IMAGES, EXPECTED = PIXELS[:, None], small_net().golden(PIXELS[:, None])
CONFIG = dataclasses.replace(
    map_network(small_net(), fit_config(small_net(), EngineConfig(banks=1, lanes=4, fire_lanes=4))).config,
    parity=True, watchdog=5000,
)  # fmt: skip


class Faulty(Core):
    """Notes a fault in the next images, one set of kinds each; counts the loads."""

    def __init__(self, *faults, config=CONFIG, built_in=None):
        super().__init__(config, small_net(), built_in=built_in)
        self.next, self.loads = list(faults), 0

    def write(self, offset, value):
        self.loads += offset == 4 * word("network")
        if offset == 4 * word("control") and not value:
            self[4 * word("faults")] = 0
        super().write(offset, value)
        if offset == 4 * word("image_last") and self.next and (kinds := self.next.pop(0)):
            self[4 * word("faults")] = sum(1 << FAULTS.index(kind) for kind in kinds)
            self[4 * word("events")] |= flag("events", "fault")
            if "watchdog" in kinds:
                self.logits.clear()


@pytest.mark.parametrize(
    ("kinds", "loads", "said"),
    [
        (("spikes",), 1, "wrong bits in its memory of spikes (parity)"),
        (("weights", "spikes"), 2, "wrong bits in its memory of weights and spikes (parity)"),
        (("watchdog",), 2, "a layer that did not end within 5,000 cycles (watchdog)"),
        (("program", "watchdog"), 2, "wrong bits in its memory of program (parity) and a layer that did not end within "
         "5,000 cycles (watchdog)"),
    ],
)  # fmt: skip
def test_a_fault_that_goes_away(kinds, loads, said) -> None:
    """The image is repeated; the network is loaded again, unless only spikes were wrong, which pass by."""
    core = Faulty((), kinds)
    board = Board(MmioLink(core))
    board.load(small_net())
    assert np.array_equal(board.classify(IMAGES).logits, EXPECTED)
    assert (core.loads, board.mended) == (loads, [f"The board noted {said}"])


def test_a_fault_that_stays() -> None:
    core = Faulty((), ("weights",), ("weights",))
    board = Board(MmioLink(core))
    board.load(small_net())
    said = r"^The board noted wrong bits in its memory of weights \(parity\); load the network again, and check clock"
    with pytest.raises(FaultError, match=said):
        board.classify(IMAGES)
    assert board.mended == []
    assert np.array_equal(board.classify(IMAGES).logits, EXPECTED)


def test_a_network_that_is_built_in_for_good() -> None:
    config = dataclasses.replace(CONFIG, loadable=False)
    core = Faulty(("weights",), ("weights",), config=config, built_in=small_net())
    board = Board(MmioLink(core))
    board.load(small_net())
    with pytest.raises(FaultError, match=r"\(parity\); configure it again, and check clock and supply\.$"):
        board.classify(IMAGES)


def test_a_load_that_another_program_has_cut_off() -> None:
    """What was there before cannot be started any more; both hosts are told."""
    core = Faulty()
    board = Board(MmioLink(core))
    board.load(small_net())
    MmioLink(core).write(word("control"), [0])
    MmioLink(core).write(word("load"), [1, 2, 3], fixed=True)
    with pytest.raises(OneSpikeError, match=r"^This network is not in the board's memories any more, or not all of it"):
        board.start()
    with pytest.raises(OneSpikeError, match=r"^The board does not run this network any more"):
        board.classify(IMAGES)
    board.load(small_net())
    assert np.array_equal(board.classify(IMAGES).logits, EXPECTED)


def test_a_watchdog_that_is_too_short_is_refused() -> None:
    core = Faulty(config=dataclasses.replace(CONFIG, watchdog=256))
    with pytest.raises(OneSpikeError, match=r"can take [\d,]+ cycles, but the engine's watchdog ends it after 256; "):
        Board(MmioLink(core)).load(small_net())
