# SPDX-License-Identifier: Apache-2.0
"""The SPI line in Amaranth's simulator: replies and selects that move at the very edges of the clock."""

import random
from collections.abc import Sequence

import pytest
from amaranth.sim import Simulator

from onespike.hw.fronts.packet import REPLY
from onespike.hw.fronts.spi import SPI_RATIO, Spi

HALF = SPI_RATIO // 2


def transfer(data: Sequence[int], *, bits: int, before: int = HALF, after: int = HALF) -> list[tuple[int, int, int]]:
    """(cs_n, sclk, mosi) of every cycle: select, the bits of `data`, the last byte `bits` long, release `after` cycles
    behind the last rising edge."""
    pins = [(0, 0, 0)] * before
    for index, byte in enumerate(data):
        for bit in range(8 if index + 1 < len(data) else bits):
            pins += [(0, 0, byte >> (7 - bit) & 1)] * HALF + [(0, 1, byte >> (7 - bit) & 1)] * HALF
    last = len(pins) - HALF
    return [pin if index < last + after else (1, *pin[1:]) for index, pin in enumerate(pins)] + [(1, 0, 0)] * 2 * HALF


def rtl(pins: list[tuple[int, int, int]], replies: list[tuple[int, int]]):
    """Bytes received, with the cycle and `quiet` of then; miso in each cycle; cycles in which replies were taken.

    replies: (cycle from which on it is offered, byte), each at the earliest in the cycle after the one before."""
    dut, received, miso, taken = Spi(), [], [], []

    async def bench(ctx):
        for cycle, (cs_n, sclk, mosi) in enumerate(pins):
            offer = len(taken) < len(replies) and cycle >= replies[len(taken)][0]
            for port, value in ((dut.cs_n, cs_n), (dut.sclk, sclk), (dut.mosi, mosi)):
                ctx.set(port, value)
            ctx.set(dut.bytes.sent.valid, offer)
            ctx.set(dut.bytes.sent.payload, replies[len(taken)][1] if offer else 0xFF)
            _, _, came, byte, quiet, out, ready = await ctx.tick().sample(
                dut.bytes.received.valid, dut.bytes.received.payload, dut.bytes.quiet, dut.miso, dut.bytes.sent.ready
            )
            miso.append(out)
            if came:
                received.append((byte, cycle, quiet))
            if ready and offer:
                taken.append(cycle)
            assert not (ready and not offer), "a byte was taken that nobody offered"

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return received, miso, taken


def read(pins: list[tuple[int, int, int]], miso: list[int], cycle: int = 0) -> list[int]:
    """The bytes that a host samples just before its rising edges."""
    rises = [c for c in range(cycle + 1, len(pins)) if pins[c][1] and not pins[c - 1][1] and not pins[c][0]]
    bits = [miso[c] for c in rises]
    return [int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits) - 7, 8)]


@pytest.mark.parametrize("edge", [0, 1])
def test_a_reply_that_is_ready_at_an_edge_of_the_clock(edge):
    """It fills one whole byte, the first whose first bit has not been sampled when it comes; zeros fill the others.

    The edge is seen two cycles after the host has sampled: a byte that comes in between is right because its first bit
    is 0, as of all that can come so late.
    """
    assert REPLY >> 7 == 0
    pins = transfer([0xA5, 0xFF, 0x81], bits=8)
    starts = [2 * HALF + 16 * HALF * i for i in range(3)]  # first rising edge of each byte, at the pin
    for ready in range(starts[edge] - 1, starts[edge] + 5):
        received, miso, taken = rtl(pins, [(ready, REPLY)])
        due = edge if ready < starts[edge] + 2 else edge + 1
        assert read(pins, miso) == [REPLY if i == due else 0 for i in range(3)], f"ready in cycle {ready}"
        assert taken == [starts[due] + 2]
        assert [byte for byte, *_ in received] == [0xA5, 0xFF, 0x81]


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_a_select_that_rises_at_any_cycle(bits):
    """The last byte counts if all its bits were sampled while selected, also where the select rises in the cycle in
    which the byte comes; what was cut leaves nothing behind."""
    for after in (1, 2, 3):
        pins = transfer([0xC3, 0x96], bits=bits, after=after) + transfer([0x35], bits=8)
        received, _, _ = rtl(pins, [])
        whole = [0xC3, *([0x96] if bits == 8 else []), 0x35]
        assert [byte for byte, *_ in received] == whole, f"released {after} cycles after the edge"
        if bits == 8:
            assert received[1][2] == (after == 1), "quiet in the cycle of the byte"


def test_random_transfers():
    """Any bytes, pauses and cuts: both directions."""
    rng = random.Random(1)
    for _ in range(6):
        sent = [[rng.randrange(256) for _ in range(rng.randint(1, 4))] for _ in range(3)]
        replies = [(0, rng.randrange(1, 256)) for _ in range(4)]
        pins = [pin for data in sent for pin in transfer(data, bits=8, before=HALF + rng.randrange(3))]
        received, miso, taken = rtl(pins, replies)
        assert [byte for byte, *_ in received] == [byte for data in sent for byte in data]
        count = sum(map(len, sent))
        assert read(pins, miso) == [*[byte for _, byte in replies], *[0] * 16][:count] and len(taken) == min(4, count)


def test_nothing_moves_without_a_select():
    pins = [(1, sclk, 1) for _, sclk, _ in transfer([0xFF] * 2, bits=8)]
    received, miso, taken = rtl(pins, [(0, 0x7F)])
    assert received == [] == taken and not any(miso)
