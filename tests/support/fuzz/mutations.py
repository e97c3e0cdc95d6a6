# SPDX-License-Identifier: Apache-2.0
"""Damage: to bytes, to text, and to trees of dictionaries, lists and plain values."""

import random
from collections.abc import Callable
from typing import Any

JUNK = (
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 255, 256, 65535, 65536, -(2**31), 2**31 - 1, 2**31, 2**32, 2**40, 2**53,
    2**63 - 1, 2**63, -(2**63), 2**64, 10**30, 10**400, 0.0, -0.0, 0.5, 1.5, 8.0, 1e-320, 1e38, 1e308, float("nan"),
    float("inf"), -float("inf"), "", " ", "0", "8", "-1", "1e9", "nan", "[/red]\n", "\0", "ä\u202e\U0001f600", "\udc80",
    "../../x", "/", "{}", "%s%n", "x" * 5000, [], [[]], [0], [1, 2], [-1] * 9, {}, {"": 0}, {"a": [1]},
)  # fmt: skip
BYTES = (0, 1, 2, 4, 8, 16, 32, 64, 127, 128, 129, 254, 255)
WORDS = (0, 1, 2, 3, 4, 8, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NUMBERS = (
    b"0", b"-1", b"1", b"2", b"65536", b"4294967296", b"99999999999", b"9" * 400, b"1e999", b"nan", b"inf", b"-inf",
    b"1.5", b"", b"0x10", b"1_000", "\u0663".encode(), b"-9223372036854775808", b"18446744073709551616",
)  # fmt: skip
MOST = 1 << 20  # bytes of an input: what grows beyond is cut
DEEP = 5000  # brackets in each other
Step = Callable[[bytes, random.Random], bytes]


def bytes_damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes cut, flipped, overwritten, repeated, moved, with more inside or behind them."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(BYTE_STEPS)(data or b"\0", rng)
    return data[:MOST]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _removed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 4, 8, 64, 512)) :]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _set(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    made[rng.randrange(len(made))] = rng.choice(BYTES) if rng.random() < 0.7 else rng.randrange(256)
    return bytes(made)


def _word(data: bytes, rng: random.Random) -> bytes:
    """A field of two, four or eight bytes, where such fields lie, becomes a number that sizes must not be."""
    size = rng.choice((2, 4, 4, 4, 8))
    at = rng.randrange(max(1, len(data) - size + 1)) // size * size
    order = rng.choice(("little", "big"))
    value = rng.choice(WORDS)
    if rng.random() < 0.4:
        value = int.from_bytes(data[at : at + size], "little") + rng.choice((-64, -8, -4, -1, 1, 4, 8, 64))
        order = "little"
    return data[:at] + (value % (1 << 8 * size)).to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def _copied(data: bytes, rng: random.Random) -> bytes:
    """A piece stands at another place too, over what is there or before it."""
    start, at = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 4, 16, 64, 256))]
    return data[:at] + piece + data[at + (len(piece) if rng.random() < 0.6 else 0) :]


def _more(data: bytes, rng: random.Random) -> bytes:
    at = rng.choice((0, rng.randrange(len(data) + 1), len(data)))
    return data[:at] + rng.choice((rng.randbytes(rng.randrange(1, 24)), b"\0" * 4096, b"\xff" * 64)) + data[at:]


def _digits(data: bytes, rng: random.Random) -> bytes:
    """A number that is written as text becomes another."""
    places = [i for i, byte in enumerate(data[:100_000]) if 48 <= byte < 58]
    if not places:
        return _set(data, rng)
    at = end = rng.choice(places)
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:at] + rng.choice(NUMBERS) + data[end:]


BYTE_STEPS: tuple[Step, ...] = (_cut, _removed, _flipped, _set, _set, _word, _word, _word, _copied, _more, _digits)


def text_damaged(data: bytes, rng: random.Random) -> bytes:
    """Lines and words left out, doubled, exchanged, numbers that are none, and brackets without end."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(10)
        if kind < 3:
            data = _digits(data or b"0", rng)
            continue
        if kind == 3:
            data = bytes_damaged(data, rng)
            continue
        if kind == 4:
            at = rng.randrange(len(data) + 1)
            piece = rng.choice((b"(", b"{", b"[", b'"', b"\\", b"/*", b"\r", b"\xff", b"a ( b ) {\n", b",", b":"))
            data = data[:at] + piece * rng.choice((1, 1, 2, 5000)) + data[at:]
            continue
        mark = rng.choice((b"\n", b"\n", b" ", b","))
        parts = data.split(mark)
        one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        if kind == 5:
            del parts[one]
        elif kind == 6:
            parts.insert(other, parts[one])
        elif kind == 7:
            parts[one], parts[other] = parts[other], parts[one]
        elif kind == 8:
            parts[one] = rng.choice((b"", *NUMBERS, "\u00e4\u202e".encode(), b"x" * 5000))
        else:
            parts[one] = parts[one] + parts[other]
        data = mark.join(parts)
    return data[:MOST]


def places(value: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Container and key of every value in a tree."""
    found = [] if found is None else found
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def tree_damaged(tree: Any, rng: random.Random) -> Any:
    """The tree, some of whose values are others, elsewhere, gone, doubled, or deeper than anyone looks."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = places(tree)
        if not found:
            return rng.choice(JUNK)
        container, key = rng.choice(found)
        kind = rng.randrange(12)
        if kind < 4:
            container[key] = rng.choice(JUNK)
        elif kind < 6 and type(container[key]) is int:
            container[key] += rng.choice((-1, 1, -2, 2, 16, -16))
        elif kind < 6 and isinstance(container[key], str):
            container[key] = string_damaged(container[key], rng)
        elif kind == 6:
            del container[key]
        elif kind == 7:  # a value from elsewhere
            other, name = rng.choice(found)
            container[key] = _copy(other[name])
        elif kind == 8 and isinstance(container, list):
            container.insert(rng.randrange(len(container) + 1), _copy(container[key]))
        elif kind == 8:
            container[rng.choice(("", "x", "name", "__class__", "format", "\0"))] = _copy(container[key])
        elif kind == 9 and isinstance(container, dict):
            other = rng.choice(list(container))
            container[key], container[other] = container[other], container[key]
        elif kind == 10 and isinstance(container[key], list) and container[key]:
            container[key] = container[key] * rng.choice((2, 3, 100))
        elif rng.random() < 0.1:
            container[key] = _deep(rng)
        else:
            container[key] = [container[key]]
    return tree


def string_damaged(text: str, rng: random.Random) -> str:
    """Another string, most often nearly the same."""
    if rng.random() < 0.3 or not text:
        return rng.choice([junk for junk in JUNK if isinstance(junk, str)])
    at = rng.randrange(len(text))
    return rng.choice((text[:at], text[:at] + rng.choice("aA0-_.\n\0é") + text[at + 1 :], text + text, text.upper()))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value


def _deep(rng: random.Random) -> Any:
    made: Any = 0
    for _ in range(rng.choice((30, 200, 900))):
        made = [made] if rng.random() < 0.5 else {"a": made}
    return made
