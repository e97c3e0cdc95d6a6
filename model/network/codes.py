# SPDX-License-Identifier: Apache-2.0
"""How a value becomes spikes: every code is a set of spikes, each worth plus or minus a power of two.

| code     | spikes of one value                                  | bit p of its field is worth      |
|----------|------------------------------------------------------|----------------------------------|
| radix    | the value in binary                                  | 2**p                             |
| unary    | as many ones as the value (thermometer)              | 1                                |
| psg      | g bits, evenly spread (OneSpike, eq. 11)             | 1                                |
| signed   | non-adjacent form: no two neighbouring digits not 0  | 2**p, p < 9; then -2**(p - 9)    |
| signed4  | the same, of values below 16                         | 2**p, p < 5; then -2**(p - 5)    |

A field is as wide as the next power of two, so that a bit position splits into (channel, bit) by wiring alone.
"""

import numpy as np

from ..errors import OneSpikeError

CODES = ("radix", "unary", "psg", "signed", "signed4")
# Code -> positive digits: of b bits b + 1, and b - 1 negative ones, in 2 b bits.
SIGNED_PLUS = {"signed": 9, "signed4": 5}
MAX_FIELD = 32


def field_width(code: str, top: int) -> int:
    """Bits of the field of one value 0..top: a power of two."""
    if code in SIGNED_PLUS:
        bits = SIGNED_PLUS[code] - 1
        if top >> bits:
            raise OneSpikeError(
                f"Digits of the {code} code reach {(1 << bits) - 1}, not {top}; use the signed or the radix code."
            )
        return 2 * bits
    bits = top.bit_length() if code == "radix" else top
    width = 1 << (max(bits, 1) - 1).bit_length()
    if width > MAX_FIELD:
        raise OneSpikeError(
            f"The {code} code of values up to {top} needs {bits} bits a value, more than the {MAX_FIELD} of a spike "
            f"word; use the radix code or fewer groups."
        )
    return width


def encode(values: np.ndarray, code: str, top: int) -> np.ndarray:
    """Fields uint32, same shape as `values`, of counts 0..top."""
    values = np.asarray(values)
    assert values.size == 0 or (values.min() >= 0 and values.max() <= top), "a value lies outside its code"
    if code == "radix":
        return values.astype(np.uint32)
    if code in SIGNED_PLUS:
        # Reitwiesner: 3x and x differ exactly where a digit stands; its sign is that of 3x there.
        x = values.astype(np.uint32)
        plus = (3 * x & ~x) >> 1
        minus = (x & ~(3 * x)) >> 1
        return (plus | minus << SIGNED_PLUS[code]).astype(np.uint32)
    index = np.arange(1, top + 1, dtype=np.int64)
    counts = np.arange(top + 1, dtype=np.int64)[:, None]
    spikes = index <= counts if code == "unary" else index * counts // top > (index - 1) * counts // top
    table = (spikes.astype(np.uint64) << (index - 1).astype(np.uint64)).sum(1)
    return table.astype(np.uint32)[values]


def digit(code: str, bit: int) -> tuple[int, bool]:
    """Worth of bit `bit` of a field: (shift, negative), that is plus or minus 2**shift."""
    if code == "radix":
        return bit, False
    if code in SIGNED_PLUS:
        plus = SIGNED_PLUS[code]
        return (bit, False) if bit < plus else (bit - plus, True)
    return 0, False


def decode(fields: np.ndarray, code: str) -> np.ndarray:
    """The values int64 that fields stand for."""
    fields = np.asarray(fields).astype(np.int64)
    total = np.zeros(fields.shape, np.int64)
    for bit in range(MAX_FIELD):
        shift, negative = digit(code, bit)
        worth = (fields >> bit & 1) << shift
        total += -worth if negative else worth
    return total


def spikes(values: np.ndarray, code: str, top: int) -> np.ndarray:
    """Number of spikes, that is of additions per fan-out, of each value."""
    table = np.bitwise_count(encode(np.arange(top + 1), code, top)) if code != "unary" else np.arange(top + 1)
    return table[np.asarray(values)]
