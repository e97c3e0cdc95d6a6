# SPDX-License-Identifier: Apache-2.0
"""Packet in Amaranth's simulator, between a line and registers."""

from collections.abc import Callable, Sequence

from amaranth.sim import Simulator

from onespike.hw.fronts.packet import Packet


class Line:
    """Packet between a line and registers: registers answer a read with `answer`, refuse where `refuses` says so, and
    take `latency` cycles."""

    def __init__(self, *, latency: int = 2, refuses: Callable[[bool, int, int], bool] = lambda write, at, n: False):
        self.latency, self.refuses = latency, refuses
        self.accesses: list[tuple[bool, int, int]] = []  # write, address, data

    @staticmethod
    def answer(address: int, number: int) -> int:
        """What access number `number` to a register reads: all bytes differ."""
        return (0x0403C201 + 0x01020304 * number + 0x10000000 * address) & 0xFFFFFFFF

    def run(self, received: dict[int, int], *, cycles: int, ready: Callable[[int], bool] = lambda cycle: True,
            quiet: Callable[[int], bool] = lambda cycle: True) -> list[tuple[int, int]]:  # fmt: skip
        """(cycle, byte) of what is sent; received: cycle -> byte."""
        dut, sent, waited, self.accesses = Packet(), [], 0, []

        async def bench(ctx):
            nonlocal waited
            bus, line = dut.bus, dut.bytes
            offer = None
            for cycle in range(cycles):
                ctx.set(line.received.valid, cycle in received)
                ctx.set(line.received.payload, received.get(cycle, 0xA5))
                ctx.set(line.quiet, quiet(cycle))
                ctx.set(line.sent.ready, ready(cycle))
                number = len(self.accesses)
                valid, write, address, data = (ctx.get(port) for port in (bus.valid, bus.write, bus.address, bus.data))
                done = bool(valid) and waited == self.latency
                refused = done and self.refuses(bool(write), address, number)
                ctx.set(bus.done, done)
                ctx.set(bus.refused, refused)
                ctx.set(bus.answer, 0 if refused or not done else self.answer(address, number))
                _, _, valid_out, byte = await ctx.tick().sample(line.sent.valid, line.sent.payload)
                if valid_out and offer is not None and cycle not in received:
                    assert byte == offer, "an offered byte changed"
                offer = byte if valid_out and not ready(cycle) else None
                if valid_out and ready(cycle):
                    sent.append((cycle, byte))
                waited = waited + 1 if valid and not done else 0
                if done:
                    self.accesses.append((bool(write), address, data if write else 0))

        simulator = Simulator(dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()
        return sent


def spread(frame: Sequence[int], start: int = 1, step: int = 1) -> dict[int, int]:
    """The bytes of a frame, `step` cycles apart; 0xA5 in between would be seen."""
    return {start + step * index: byte for index, byte in enumerate(frame)}
