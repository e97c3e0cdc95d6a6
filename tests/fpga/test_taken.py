# SPDX-License-Identifier: Apache-2.0
"""A board that changes hands, and a line that must fall quiet: the host is never given another network's answers."""

import dataclasses
import random

import numpy as np
import pytest

from blocks import random_mapping
from command_line import small_net
from fake_board import PIXELS, TAKEN, FakeBoard, other_net
from fake_core import Core
from one_output import one_output
from onespike.fpga import link as links
from onespike.fpga.host import Board
from onespike.fpga.link import LinkError, MmioLink, PacketLink, SpiLink
from onespike.fpga.protocol import OK, Reply, reply_frame
from onespike.hw.config import EngineConfig
from onespike.hw.fronts.registers import flag, word
from onespike.model.cost.choose import fewest_slices
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import load_words, memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import Source


class Line(PacketLink):
    """A board that forgets a request that stopped short only when the line has been quiet for 20 ms; time passes while
    the host waits. lost: how many bytes of the next request never arrive; talk: bytes that it sends by itself."""

    def __init__(self, memory):
        super().__init__("The board", 2.0)
        self.memory, self.now, self.heard, self.pending, self.out = memory, 0.0, 0.0, b"", b""
        self.lost, self.talk = 0, 0

    def send(self, data):
        if self.now - self.heard >= 0.02:
            self.pending = b""
        self.heard, self.out = self.now, b""
        self.pending += data[: len(data) - self.lost]
        self.lost = 0
        if len(self.pending) == 7:  # a read request
            tag, _, address, count = self.pending[1:5]
            self.out = reply_frame(Reply(tag, OK, tuple(self.memory.get(address + i, 0) for i in range(count))))
            self.pending = b""
        elif len(self.pending) > 7:
            self.pending = b""  # a wrong CRC: what follows is dropped until the line is quiet

    def receive(self, seconds):
        self.now += seconds
        if self.talk:
            self.talk -= 1
            return b"?"
        data, self.out = self.out, b""
        return data


def test_recovery_waits_for_a_quiet_line(monkeypatch):
    """Otherwise the next request is the rest of the one that was cut; what the board still says is dropped first."""
    config = random_mapping(random.Random(1)).config
    line = Line(FakeBoard(config).memory)
    monkeypatch.setattr(links.time, "monotonic", lambda: line.now)
    board = Board(line)
    line.lost = 3
    assert board.status()["running"] is False
    for talk, least, most in ((0, 0.3, 0.4), (7, 0.6, 0.7), (1000, 2.0, 2.1)):
        line.talk, before = talk, line.now
        line.recover()
        assert least <= line.now - before + 1e-9 and line.now - before <= most
    line.talk = 0
    silent = SpiLink(FakeBoard(config))  # 0 is not a word

    def tick(seconds):
        line.now += seconds
        return b"\0" * 16

    monkeypatch.setattr(silent, "receive", tick)
    before = line.now
    silent.recover()
    assert line.now - before <= 0.4


@pytest.fixture
def core():
    config = map_network(small_net(), fit_config(small_net(), EngineConfig(banks=1, lanes=4, fire_lanes=4))).config
    return Core(config, small_net(), other_net(), built_in=small_net())


def test_another_host_takes_the_board(core):
    """Whenever it does so, the first one is told, and gets no answer of the other network."""
    images, expected = PIXELS[:, None], small_net().golden(PIXELS[:, None])
    first, second = Board(MmioLink(core)), Board(MmioLink(core))
    first.load(small_net())
    for _ in range(2):
        assert np.array_equal(first.classify(images).logits, expected)
    second.load(other_net())
    assert np.array_equal(second.classify(images).logits, other_net().golden(images))
    for call in (lambda: first.classify(images), first.counters):
        with pytest.raises(OneSpikeError, match=TAKEN):
            call()
    first.load(small_net())
    with pytest.raises(OneSpikeError, match=TAKEN):  # in the middle
        first.classify(images, progress=lambda: second.load(other_net()))
    for _ in range(20):  # the few marks of a small engine never coincide
        first.load(small_net())
        second.load(other_net())
        with pytest.raises(OneSpikeError, match=TAKEN):
            first.classify(images)
    first.load(small_net())
    core[4 * word("network")] = 5  # not by a load, but by another design
    with pytest.raises(OneSpikeError, match=TAKEN):
        first.classify(images)


