# SPDX-License-Identifier: Apache-2.0
"""Codes of values as spikes: decoding gives the value back, and every code costs what its table says."""

import itertools

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network import codes


@pytest.mark.parametrize("code", codes.CODES)
@pytest.mark.parametrize("top", [1, 2, 3, 7, 8, 12, 15, 16, 31, 32])
def test_every_value_survives_and_fits_its_field(code, top):
    top = min(top, 15) if code == "signed4" else top
    values = np.arange(top + 1)
    fields = codes.encode(values, code, top)
    np.testing.assert_array_equal(codes.decode(fields, code), values)
    width = codes.field_width(code, top)
    assert width & (width - 1) == 0
    assert int(fields.max()).bit_length() <= width
    np.testing.assert_array_equal(codes.spikes(values, code, top), [int(field).bit_count() for field in fields])


@pytest.mark.parametrize("code", ["radix", "signed"])
def test_every_pixel_survives(code):
    values = np.arange(256)
    np.testing.assert_array_equal(codes.decode(codes.encode(values, code, 255), code), values)


def test_unary_and_psg_hold_the_count_in_ones():
    for top in (1, 4, 5, 8, 31):
        for code in ("unary", "psg"):
            ones = np.bitwise_count(codes.encode(np.arange(top + 1), code, top))
            np.testing.assert_array_equal(ones, np.arange(top + 1))


def test_psg_spreads_its_ones_evenly():
    # Count 3 of 4: the integrate-and-fire pattern 0, 1, 1, 1 of the OneSpike paper, first group in bit 0.
    assert int(codes.encode(np.array(3), "psg", 4)) == 0b1110
    assert int(codes.encode(np.array(2), "psg", 4)) == 0b1010
    assert int(codes.encode(np.array(3), "unary", 4)) == 0b0111


def test_signed_digits_never_touch_and_are_few():
    for code, top in (("signed", 255), ("signed4", 15)):
        for value in range(top + 1):
            field = int(codes.encode(np.array(value), code, top))
            worth = sorted(codes.digit(code, bit)[0] for bit in range(16) if field >> bit & 1)
            assert all(high - low > 1 for low, high in itertools.pairwise(worth)), value
            assert len(worth) <= value.bit_count()
    assert codes.spikes(np.array(255), "signed", 255) == 2
    assert codes.spikes(np.array(255), "radix", 255) == 8


@pytest.mark.parametrize(
    ("code", "top", "message"),
    [
        ("signed", 256, r"^Digits of the signed code reach 255, not 256; use the signed or the radix code\.$"),
        ("signed4", 16, r"^Digits of the signed4 code reach 15, not 16; use the signed or the radix code\.$"),
        ("unary", 33, r"^The unary code of values up to 33 needs 33 bits a value, more than the 32 of a spike word; "),
    ],
)
def test_codes_that_are_too_wide_are_refused(code, top, message):
    with pytest.raises(OneSpikeError, match=message):
        codes.field_width(code, top)
