# SPDX-License-Identifier: Apache-2.0
"""ProductGroup: in place of a LaneGroup where lanes multiply their weight by a value."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from ..config import EngineConfig
from .lanes import far_latency, group_members, lane_latency, near_latency, product_stages, shadow_sets, show


class ProductGroup(wiring.Component):
    """The lanes f, f + F, f + 2F ... that one fire lane drains, with a small multiplier each.

    acc[l] <- acc[l] +- (multiple * weights[l] << shift)        when `add`; of `digit` when `own`, too

    In LUTs a product is made of two bits of the value at a time, each of which is one carry chain, and their sum; in
    DSP blocks, it is one. Shifts are by `max_shift` % 4 at most, and then by a multiple of 4: only values wider than a
    multiplier, and sources that are worth more than others, need some.

    Latency, throughput and what `Lanes` says of jobs are a LaneGroup's; `lane_latency` has the multiplier's stages.

    Golden function: `onespike.model.machine.lanes.lanes`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    multiple, add, end, shift, negative, clear, step, turn, own, digit, weights, drain : see LaneGroup.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(group_members(config))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        made, near, stages = product_stages(config), near_latency(config), lane_latency(config)
        shadows = shadow_sets(config)
        add, end = Signal(stages, reset_less=True), Signal(stages + 1, reset_less=True)
        negative = Signal(stages, reset_less=True)
        value = Signal.like(self.multiple, reset_less=True)
        clear = Signal(reset_less=True)
        step = Signal.like(self.step, reset_less=True)
        multiple: Value = self.multiple
        minus: Value = self.negative
        shift: Value = self.shift
        if config.depthwise:
            multiple = Mux(self.own, self.digit, multiple)
            minus, shift = minus & ~self.own, Mux(self.own, 0, shift)
        m.d.sync += [add.eq(Cat(self.add, add)), end.eq(Cat(self.end, end)), negative.eq(Cat(minus, negative))]
        m.d.sync += [value.eq(multiple), clear.eq(self.clear), step.eq(self.step)]
        for i in range(made + near):  # the shift is needed when the product is there
            later = Signal(range(config.max_shift + 1), name=f"shift{i}", reset_less=True)
            m.d.sync += later.eq(shift)
            shift = later
            if i == made:
                power = later
        if not near:
            power = shift
        far = Signal(range(config.max_shift // 4 + 1), reset_less=True)
        m.d.sync += far.eq(shift >> 2)

        if config.dsp:  # it multiplies numbers with a sign
            number = Signal(signed(config.product_bits + 1))
            m.d.comb += number.eq(Mux(negative[0], -value, value))
            held = Signal.like(number, reset_less=True)
            m.d.sync += held.eq(number)
        for i, weight in enumerate(self.weights):
            factor = Value.cast(weight).as_signed()
            if config.dsp:
                product, sign = self._in_dsp(m, i, factor, held), Const(0, stages)
            else:
                product, sign = self._in_luts(m, i, factor, value, negative[made - 1]), negative
            self._accumulate(m, i, product, sign, power, far, add, end, clear, shadows)
        show(m, self, shadows, step)
        return m

    def _in_dsp(self, m: Module, lane: int, weight: Value, value: Value) -> Value:
        """weight * value, two cycles after the weight, one after the value."""
        held = Signal(signed(len(weight)), name=f"weight{lane}", reset_less=True)
        product = Signal(signed(len(weight) + self.config.product_bits), name=f"product{lane}", reset_less=True)
        m.d.sync += [held.eq(weight), product.eq(held * value)]
        return product

    def _in_luts(self, m: Module, lane: int, weight: Value, value: Value, negative: Value) -> Value:
        """weight * value, `product_stages` cycles later; its complement, if `negative` then."""
        parts: list[Value] = []
        for at in range(0, len(value), 2):
            part = Signal(signed(len(weight) + 2), name=f"part{lane}_{at}", reset_less=True)
            low, high = (weight & bit.replicate(len(weight)).as_signed() for bit in value[at : at + 2])
            m.d.sync += part.eq(low.as_signed() + (high.as_signed() << 1))
            parts.append(part)
        apart = 2  # bits that neighbours are apart
        while len(parts) > 1:
            last, sums = len(parts) == 2, list[Value]()
            for low, high in zip(parts[::2], parts[1::2], strict=True):
                width = len(weight) + 2 * apart
                total = Signal(signed(width), name=f"sum{lane}_{width}_{len(sums)}", reset_less=True)
                high = (high << apart).as_signed()
                if last:  # ~(x + y) = ~x + ~y + 1
                    turned = (Mux(negative, ~low, low).as_signed(), Mux(negative, ~high, high).as_signed())
                    ones = [Cat(negative, operand).as_signed() for operand in turned]
                    m.d.sync += total.eq((ones[0] + ones[1]) >> 1)
                else:
                    m.d.sync += total.eq(low + high)
                sums.append(total)
            parts, apart = sums, 2 * apart
        return parts[0]

    def _accumulate(
        self, m: Module, lane: int, product: Value, negative: Value, power: Value, far: Value, add: Value, end: Value,
        clear: Value, shadows: list[list[Signal]],
    ) -> None:  # fmt: skip
        """Shift a product, add it or subtract its complement, and keep the sum at the end of a job."""
        config = self.config
        made, near = product_stages(config), config.max_shift % 4
        moved = product
        if near:
            moved = Signal(signed(min(config.acc_bits, len(product) + near)), name=f"moved{lane}", reset_less=True)
            fill = negative[made].replicate(near)
            m.d.sync += moved.eq(Array(Cat(fill[:j], product).as_signed() for j in range(near + 1))[power[:2]])
        fill = negative[made + (near > 0)].replicate(4 * (config.max_shift // 4))
        steps = [Cat(fill[: 4 * j], moved).as_signed() for j in range(config.max_shift // 4 + 1)]
        wide = min(config.acc_bits, len(moved) + 4 * (config.max_shift // 4))
        shifted = Signal(signed(wide), name=f"shifted{lane}", reset_less=True)
        domain = m.d.sync if far_latency(config) else m.d.comb
        domain += shifted.eq(Array(steps)[far])
        operand = Signal(config.acc_bits, name=f"operand{lane}")
        m.d.comb += operand.eq(shifted)
        acc = Signal(config.acc_bits, name=f"acc{lane}", reset_less=True)
        with m.If(add[-1]):
            m.d.sync += acc.eq((Cat(Const(1, 1), acc) + Cat(negative[-1], operand))[1:])
        with m.If(clear):
            m.d.sync += acc.eq(0)
        with m.If(end[-1]):
            m.d.sync += shadows[0][lane].eq(acc)