def test_a_network_that_the_board_holds_is_not_loaded_again(core):
    """Whoever has loaded it; after a power loss, or a load that was cut off anywhere, it is loaded anew."""
    images, expected = PIXELS[:, None], small_net().golden(PIXELS[:, None])
    config = Board(MmioLink(core)).config
    whole = load_words(memory_images(fewest_slices(other_net(), config)), config)
    for net, words in ((small_net(), 0), (other_net(), len(whole)), (other_net(), 0), (small_net(), len(whole))):
        board = Board(MmioLink(core))
        board.load(net, guide=images if words == 0 else None)
        assert board.sent == words
        assert np.array_equal(board.classify(images).logits, net.golden(images))
    for cut in (1, 2, len(whole) // 2, len(whole) - 1):
        board, write = Board(MmioLink(core)), core.write

        def lose(offset, value, write=write, cut=cut):
            if offset == 4 * word("load") and len(core.words) == cut:
                raise LinkError("the power is gone")
            write(offset, value)

        core.write = lose
        with pytest.raises(LinkError, match="the power is gone"):
            board.load(other_net())
        core.write = write
        board = Board(MmioLink(core))
        board.load(small_net())
        assert board.sent == len(whole)
        assert np.array_equal(board.classify(images).logits, expected)
    # A word that changes on its way is found out; the board does not start.
    write = core.write
    core.write = lambda offset, value: write(offset, value ^ (offset == 4 * word("load")))
    with pytest.raises(LinkError, match=r"^The network did not reach the board whole; load it again, over"):
        board.load(other_net())
    assert core[4 * word("control")] == 0


def test_what_is_ours_stays_ours(core):
    """Faults, restarts, counters and stops of our own are no other host's."""
    images, expected = PIXELS[:, None], small_net().golden(PIXELS[:, None])
    board = Board(MmioLink(core))
    board.load(small_net())
    core.faults = [flag("events", "short")]
    assert np.array_equal(board.classify(images).logits, expected)
    assert board.counters().shape == (2, 4)
    assert np.array_equal(board.classify(PIXELS[:, None] / np.float32(255)).logits, expected)
    board.stop()
    with pytest.raises(OneSpikeError, match=r"^The engine is stopped; call start\(\) first\.$"):
        board.classify(images)
    board.start()
    assert np.array_equal(board.classify(images).logits, expected)
    # The line fails in the middle of a restart: whether the board is ours is open then.
    core.faults = [flag("events", "short")] * 2
    write = core.write

    def fail(offset, value):
        if offset == 4 * word("beats"):
            raise LinkError("cut")
        write(offset, value)

    core.write = fail
    with pytest.raises(LinkError, match=r"^The line failed while the engine was started again; load the network again"):
        board.classify(images)
    core.write, core.faults = write, []
    with pytest.raises(LinkError, match=r"load the network again\.$"):
        board.classify(images)
    board.load(small_net())
    assert np.array_equal(board.classify(images).logits, expected)


def test_classes_of_one_output(tmp_path):
    net = one_output(tmp_path / "one.spike")
    core = Core(map_network(net, fit_config(net, EngineConfig(banks=1, lanes=4, fire_lanes=4))).config, net)
    board = Board(MmioLink(core))
    board.load(net)
    answer = board.classify(PIXELS[:, None])
    assert answer.classes.tolist() == (net.golden(PIXELS[:, None])[:, 0] >= 0).astype(int).tolist()


def test_classes_of_a_map():
    """A core gives place after place, all channels of each; the host, what the golden model gives, and a class for each
    place."""
    hidden, last = small_net().layers
    source = Source(tensor=hidden.name, weights=last.sources[0].weights[:, :, :2, :1])
    net = dataclasses.replace(small_net(), layers=(hidden, dataclasses.replace(last, sources=(source,))))
    assert net.output == (3, 2, 3)
    config = fit_config(net, EngineConfig(banks=1, lanes=4, fire_lanes=4))
    board = Board(MmioLink(Core(config, net)))
    board.load(net)
    answer, expected = board.classify(PIXELS[:, None]), net.golden(PIXELS[:, None])
    np.testing.assert_array_equal(answer.logits, expected)
    np.testing.assert_array_equal(answer.classes, expected.reshape(3, 3, 2, 3).argmax(1))
    assert board.classify(PIXELS[:0, None]).classes.shape == (0, 2, 3)
