# SPDX-License-Identifier: Apache-2.0
"""Codes of values as spikes: decoding gives the value back, and every code costs what its table says."""

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network import codes
from onespike.model.network.codes import MULTIPLES, Term, events, terms


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize("code", [code for code in codes.CODES if code != "levels"])
@pytest.mark.parametrize("top", [1, 2, 3, 7, 8, 12, 15, 16, 31, 32, 255])
def test_every_value_survives_and_its_events_add_up_to_it(code, top, multiples):
    top = min(top, 32) if code in ("unary", "psg") else top
    top = min(top, 127) if code == "twos" else top
    values = np.arange(-top - 1 if code == "twos" else 0, top + 1)
    fields, width = codes.encode(values, code, top), codes.field_width(code, top)
    np.testing.assert_array_equal(codes.decode(fields, code, width), values)
    assert width & (width - 1) == 0
    assert int(fields.max()).bit_length() <= width
    found = [events(int(field), code, width, multiples) for field in fields]
    assert [sum(term.worth for term in each) for each in found] == values.tolist()
    np.testing.assert_array_equal(codes.spikes(values, code, top, multiples), [len(each) for each in found])
    added = [sum(1 + (term.multiple > 1) for term in each) for each in found]
    np.testing.assert_array_equal(codes.additions(values, code, top, multiples), added)
    shifts = [term.shift for each in found for term in each]
    assert codes.largest_shift(code, top, multiples) == max(shifts)


