# SPDX-License-Identifier: Apache-2.0
"""Packets in Amaranth's simulator: requests that come, stop and give way at the very cycle in which something else
happens, against the frames of `onespike.fpga.protocol`."""

import random
from collections.abc import Callable

import pytest

from onespike.fpga.protocol import Reply, crc, read_request, reply_frame, write_request
from onespike.hw.fronts.packet import BAD_CRC, BAD_REQUEST, MOST_WORDS, REFUSED
from packet_line import Line, spread


def during(received: dict[int, int], extra: int = 1) -> Callable[[int], bool]:
    """Quiet as a UART or a select says it: not while the frame comes, again `extra` cycles behind its last byte."""
    first, last = min(received), max(received)
    return lambda cycle: not first <= cycle < last + extra


def bytes_of(sent: list[tuple[int, int]]) -> bytes:
    return bytes(byte for _, byte in sent)


def reads(line: Line, address: int, count: int, fixed: bool, first: int = 0) -> tuple[int, ...]:
    return tuple(line.answer(address if fixed else address + i & 63, first + i) for i in range(count))


@pytest.mark.parametrize("extra", [0, 1, 3])
@pytest.mark.parametrize(("count", "step", "latency", "fixed"), [(1, 1, 0, False), (2, 2, 3, True), (3, 1, 2, False)])
def test_requests(count, step, latency, fixed, extra):
    """Reads and writes, also where the line falls quiet in the cycle of the last byte (extra = 0): SPI's select."""
    line, rng = Line(latency=latency), random.Random(count)
    received = spread(read_request(7, 11, count, fixed=fixed), step=step)
    sent = line.run(received, cycles=70 + 30 * count, quiet=during(received, extra))
    assert bytes_of(sent) == reply_frame(Reply(7, 0, reads(line, 11, count, fixed)))
    assert line.accesses == [(False, 11 if fixed else 11 + i, 0) for i in range(count)]
    words = [rng.getrandbits(32) for _ in range(count)]
    received = spread(write_request(200, 62 - count, words, fixed=fixed), step=step)
    sent = line.run(received, cycles=70 + 30 * count, ready=lambda cycle: cycle % 3 > 0, quiet=during(received, extra))
    assert bytes_of(sent) == reply_frame(Reply(200, 0))
    assert line.accesses == [(True, 62 - count + i * (not fixed), word) for i, word in enumerate(words)]


def test_the_longest_frames():
    line, rng = Line(latency=1), random.Random(1)
    words = [rng.getrandbits(32) for _ in range(MOST_WORDS)]
    received = spread(write_request(1, 13, words, fixed=True))
    assert bytes_of(line.run(received, cycles=850, quiet=during(received))) == reply_frame(Reply(1, 0))
    assert line.accesses == [(True, 13, word) for word in words]
    received = spread(read_request(2, 0, MOST_WORDS))
    found = line.run(received, cycles=600, quiet=during(received))
    assert bytes_of(found) == reply_frame(Reply(2, 0, reads(line, 0, MOST_WORDS, False)))


@pytest.mark.parametrize("refused", [0, 1, 2])
def test_refusals(refused):
    """A write stops at the word that is refused; a read goes on and gives 0 for it."""
    line = Line(refuses=lambda write, at, number: number == refused)
    received = spread(write_request(3, 20, [1, 2, 3]))
    assert bytes_of(line.run(received, cycles=200, quiet=during(received))) == reply_frame(Reply(3, REFUSED))
    assert line.accesses == [(True, 20 + i, 1 + i) for i in range(refused + 1)]
    received = spread(read_request(4, 20, 3))
    words = list(reads(line, 20, 3, False))
    words[refused] = 0
    found = bytes_of(line.run(received, cycles=200, quiet=during(received)))
    assert found == reply_frame(Reply(4, REFUSED, tuple(words)))


def with_crc(*head: int) -> bytes:
    """A request of any head and payload, with a right CRC."""
    return bytes([0xA5, *head]) + crc(bytes(head)).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        *[(with_crc(9, command, 5, 1), BAD_REQUEST) for command in (4, 128)],
        *[(with_crc(9, 0, address, 1), BAD_REQUEST) for address in (64, 128)],
        *[(with_crc(9, command, 5, n, 0, 0), BAD_REQUEST) for command, n in ((0, 0), (1, 0), (0, 65), (1, 255))],
        (read_request(9, 5, 1)[:-2] + b"\0\0", BAD_CRC),
        (write_request(9, 5, [1])[:-1] + b"\0", BAD_CRC),
    ],
)
@pytest.mark.parametrize("after", [0, 6])
def test_bad_requests_are_answered_when_the_line_is_quiet(frame, status, after):
    """Everything is dropped until then, also a whole request."""
    line = Line()
    received = spread([*frame, *read_request(1, 1, 1)])
    sent = line.run(received, cycles=60, quiet=during(received, after))
    assert bytes_of(sent) == reply_frame(Reply(9, status)) and line.accesses == []
    assert sent[0][0] >= max(received) + after


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_request_that_stops_short_is_forgotten(cut):
    """A quiet line in any state of the reception; in the very cycle of a byte it does not count."""
    line = Line()
    write = write_request(9, 5, [1, 2])
    received = spread(write[:cut], step=2)
    end = max(received)
    received |= spread(read_request(6, 5, 1), start=end + 3)
    sent = line.run(received, cycles=end + 45, quiet=lambda cycle: cycle in received or cycle == end + 1)
    assert bytes_of(sent) == reply_frame(Reply(6, 0, reads(line, 5, 1, False)))
    assert line.accesses == [(False, 5, 0)]


@pytest.mark.parametrize(("pace", "count"), [(1, 2), (2, 1)])
def test_a_new_request_at_any_cycle_of_a_reply(pace, count):
    """Its first byte ends the reply, also in the cycle in which a byte of the reply leaves; its own reply is right.

    One that comes while a register is read is lost."""
    first, second = read_request(0x11, 4, count), read_request(0x22, 9, 1)
    line = Line(latency=2)
    received = spread(first)
    whole = line.run(received, cycles=60, ready=lambda cycle: cycle % pace == 0, quiet=during(received))
    begin, end = whole[0][0], whole[-1][0]
    for at in range(begin, end + 3):
        received = spread(first) | spread(second, start=at)
        cycles = at + 25 + 10 * pace
        sent = line.run(received, cycles=cycles, ready=lambda cycle: cycle % pace == 0, quiet=during(received))
        left = bytes(byte for cycle, byte in whole if cycle <= at)
        number = sum(address in (4, 5) for _, address, _ in line.accesses)
        expected = left + reply_frame(Reply(0x22, 0, reads(line, 9, 1, False, number)))
        lost = (9 not in {address for _, address, _ in line.accesses}) and at not in {cycle for cycle, _ in whole}
        assert bytes_of(sent) == (bytes_of(whole) if lost else expected), f"request in cycle {at}"
        if pace == 1:
            assert lost == (begin < at < end and at not in {cycle for cycle, _ in whole}), f"request in cycle {at}"


def test_noise_between_requests_and_bytes_that_are_not_offered():
    """Bytes other than 0xA5 are ignored, in the middle of a request 0xA5 is a byte like any other."""
    line = Line()
    frame = write_request(0xA5, 37, [0xA5A5A5A5, 0x5A5AA5A5])
    received = spread([0x5A, 0, 0xFF, 0x25, 0xA4, *frame])
    assert bytes_of(line.run(received, cycles=150, quiet=during(received))) == reply_frame(Reply(0xA5, 0))
    assert line.accesses == [(True, 37, 0xA5A5A5A5), (True, 38, 0x5A5AA5A5)]
