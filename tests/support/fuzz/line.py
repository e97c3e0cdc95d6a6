# SPDX-License-Identifier: Apache-2.0
"""The serial protocol: a host whose board answers anything, and a board that is sent anything.

What is damaged for the host is a script, a byte for each reply that a right board gives (which of `FAULTS`, and how
much of it); behind its end all is well. For the board it is what comes before a good request.
"""

import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import serial

from blocks import random_mapping
from onespike.fpga import host, link
from onespike.fpga.protocol import OK, Reply, find_reply, read_request, reply_frame, write_request
from onespike.hw.fronts.packet import MOST_WORDS
from onespike.hw.fronts.registers import CONFIG, ID, VERSION, flag, parameter_words, word
from packet_line import Line, spread

from .mutations import bytes_damaged
from .reader import Reader, saved

QUIET = 900  # cycles in which any reply that the board owes has left
TAG = 0xC7  # of the good request behind
MAPPING = functools.cache(lambda: random_mapping(random.Random(1)))
IMAGES = functools.cache(lambda: np.random.default_rng(0).integers(0, 200, (2, *MAPPING().net.image.shape), np.uint8))


class Clock:
    """Time that passes when somebody waits: nobody really does."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1e-4
        return self.now


class Core:
    """The registers of a core that classifies: its logits are a function of the image's beats."""

    def __init__(self) -> None:
        config = MAPPING().config
        self.memory = {0: ID, 1: VERSION, 2: 0x10}
        self.memory |= {CONFIG // 4 + i: value for i, value in enumerate(parameter_words(config))}
        self.classes = MAPPING().net.classes
        self.image: list[int] = []
        self.logits: list[int] = []

    def write(self, address: int, value: int) -> None:
        if address == word("control"):
            self.image, self.logits = [], []
            self.memory |= {word("counter"): self.memory.get(word("counter"), 0) if value else 0, word("events"): 0}
        if address in (word("image"), word("image_last")):
            self.image.append(value)
            if address == word("image_last"):
                self.logits = [sum((i + k) * beat for i, beat in enumerate(self.image)) % 9999
                               for k in range(self.classes)]  # fmt: skip
                self.image = []
        elif address not in (word("load"), word("id"), word("version")):
            self.memory[address] = value

    def read(self, address: int) -> int:
        if address == word("status"):
            return flag("status", "running") | flag("status", "room") | flag("status", "result") * bool(self.logits)
        if address == word("logit"):
            return self.logits.pop(0) if self.logits else 0
        return self.memory.get(address, 0)


def answer(core: Core, frame: bytes) -> bytes:
    """The reply of a right board to a request."""
    tag, command, address, count = frame[1:5]
    step = not command & 2
    if command & 1:
        for i in range(count):
            core.write(address + i * step, int.from_bytes(frame[5 + 4 * i : 9 + 4 * i], "little"))
        return reply_frame(Reply(tag, OK))
    return reply_frame(Reply(tag, OK, tuple(core.read(address + i * step) for i in range(count))))


class Port:
    """What pyserial gives, with a board behind it."""

    name, baudrate = "/dev/ttyFuzz", 115200

    def __init__(self, script: bytes, clock: Clock):
        self.script, self.clock, self.core = iter(script), clock, Core()
        self.out, self.gone, self.babble = b"", False, b""
        self.late: list[bytes] = []
        self.timeout = 0.0

    def _there(self) -> None:
        if self.gone:
            raise serial.SerialException("device reports readiness to read but returned no data")

    def reset_input_buffer(self) -> None:
        self._there()
        self.out = b""

    def write(self, data: bytes) -> int:
        self._there()
        late, self.late = self.late, []
        reply = answer(self.core, data)
        self.out += b"".join(late) + FAULTS[next(self.script, 0) % len(FAULTS)](reply, self.script, self)
        return len(data)

    @property
    def in_waiting(self) -> int:
        return len(self.out)

    def read(self, count: int) -> bytes:
        self._there()
        if not self.out and self.babble:
            self.out, self.clock.now = self.babble, self.clock.now + 0.01
        if not self.out:
            self.clock.now += self.timeout
        found, self.out = self.out[:count], self.out[count:]
        return found


class Wires:
    """What spidev gives, over the same board: bytes go out while bytes come in."""

    def __init__(self, port: Port):
        self.port = port

    def xfer2(self, data: list[int]) -> list[int]:
        self.port.clock.now += 1e-3
        if data[0] == 0xA5:
            self.port.write(bytes(data))
            return [0] * len(data)
        self.port.timeout = 0.0
        return list(self.port.read(len(data)).ljust(len(data), b"\0"))


def _late(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    port.late.append(reply)
    return b""


def _cut(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    return reply[: next(script, 0) % (len(reply) + 1)]


def _flipped(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    made, at = bytearray(reply), next(script, 0)
    made[at % len(made)] ^= 1 << at % 8
    return bytes(made)


def _noise(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    return bytes(next(script, 0) for _ in range(next(script, 0))) + reply


def _dead(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    port.gone = True
    return b""


def _babbles(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    port.babble = bytes([next(script, 0x5A)])
    return b""


def _other(reply: bytes, script: Iterator[int], port: Port) -> bytes:
    """A reply with a right CRC, of another tag, status or length, which a host can notice."""
    found, _ = find_reply(reply)
    assert found is not None
    kind, value = next(script, 0) % 3, next(script, 0)
    if kind == 0:
        return reply_frame(Reply(value, found.status, found.words))
    if kind == 1:
        return reply_frame(Reply(found.tag, value or 1, ()))
    return reply_frame(Reply(found.tag, OK, (*found.words, *range(value))[: value % (MOST_WORDS + 1)]))


FAULTS: tuple[Callable[[bytes, Iterator[int], Port], bytes], ...] = (  # what becomes of a reply; 0 is well
    lambda reply, script, port: reply, lambda reply, script, port: b"", _late, _cut, _flipped, _noise,
    lambda reply, script, port: reply + reply, _dead, _babbles, _other,
)  # fmt: skip


def talk(path: Path, over: Callable[[Port], Any]) -> Any:
    """All that a host does, over a line with these faults; what it is told, it is told as by a line without."""
    clock = Clock()
    kept = link.time, host.time
    link.time = host.time = clock  # type: ignore[assignment]
    try:
        found = _session(over(Port(path.read_bytes(), clock)))
        np.testing.assert_array_equal(found, _session(over(Port(b"", Clock()))))
    finally:
        link.time, host.time = kept
        assert clock.now < 600, f"{clock.now:.0f} s until the answer"
    return found


def _session(over: Any) -> np.ndarray:
    board = host.Board(over, patience=1.0)
    board.load(MAPPING())
    answers = board.classify(IMAGES())
    board.status()
    board.stop()
    board.start()
    return np.concatenate([answers.logits, board.classify(IMAGES()[:1]).logits])


def by_wire(path: Path) -> Any:
    return talk(path, lambda port: link.SerialLink(port, timeout=0.5))


def by_spi(path: Path) -> Any:
    return talk(path, lambda port: link.SpiLink(Wires(port), timeout=0.5))


def board_answers(path: Path) -> None:
    """The RTL that takes requests: behind any bytes and a quiet line, it answers a good one."""
    data = path.read_bytes()[:300]
    pace, noise = data[0] % 3 + 1 if data else 1, data[1:]
    received = spread(noise, step=pace) if noise else {}
    end = max(received, default=0) + QUIET
    good = spread(read_request(TAG, 5, 2), start=end)
    line = Line(refuses=lambda write, at, number: at % 7 == 3)
    sent = line.run(received | good, cycles=end + 120, quiet=lambda cycle: cycle not in received and cycle not in good)
    late = bytes(byte for cycle, byte in sent if cycle >= end)
    number = len(line.accesses) - 2
    wanted = reply_frame(Reply(TAG, OK, (Line.answer(5, number), Line.answer(6, number + 1))))
    assert late == wanted, f"{late.hex()} instead of {wanted.hex()}"


def reply_found(path: Path) -> None:
    """The host's decoder: a good reply behind any bytes is found, in pieces of any size, once the line was quiet."""
    data = path.read_bytes()
    good = Reply(TAG, OK, (1, 0x5A5A5A5A))
    size, rest = data[0] + 1 if data else 1, b""
    found: list[Reply] = []
    stream = data[1:] + bytes(4 * 255 + 6) + reply_frame(good)
    for start in range(0, len(stream), size):
        one, rest = find_reply(rest + stream[start : start + size])
        while one is not None:
            found.append(one)
            one, rest = find_reply(rest)
        assert len(rest) <= 4 * 255 + 6, "the decoder keeps more than a frame"
    assert found and found[-1] == good, found


def _script(data: bytes, rng: random.Random) -> bytes:
    """Faults at random places, few or many; or another script, damaged."""
    if rng.random() < 0.3:
        return bytes_damaged(data, rng)[:400]
    share = rng.choice((0.02, 0.1, 0.5))
    return bytes(rng.randrange(256) if rng.random() < share else 0 for _ in range(rng.choice((4, 20, 80, 200))))


def _kept(data: bytes) -> Callable[[Path], Path]:
    return saved("bytes", lambda path: path.write_bytes(data))


_requests = write_request(3, 20, [1, 2, 3]) + read_request(4, 20, 3) + write_request(9, 5, [7], fixed=True)
READERS = [
    Reader(name="board by UART", make=_kept(bytes(60)), read=by_wire, damage=_script, inputs=60, named=False),
    Reader(name="board by SPI", make=_kept(bytes(60)), read=by_spi, damage=_script, inputs=30, named=False),
    Reader(name="requests", make=_kept(b"\0" + _requests), read=board_answers, damage=bytes_damaged, inputs=5),
    Reader(name="replies", make=_kept(b"\3" + reply_frame(Reply(1, 0, (2, 3)))), read=reply_found,
           damage=bytes_damaged, inputs=60),
]  # fmt: skip
