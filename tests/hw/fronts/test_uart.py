# SPDX-License-Identifier: Apache-2.0
"""The serial line bit by bit: bytes at both ends of the speeds that are understood, breaks, silence, whole requests."""

import pytest
from amaranth.sim import Simulator

from engine_stand_in import CONFIG, played
from onespike.fpga.protocol import Reply, read_request, reply_frame, write_request
from onespike.hw.fronts.registers import ID, flag, word
from onespike.hw.fronts.uart import Uart, UartCore
from onespike.model.errors import OneSpikeError

BYTES = [0x00, 0xFF, 0xA5, 0x80, 0x01]


def line(text, cycles: float) -> list[int]:
    """The line while bytes come, of bits of so many cycles."""
    bits = [bit for byte in text for bit in (0, *(byte >> i & 1 for i in range(8)), 1)]
    return [bits[int(cycle / cycles)] for cycle in range(int(len(bits) * cycles))]


def received(dut: Uart, levels: list[int]) -> tuple[list[int], list[int]]:
    """The bytes, and `quiet` in every cycle."""
    found, quiet = [], []

    async def bench(ctx):
        for level in levels:
            ctx.set(dut.rx, level)
            _, _, valid, byte, still = await ctx.tick().sample(
                dut.bytes.received.valid, dut.bytes.received.payload, dut.bytes.quiet
            )
            found.extend([byte] * valid)
            quiet.append(still)

    simulate(dut, bench)
    return found, quiet


def simulate(dut, bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("divisor", [4, 5, 16, 33])
@pytest.mark.parametrize("speed", [0.97, 1, 1.03])
def test_bytes_of_a_line_that_is_a_little_off(divisor, speed):
    if divisor < 16 and speed != 1:
        return  # bits of a few cycles are sampled beside their middle already
    levels = [1] * 9 + line(BYTES, divisor * speed) + [1] * 2 * divisor
    assert received(Uart(divisor, silence=10), levels)[0] == BYTES


def test_breaks_and_noise():
    """A byte without its stop bit is dropped, and the frame over until the line is high."""
    levels = [1] * 9 + [0] * 8 * 30 + [1] * 12 + line([0x5A], 8) + [1] * 20
    found, quiet = received(Uart(8, silence=12), levels)
    assert found == [0x5A]
    begin, end = quiet.index(1), len(quiet) - quiet[::-1].index(1)
    assert 9 + 9 * 8 <= begin <= 9 + 11 * 8 and 9 + 8 * 30 <= end <= 9 + 8 * 30 + 6 and all(quiet[begin:end])


def test_silence():
    """2**silence cycles after the line was low; the next start bit ends it."""
    gap = 1 << 7
    levels = [1] * 3 + line([0x7F], 8) + [1] * (gap + 40) + line([0x55], 8) + [1] * 20
    found, quiet = received(Uart(8, silence=7), levels)
    low = max(cycle for cycle in range(3 + 80) if not levels[cycle])
    again = levels.index(0, low + 1)
    assert found == [0x7F, 0x55]
    assert [cycle for cycle, still in enumerate(quiet) if still] == list(range(low + gap + 3, again + 3))


@pytest.mark.parametrize("divisor", [4, 7])
def test_sends(divisor):
    dut, levels = Uart(divisor), []

    async def bench(ctx):
        left = list(BYTES)
        for _ in range(10 * divisor * len(BYTES) + 9):
            ctx.set(dut.bytes.sent.valid, bool(left))
            ctx.set(dut.bytes.sent.payload, left[0] if left else 0)
            _, _, level, ready = await ctx.tick().sample(dut.tx, dut.bytes.sent.ready)
            levels.append(level)
            if left and ready:
                left.pop(0)
        assert not left

    simulate(dut, bench)
    for byte in BYTES:  # one behind another; a start bit may wait a cycle
        begin = levels.index(0)
        assert levels[begin : begin + 10 * divisor] == line([byte], divisor)
        levels = levels[begin + 10 * divisor :]


def test_speeds_that_cannot_be():
    assert Uart(4).divisor == 4 and Uart((1 << 16) - 1)
    for divisor in (3, 1 << 16):
        with pytest.raises(OneSpikeError, match=rf"^A UART needs 4 to 65,535 clock cycles per bit, not {divisor}; "):
            Uart(divisor)


@pytest.mark.parametrize("port", [False, True])
def test_requests_to_a_core(port):
    """A register is read and written, at a speed that is built in or comes in at a port; the interrupt line."""
    dut = UartCore(CONFIG, divisor=None if port else 5, silence=9, make_engine=played)
    requests = [
        (read_request(1, word("id"), 1), Reply(tag=1, status=0, words=(ID,))),
        (write_request(2, word("irq_enable"), [flag("events", "refused")]), Reply(tag=2, status=0, words=())),
        (write_request(3, word("id"), [0]), Reply(tag=3, status=3, words=())),
    ]
    irqs = []

    async def bench(ctx):
        if port:
            ctx.set(dut.bit_time, 5)
        for request, reply in requests:
            wanted, sent = line(reply_frame(reply), 5), []
            for level in line(request, 5) + [1] * (len(wanted) + 60 + 20 * len(reply_frame(reply))):
                ctx.set(dut.rx, level)
                _, _, level = await ctx.tick().sample(dut.tx)
                sent.append(level)
            heard = received(Uart(5, silence=9), [1] * 3 + sent)[0]
            assert bytes(heard) == reply_frame(reply)
            irqs.append(ctx.get(dut.irq))

    simulate(dut, bench)
    assert irqs == [0, 0, 1]