@pytest.mark.parametrize(("arithmetic", "bits"), codes.PRODUCTS)
@pytest.mark.parametrize("code", codes.DIGIT_CODES)
@pytest.mark.parametrize("top", [1, 3, 7, 8, 15, 16, 127, 255, 300])
def test_products_add_up_to_every_value(code, top, arithmetic, bits):
    """A piece of `bits` bits is one event, and one addition: if it is not 0, or whatever it is."""
    if top > {"radix": 300, "signed": 255, "twos": 127}[code]:
        return
    multiples = codes.PRODUCTS[arithmetic, bits]
    values = np.arange(-top - 1 if code == "twos" else 0, top + 1)
    width = codes.field_width(code, top)
    found = [events(int(field), code, width, multiples) for field in codes.encode(values, code, top)]
    assert [sum(term.worth for term in each) for each in found] == values.tolist()
    pieces = max(1, width // bits)
    assert all(len(each) == pieces if arithmetic == "dense" else 0 < len(each) <= pieces or not value
               for each, value in zip(found, values, strict=True))  # fmt: skip
    for cost in (codes.spikes, codes.additions):
        np.testing.assert_array_equal(cost(values, code, top, multiples), [len(each) for each in found])
    shifts = [term.shift for each in found for term in each]
    assert codes.largest_shift(code, top, multiples) == max(shifts) <= width - min(bits, width)


def test_products_of_levels():
    """One event each, shifted only if a level is larger than the multiplier takes; none that would need two."""
    for bits, known in ((4, {48: (12, 2), 240: (15, 4), 15: (15, 0)}), (8, {48: (48, 0), 510: (255, 1)})):
        for kind in ("zero-skip", "dense"):
            multiples = codes.PRODUCTS[kind, bits]
            for level, (size, shift) in known.items():
                assert codes.level_terms(level, multiples) == (Term(size, shift, False),)
                assert codes.level_terms(-level, multiples) == (Term(size, shift, True),)
            assert codes.level_terms(511 if bits == 8 else 17, multiples) is None


@pytest.mark.parametrize("multiples", MULTIPLES)
@pytest.mark.parametrize(
    "levels",
    [
        (0, 1),
        tuple(range(16)),
        tuple(range(-15, 1)),
        (-8, -5, 0, 3, 10, 12, 160),
        (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48),
        (-640, -128, 0, 640),
        tuple(range(17)),
        (*range(30), 640),
    ],
)
def test_every_level_survives_and_its_events_add_up_to_it(levels, multiples):
    values = np.array(levels)
    fields = codes.encode(values, "levels", levels[-1], levels)
    assert fields[levels.index(0)] == 0 and len(set(fields.tolist())) == len(levels)
    if len(levels) > 16:  # one of two chunks is 0, and the fields rise as the levels do: a pool takes their maximum
        assert not (fields & 15)[fields > 15].any() and (np.diff(fields.astype(int)) > 0).all()
    width = codes.field_width("levels", levels[-1], levels)
    assert width == (8 if len(levels) > 16 else 4) and fields.max() < 1 << width
    np.testing.assert_array_equal(codes.decode(fields, "levels", width, levels), values)
    if any(codes.level_terms(level, multiples) is None for level in levels):
        assert levels[-1] == 640 and 5 not in multiples
        return
    found = [events(int(field), "levels", width, multiples, levels) for field in fields]
    assert [sum(term.worth for term in each) for each in found] == list(levels)
    np.testing.assert_array_equal(codes.spikes(values, "levels", 0, multiples, levels), [len(each) for each in found])
    added = [sum(1 + (term.multiple > 1) for term in each) for each in found]
    np.testing.assert_array_equal(codes.additions(values, "levels", 0, multiples, levels), added)
    shifts = [term.shift for each in found for term in each]
    assert codes.largest_shift("levels", 0, multiples, levels) == max(shifts) < codes.LEVEL_SHIFTS


def test_levels_have_as_many_terms_as_a_digit_at_most():
    one = [level for level in range(1, 129) if len(codes.level_terms(level, (1, 3, 5)) or (0, 0)) == 1]
    assert one == sorted({m << s for m in (1, 3, 5) for s in range(8)} & set(range(129)))
    assert codes.level_terms(43, (1, 3, 5)) == (Term(3, 0, False), Term(5, 3, False))
    assert codes.level_terms(53, (1, 3, 5)) is not None and codes.level_terms(105, (1,)) is None
    for multiples in MULTIPLES:
        for level in range(-200, 201):
            found = codes.level_terms(level, multiples)
            assert found is None or (sum(t.worth for t in found) == level and len(found) <= codes.most_terms(multiples))


@pytest.mark.parametrize("multiples", MULTIPLES)
def test_terms_are_as_few_as_can_be(multiples):
    worth = [s * m << k for m in multiples for k in range(4) for s in (1, -1)]
    for digit in range(-8, 16):
        found = terms(digit, multiples)
        assert sum(term.worth for term in found) == digit and all(term.shift < 4 for term in found)
        assert len(found) > 0 or digit == 0
        assert len(found) == 1 or digit not in worth
        assert len(found) <= 2 or not any(digit - one in worth for one in worth)
        if digit > 0:
            assert len(found) <= digit.bit_count()  # never more than the bits
    assert codes.most_terms(multiples) == (3 if multiples == (1,) else 2)
    assert terms(16, multiples) == ((Term(1, 4, False),) if multiples == (1,) else (Term(2, 3, False),))


def test_one_event_per_value():
    one = [digit for digit in range(1, 17) if len(terms(digit, (1, 3, 5))) == 1]
    assert one == [1, 2, 3, 4, 5, 6, 8, 10, 12, 16]
    assert terms(7, (1, 3, 5)) == (Term(1, 3, False), Term(1, 0, True))  # two additions; 4 + 3 would be three
    assert terms(-5, (1, 3, 5)) == (Term(5, 0, True),)


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


def test_signed_digits_of_pixels():
    """255 is 256 - 1; the upper digit takes what a negative lower one is short of."""
    assert events(255, "signed", 8, (1,)) == [Term(1, 0, True), Term(1, 8, False)]
    assert events(0xF0, "signed", 8, (1, 3, 5)) == [Term(5, 4, False), Term(5, 5, False)]
    assert [codes.chunk_digit(0x08F7, chunk, True, False) for chunk in range(4)] == [7, 15, -8, 1]
    assert [codes.chunk_digit(0x08F7, chunk, False, False) for chunk in range(4)] == [7, 15, 8, 0]
    assert [codes.chunk_digit(0x08F7, chunk, True, True) for chunk in range(4)] == [7, -1, -8, 1]
    assert [codes.chunk_digit(0x08F7, chunk, False, True) for chunk in range(4)] == [7, -1, -8, 0]
    values = np.arange(256)
    for multiples in MULTIPLES:  # never worse, on the whole, than the bits
        signed, plain = (codes.spikes(values, code, 255, multiples).mean() for code in ("signed", "radix"))
        assert signed < plain <= 4


@pytest.mark.parametrize(
    ("code", "top", "message"),
    [
        ("signed", 256, r"^Digits of the signed code reach 255, not 256; use the radix code\.$"),
        ("twos", 128, r"^Two's complement of 8 bits reaches 127, not 128; use the radix code\.$"),
        ("unary", 33, r"^The unary code of values up to 33 needs 33 bits a value, more than the 32 of a spike word; "),
    ],
)
def test_codes_that_are_too_wide_are_refused(code, top, message):
    with pytest.raises(OneSpikeError, match=message):
        codes.field_width(code, top)


def test_what_a_lane_makes_of_a_weight():
    """Its multiples and, with an adder, its double; a multiplier makes every product and takes pieces of its own."""
    assert [codes.factors(multiples) for multiples in MULTIPLES] == [(1,), (1, 3, 2), (1, 3, 5, 2)]
    assert [codes.piece_bits(multiples) for multiples in MULTIPLES] == [4, 4, 4]
    for (_, bits), multiples in codes.PRODUCTS.items():
        assert codes.factors(multiples) == tuple(range(1 << bits))
        assert codes.piece_bits(multiples) == bits and codes.most_terms(multiples) == 1
