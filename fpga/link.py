# SPDX-License-Identifier: Apache-2.0
"""Links: how a host reaches the registers of a board. Every link reads and writes words at word addresses.

SerialLink.open("/dev/ttyUSB0")     UART, with pyserial
SpiLink(spidev.SpiDev(...))         SPI, with anything that has xfer2
MmioLink(mmio, send, receive)       AXI, with anything that has read(offset) and write(offset, value)
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from ..hw.fronts.packet import BAD_CRC, BAD_REQUEST, MOST_WORDS, REFUSED
from ..model.errors import OneSpikeError
from ..model.system import extras
from .protocol import LONGEST_FRAME, Reply, find_reply, read_request, write_request

SHOWN = 24  # bytes that an error message shows
QUIET = 0.3  # seconds of a quiet line after which every board has forgotten a request that stopped short


class LinkError(OneSpikeError):
    """No right answer came; the engine must be stopped and the work begun again."""


class Link(Protocol):
    """Access to the registers."""

    def read(self, address: int, count: int = 1, *, fixed: bool = False) -> list[int]:
        """`count` words from word address `address` on, or that one again and again."""
        ...

    def write(self, address: int, words: Sequence[int], *, fixed: bool = False) -> None:
        """The same, writing."""
        ...

    def recover(self) -> None:
        """Forget what may still be under way."""
        ...


class PacketLink:
    """Register accesses in frames of `docs/protocol.md`; subclasses move the bytes.

    timeout: seconds without a right answer after which LinkError is raised.
    """

    def __init__(self, name: str, timeout: float):
        self.name, self.timeout = name, timeout
        self.line_seconds = 0.0  # that the longest request and reply take on the line
        self._tag = 0

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def receive(self, seconds: float) -> bytes:
        """What has come, after at most `seconds`."""
        raise NotImplementedError

    def recover(self) -> None:
        """Wait until the line has been quiet long enough for the board to notice; drop what it still sends until then.

        At most the time that an answer may take: some devices never fall silent. SPI gives 0 where the board is.
        """
        last = now = time.monotonic()
        end = now + self.line_seconds + self.timeout
        while now - last < min(QUIET, self.timeout) and now < end:
            heard = self.receive(0.05).strip(b"\0")
            now = time.monotonic()
            last = now if heard else last

    def read(self, address: int, count: int = 1, *, fixed: bool = False) -> list[int]:
        words: list[int] = []
        while len(words) < count:
            part = min(MOST_WORDS, count - len(words))
            at = address if fixed else address + len(words)
            reply = self._ask(partial(read_request, address=at, count=part, fixed=fixed))
            if len(reply.words) != part:
                raise LinkError(f"{self.name} answered {len(reply.words)} words instead of {part}.")
            words += reply.words
        return words

    def write(self, address: int, words: Sequence[int], *, fixed: bool = False) -> None:
        for start in range(0, len(words), MOST_WORDS):
            part = words[start : start + MOST_WORDS]
            at = address if fixed else address + start
            self._ask(partial(write_request, address=at, words=part, fixed=fixed))

    def _ask(self, request: Callable[[int], bytes]) -> Reply:
        self._tag = self._tag % 255 + 1
        self.send(request(self._tag))
        seen, rest = b"", b""
        until = time.monotonic() + self.line_seconds + self.timeout
        while time.monotonic() < until:
            data = self.receive(until - time.monotonic())
            seen = (seen + data)[: SHOWN + 1]
            rest += data
            reply, rest = find_reply(rest)
            while reply is not None and reply.tag != self._tag:  # the answer to a request that was given up
                reply, rest = find_reply(rest)
            if reply is not None:
                self._check(reply)
                return reply
        if not seen:
            what = "nothing came"
        else:
            more = " ..." if len(seen) > SHOWN else ""
            what = f"only {seen[:SHOWN].hex(' ')}{more} came"
        raise LinkError(
            f"{self.name} did not answer within {self.timeout:g} s: {what}; check the port, the baud rate and that a "
            f"OneSpike design is running."
        )

    def _check(self, reply: Reply) -> None:
        problems = {
            BAD_CRC: "received a damaged frame",
            BAD_REQUEST: "does not know the request",
            REFUSED: "refused an access",
        }
        if reply.status:
            told = problems.get(reply.status, f"answered with the status {reply.status}, which nobody knows")
            raise LinkError(f"{self.name} {told}.")


class SerialLink(PacketLink):
    """UART through a pyserial port."""

    def __init__(self, port: Any, *, timeout: float = 2.0):
        super().__init__(f"The board at {port.name}", timeout)
        self.port = port
        self.line_seconds = 10 * 2 * LONGEST_FRAME / port.baudrate

    @classmethod
    def open(cls, path: str, *, baud: int = 115200, timeout: float = 2.0) -> SerialLink:
        """A link over the serial device `path`, for this program alone; OneSpikeError where it cannot be opened."""
        try:
            import serial
        except ModuleNotFoundError as error:
            raise extras.missing("A serial port needs", error) from None
        try:
            return cls(serial.Serial(path, baud, write_timeout=10, exclusive=True), timeout=timeout)
        except (serial.SerialException, OSError, ValueError) as error:
            code = getattr(error, "errno", None) or 0
            if code in (errno.EAGAIN, errno.EBUSY):
                raise OneSpikeError(
                    f"Cannot open the serial port {path}: another program uses it; end that one, or close its link."
                ) from None
            reasons = {errno.ENOENT: "there is no such device", errno.EACCES: "permission denied"}
            reason = reasons.get(code, str(error))
            raise OneSpikeError(f"Cannot open the serial port {path}: {reason}; name the board's port.") from None

    def close(self) -> None:
        """Leave the port to others."""
        self.port.close()

    def send(self, data: bytes) -> None:
        self._try(self.port.reset_input_buffer)
        self._try(lambda: self.port.write(data))

    def receive(self, seconds: float) -> bytes:
        def get() -> bytes:
            self.port.timeout = max(0.0, seconds)
            first = self.port.read(1)
            return first + self.port.read(self.port.in_waiting) if first else first

        return self._try(get)

    def _try(self, action: Callable[[], Any]) -> Any:
        import serial

        try:
            return action()
        except (serial.SerialException, OSError) as error:
            raise OneSpikeError(f"{self.name} has gone: {error}.") from None


class SpiLink(PacketLink):
    """SPI, mode 0, through an object with `xfer2(list of bytes) -> list of bytes`, such as spidev's SpiDev."""

    POLL = 16  # bytes that are clocked in at a time

    def __init__(self, spi: Any, *, timeout: float = 2.0):
        super().__init__("The board on SPI", timeout)
        self.spi = spi

    def send(self, data: bytes) -> None:
        self._transfer(list(data))

    def receive(self, seconds: float) -> bytes:
        """The board sends 0 while it has nothing to say."""
        return self._transfer([0] * self.POLL)

    def _transfer(self, data: list[int]) -> bytes:
        try:
            return bytes(self.spi.xfer2(data))
        except (OSError, ValueError) as error:  # ValueError: of something that is no byte
            raise OneSpikeError(f"{self.name} has gone: {error}.") from None


class MmioLink:
    """AXI: registers through `mmio.read(offset)` and `mmio.write(offset, value)`, as PYNQ's MMIO has them.

    send: streams the beats of one image (a sequence of integers) in. receive: the given number of logit words that come
    out. Both None where images and logits go through the registers (Wishbone).
    """

    def __init__(
        self,
        mmio: Any,
        send: Callable[[Sequence[int]], None] | None = None,
        receive: Callable[[int], Sequence[int]] | None = None,
    ):
        self.mmio, self.send, self.receive = mmio, send, receive

    def read(self, address: int, count: int = 1, *, fixed: bool = False) -> list[int]:
        return [int(self.mmio.read(4 * (address if fixed else address + i))) for i in range(count)]

    def write(self, address: int, words: Sequence[int], *, fixed: bool = False) -> None:
        for i, word in enumerate(words):
            self.mmio.write(4 * (address if fixed else address + i), int(word))

    def recover(self) -> None:
        """Nothing is under way: every access is answered."""
