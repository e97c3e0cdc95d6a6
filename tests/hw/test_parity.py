# SPDX-License-Identifier: Apache-2.0
"""Parity bits, and the unit that looks at them, against their golden functions."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.parity import Parity, parity_bits, with_parity
from onespike.model.machine import parity as golden
from onespike.sim.stream import run_pipeline

WIDTHS = (1, 7, 8, 9, 16, 27, 32, 129)


class Encoder(wiring.Component):
    def __init__(self, width: int):
        super().__init__({"row": In(width), "stored": Out(width + parity_bits(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.stored.eq(with_parity(self.row))
        return m


@pytest.mark.parametrize("width", WIDTHS)
def test_every_damaged_bit_is_seen(width: int) -> None:
    """Of a row that has been asked for, two cycles later; two damaged bits of one group are not."""
    rng = random.Random(width)
    whole = [rng.getrandbits(width) for _ in range(3)] + [0, (1 << width) - 1]
    stored = [golden.with_parity(row, width) for row in whole]
    bits = width + parity_bits(width)
    rows = [(row, True) for row in stored] + [(stored[bit % 5] ^ 1 << bit, valid) for bit in range(bits)
                                              for valid in (True, False)]  # fmt: skip
    twice = [(stored[0] ^ 3, True)] if width > 1 else []  # two bits of one group
    rows += twice
    found = run_pipeline(
        Parity(width), {"row": [row for row, _ in rows] + [0] * 2, "valid": [valid for _, valid in rows] + [0] * 2},
        ["fault"],
    )["fault"]  # fmt: skip
    expected = golden.parity(rows, width)
    assert found[2:] == expected and expected[5 : 5 + 2 * bits] == [True, False] * bits
    assert not any(expected[:5]) and not any(expected[5 + 2 * bits :])


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_get_their_bits(width: int) -> None:
    rng = random.Random(width)
    rows = [rng.getrandbits(width) for _ in range(20)]
    found = run_pipeline(Encoder(width), {"row": [*rows, 0]}, ["stored"])["stored"]
    assert found[1:] == [golden.with_parity(row, width) for row in rows]
