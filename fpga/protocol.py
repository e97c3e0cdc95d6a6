# SPDX-License-Identifier: Apache-2.0
"""Frames of the serial fronts, as `docs/protocol.md` describes them: the golden model of `hw/fronts/packet.py`."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..hw.fronts.packet import MOST_WORDS, OK, READ, READ_FIXED, REPLY, REQUEST, WRITE, WRITE_FIXED

LONGEST_FRAME = 7 + 4 * MOST_WORDS


@dataclass(frozen=True)
class Reply:
    """What a board answered: the request's tag, the status, and the words that were read."""

    tag: int
    status: int
    words: tuple[int, ...] = ()


def crc(data: bytes) -> int:
    """CRC-16 with the polynomial 0x1021 from 0xFFFF, most significant bit first."""
    return binascii.crc_hqx(data, 0xFFFF)


def _frame(first: int, body: bytes) -> bytes:
    return bytes([first]) + body + struct.pack(">H", crc(body))


def read_request(tag: int, address: int, count: int, *, fixed: bool = False) -> bytes:
    """The frame that reads `count` words from word address `address` on, or that one again and again."""
    return _frame(REQUEST, bytes([tag, READ_FIXED if fixed else READ, address, count]))


def write_request(tag: int, address: int, words: Sequence[int], *, fixed: bool = False) -> bytes:
    """The frame that writes `words`."""
    head = bytes([tag, WRITE_FIXED if fixed else WRITE, address, len(words)])
    return _frame(REQUEST, head + struct.pack(f"<{len(words)}I", *words))


def reply_frame(reply: Reply) -> bytes:
    """The frame of a reply."""
    words = struct.pack(f"<{len(reply.words)}I", *reply.words)
    return _frame(REPLY, bytes([reply.tag, len(reply.words)]) + words + bytes([reply.status]))


def find_reply(data: bytes) -> tuple[Reply | None, bytes]:
    """A whole reply with a right CRC in `data`, or None; and what is left to look at when more has come."""
    pending = len(data)  # where a reply may have begun that is not whole yet
    for start in (i for i, byte in enumerate(data) if byte == REPLY):
        count = data[start + 2] if len(data) > start + 2 else 0
        end = start + 6 + 4 * count
        if len(data) < end:
            pending = min(pending, start) if count <= MOST_WORDS else pending
            continue
        body = data[start + 1 : end - 2]
        if count <= MOST_WORDS and struct.unpack(">H", data[end - 2 : end])[0] == crc(body):
            return Reply(body[0], body[-1], struct.unpack(f"<{count}I", body[2:-1])), data[end:]
    return None, data[pending:]


__all__ = ["LONGEST_FRAME", "MOST_WORDS", "OK", "Reply", "find_reply", "read_request", "reply_frame", "write_request"]
