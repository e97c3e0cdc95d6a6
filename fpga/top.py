# SPDX-License-Identifier: Apache-2.0
"""Top: what lies between a board's pins and the UART front: its clock and its reset."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..hw.emit.verilog import convert
from ..hw.fronts.bit_time import BitTime
from .boards import Board
from .clocks import Clock

NAME = "top"
SETTLE_BITS = 11  # log2 of the cycles of reset: iCE40's block RAMs cannot be read in the first microseconds


class Top(wiring.Component):
    """A front behind a PLL, held in reset for 2**SETTLE_BITS cycles after configuration and while the PLL has no lock.

    Parameters
    ----------
    front : name of the UART front's Verilog module.
    clock : how the oscillator becomes the design's clock.
    window : cycles of the oscillator that time the front's bits, see BitTime; None: the front knows them.
    high : how many outputs stay high.

    Members
    -------
    clk : In(1) the oscillator. rx : In(1), tx : Out(1) the serial line. high0 .. : Out(1) constant one.
    """

    def __init__(self, front: str, clock: Clock, *, window: int | None = None, high: int = 0):
        self.front, self.clock, self.window, self.constant = front, clock, window, high
        members: dict[str, Any] = {"clk": In(1), "rx": In(1), "tx": Out(1)}
        super().__init__(members | {f"high{i}": Out(1) for i in range(high)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.domains.settle = settle = ClockDomain(reset_less=True)
        m.d.comb += settle.clk.eq(sync.clk)
        locked = Signal()
        self._clock(m, sync.clk, locked)

        steady = Signal()
        m.submodules.steady = FFSynchronizer(locked, steady, o_domain="settle")
        cycles = Signal(SETTLE_BITS + 1)
        held, reset = Signal(init=1), Signal(init=1)  # the second stands where a clock network begins
        with m.If(~steady):
            m.d.settle += cycles.eq(0)
        with m.Elif(~cycles[-1]):
            m.d.settle += cycles.eq(cycles + 1)
        m.d.settle += [held.eq(~(steady & cycles[-1])), reset.eq(held)]
        m.d.comb += sync.rst.eq(reset)

        ports: dict[str, Any] = {
            "i_clk": sync.clk, "i_rst": sync.rst, "i_rx": self.rx, "o_tx": self.tx, "o_irq": Signal(name="irq"),
        }  # fmt: skip
        if self.window is not None:
            m.domains.reference = reference = ClockDomain(reset_less=True)
            m.submodules.bit_time = bit_time = BitTime(self.window)
            m.d.comb += reference.clk.eq(self.clk)
            ports |= {"i_bit_time": bit_time.cycles}
        m.submodules.front = Instance(self.front, **ports)
        m.d.comb += [getattr(self, f"high{i}").eq(1) for i in range(self.constant)]
        return m

    def _clock(self, m: Module, output: Signal, locked: Signal) -> None:
        clock = self.clock
        if not clock.primitive:
            m.d.comb += [output.eq(self.clk), locked.eq(1)]
            return
        arguments: dict[str, Any] = {f"a_{name}": value for name, value in clock.attributes.items()}
        arguments |= {f"p_{name}": value for name, value in clock.parameters.items()}
        arguments |= {f"i_{name}": Const(value, clock.widths.get(name, 1)) for name, value in clock.fixed.items()}
        arguments |= {f"i_{clock.source}": self.clk, f"o_{clock.output}": output, "o_LOCK": locked}
        if clock.feedback:
            arguments[f"i_{clock.feedback}"] = output
        m.submodules.pll = Instance(clock.primitive, **arguments)


def top_verilog(front: str, clock: Clock, board: Board, *, window: int | None = None) -> str:
    """Verilog of `Top`, module `top`, for a board."""
    top = Top(front, clock, window=window, high=len(board.high))
    return "// SPDX-License-Identifier: Apache-2.0\n" + convert(top, NAME)
