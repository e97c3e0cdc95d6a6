# SPDX-License-Identifier: Apache-2.0
"""Two boards in a row, cores and fronts in RTL: the host's own program drives them over a serial line each."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from networks import random_codes, residual
from onespike.fpga.host import Board
from onespike.fpga.link import SerialLink
from onespike.fpga.protocol import crc
from onespike.fpga.row import Row
from onespike.hw.config import EngineConfig
from onespike.hw.fronts.packet import REQUEST
from onespike.hw.fronts.registers import word
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import image_beats
from onespike.model.mapping.mapper import fit_config
from onespike.model.network import golden
from onespike.model.network.split import split
from onespike.sim.front_bench import Case
from onespike.sim.row import LOG, build_row, running
from paths import BUILD

NET = residual()
PARTS = split(NET, [1])  # the first board hands on what its layer fires, and the image, which the last layer reads
CODES = random_codes(np.random.default_rng(1), NET, 3)
BETWEEN = PARTS[0].hand_over(golden.run(PARTS[0].net, CODES)).astype(np.uint8)
GIVEN = (CODES, BETWEEN)  # what each board must get


class NoisyLink(SerialLink):
    """Turns over one bit of the frames whose numbers are in `bad`, counted from when that was set."""

    bad: tuple[int, ...] = ()
    frames = 0

    def send(self, data: bytes) -> None:
        self.frames += 1
        found = bytearray(data)
        found[len(found) // 2] ^= 0x10 * (self.frames in self.bad)
        super().send(bytes(found))


@dataclasses.dataclass(frozen=True)
class Bench:
    row: Row
    links: list[NoisyLink]
    pulse: Callable[[str, int], None]
    folder: Path

    def answers(self, codes: np.ndarray) -> list[list[int]]:
        return self.row.classify(codes).logits.tolist()

    def requests(self, board: int) -> list[tuple[int, int, list[int]]]:
        """(cycle of its last byte, register, words that it writes) of all that went to a board."""
        rows = [tuple(map(int, line.split())) for line in (self.folder / LOG).read_text().splitlines()]
        sent = [(cycle, byte) for cycle, to, by_host, byte in rows if (to, by_host) == (board, 1)]
        data = bytes(byte for _, byte in sent)
        found, at = [], 0
        while at < len(data):
            first, _, command, address, count = data[at : at + 5]
            end = at + 7 + 4 * count * (command & 1)
            assert first == REQUEST and crc(data[at + 1 : end - 2]) == int.from_bytes(data[end - 2 : end])
            found.append((sent[end - 1][0], address, np.frombuffer(data[at + 5 : end - 2], "<u4").tolist()))
            at = end
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """One engine that holds either part."""
    base = EngineConfig(banks=1, lanes=4, fire_lanes=4, parity=True)
    one, other = (dataclasses.asdict(fit_config(part.net, base)) for part in PARTS)
    config = EngineConfig(**{name: max(one[name], other[name]) for name in one})
    folder = tmp_path_factory.mktemp("row")
    with running(build_row(config, 2, BUILD), 2, folder) as (ports, pulse), contextlib.ExitStack() as stack:
        links = [stack.enter_context(contextlib.closing(NoisyLink.open(port, timeout=30))) for port in ports]
        yield Bench(Row(PARTS, [Board(link, patience=60) for link in links]), links, pulse, folder)


def test_answers_cycles_and_what_went_over_the_lines(bench):
    """Integers and cycles of the model; both boards work at the same time, each on another image."""
    bench.row.load()
    begun = [len(bench.requests(board)) for board in range(2)]
    assert bench.answers(CODES) == NET.golden(CODES).tolist()
    images, taken = [], []  # by board: cycles in which an image had come, in which its logits were asked for
    for board, given in enumerate(GIVEN):
        mapping = bench.row.boards[board].mapping
        requests = bench.requests(board)[begun[board] :]
        beats = [w for _, address, words in requests if address in (word("image"), word("image_last")) for w in words]
        assert beats == image_beats(mapping, given).ravel().tolist()
        images.append([cycle for cycle, address, _ in requests if address == word("image_last")])
        pairs = itertools.pairwise(requests)
        taken.append([cycle for (_, before, _), (cycle, after, _) in pairs if before != after == word("logit")])
        assert len(images[board]) == len(taken[board]) == len(CODES)
        counters = Case(PARTS[board].net, given).counters(mapping, len(CODES) - 1)
        assert bench.row.boards[board].counters()[:, : len(counters[0])].tolist() == counters
    assert any(image < last for image, last in zip(images[0][1:], taken[1][:-1], strict=True))


def test_damaged_frames(bench):
    """One is asked again; where the second attempt's are damaged, too, that is said, and the row can work on."""
    bench.row.load()
    first, last = bench.links
    last.frames, last.bad = 0, (3,)
    assert bench.answers(CODES[:1]) == NET.golden(CODES[:1]).tolist() and last.frames > 3
    first.frames, first.bad = 0, tuple(range(2, 50))
    with pytest.raises(OneSpikeError, match=rf"^The board at {first.port.name} received a damaged frame\.$"):
        bench.answers(CODES[:1])
    first.bad = ()
    bench.row.load()
    assert bench.answers(CODES[1:2]) == NET.golden(CODES[1:2]).tolist()


def test_a_board_that_notes_a_fault(bench):
    """Its network is loaded again, and its image repeated: the other board notices nothing."""
    bench.row.load()
    bench.pulse("flip", 1)
    assert bench.answers(CODES[:1]) == NET.golden(CODES[:1]).tolist()
    assert bench.row.boards[0].mended == []
    assert bench.row.boards[1].mended == ["The board noted wrong bits in its memory of channels (parity)"]


def test_a_board_that_loses_its_power(bench):
    """What it says then is said, and no answer given; what it holds after that is loaded again."""
    bench.row.load()
    bench.pulse("off", 0)
    with pytest.raises(OneSpikeError, match=r"^The board does not run this network any more: .* it has been reset; "):
        bench.row.classify(CODES[:1])
    bench.row.load()
    assert bench.answers(CODES[:1]) == NET.golden(CODES[:1]).tolist()
