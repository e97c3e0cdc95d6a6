# SPDX-License-Identifier: Apache-2.0
"""Lanes: L accumulators that only ever add a shifted weight, and the shadow set that drains."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import EngineConfig


class Lanes(wiring.Component):
    """Adds (or subtracts) one weight row, shifted, to L accumulators per cycle.

    acc[l] <- acc[l] +- (weights[l] << shift)        when `add`
    shadow[l] <- acc[l]                              one cycle after `end`

    Jobs never clear the accumulators: they run on, modulo 2**acc_bits, and the drain subtracts the previous shadow. The
    difference is exact because every job's sum fits acc_bits. So a job costs no cycle but its events, and a lane needs
    no bias input. `clear` is for resets.

    Latency: `weights` to accumulator three cycles, `end` to shadow four. Throughput: one row a cycle. No back-pressure.

    Golden function: `onespike.model.lanes.lanes`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    add : In(1) the row counts.
    end : In(1) the job ends with this row.
    weights : In(L x weight_bits) one weight row.
    shift : In power of two of the spike.
    negative : In(1) subtract.
    clear : In(1) the accumulators are 0 after this cycle.
    captures : Out(1) the shadow is written at the end of this cycle.
    step : In which F lanes of the shadow to show.
    drain : Out(F x acc_bits) those lanes, one cycle later.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "add": In(1),
                "end": In(1),
                "weights": In(data.ArrayLayout(signed(config.weight_bits), config.lanes)),
                "shift": In(range(config.max_shift + 1)),
                "negative": In(1),
                "clear": In(1),
                "captures": Out(1),
                "step": In(range(max(2, config.drain_steps))),
                "drain": Out(data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        near = min(config.max_shift, 3)  # a shift is done in two steps: by 0 to 3, then by a multiple of 4
        shift_bits = min(2, len(self.shift))
        narrow = min(config.acc_bits, config.weight_bits + near)
        wide = min(config.acc_bits, config.weight_bits + config.max_shift)
        moved = [Signal(signed(narrow), name=f"moved{i}", reset_less=True) for i in range(config.lanes)]
        shifted = [Signal(signed(wide), name=f"shifted{i}", reset_less=True) for i in range(config.lanes)]
        acc = [Signal(config.acc_bits, name=f"acc{i}", reset_less=True) for i in range(config.lanes)]
        shadow = [Signal(config.acc_bits, name=f"shadow{i}", reset_less=True) for i in range(config.lanes)]
        add, end = Signal(2), Signal(2)
        negative = Signal(2, reset_less=True)
        far = Signal(range(config.max_shift // 4 + 1), reset_less=True)
        m.d.sync += [add.eq(Cat(self.add, add)), end.eq(Cat(self.end, end)), self.captures.eq(end[1])]
        m.d.sync += [negative.eq(Cat(self.negative, negative)), far.eq(self.shift >> 2)]
        for i in range(config.lanes):
            # a - b = a + ~b + 1: the inversion hides in the shifter, the one enters the carry chain from below.
            weight = Value.cast(self.weights[i]).as_signed()
            spread = weight << self.shift[:shift_bits]
            m.d.sync += moved[i].eq(Mux(self.negative, ~spread, spread))
            fill = negative[0].replicate(4 * (config.max_shift // 4))
            steps = [Cat(fill[: 4 * j], moved[i]).as_signed() for j in range(config.max_shift // 4 + 1)]
            m.d.sync += shifted[i].eq(Array(steps)[far])
            operand = Signal(config.acc_bits, name=f"operand{i}")
            m.d.comb += operand.eq(shifted[i])
            with m.If(add[1]):
                m.d.sync += acc[i].eq((Cat(Const(1, 1), acc[i]) + Cat(negative[1], operand))[1:])
            with m.If(self.clear):
                m.d.sync += acc[i].eq(0)
            with m.If(self.captures):
                m.d.sync += shadow[i].eq(acc[i])
        for f in range(config.fire_lanes):
            choices = Array(shadow[f :: config.fire_lanes])
            m.d.sync += self.drain[f].eq(choices[self.step])
        return m
