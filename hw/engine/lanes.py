# SPDX-License-Identifier: Apache-2.0
"""Lanes: L accumulators that only ever add a multiple of a weight, and the shadow set that drains."""

from __future__ import annotations

import itertools
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...model.network.codes import CHUNK, Term, factors, most_terms, terms
from ..config import EngineConfig


def controls(config: EngineConfig) -> dict[str, Any]:
    """What every lane is told."""
    multiple = {"multiple": In(range(len(factors(config.worths))))} if len(config.worths) > 1 else {}
    number = {} if config.multiplies else {"number": In(range(most_terms(config.multiples)))}
    return {
        **multiple,
        "add": In(1),
        "end": In(1),
        "shift": In(range(config.max_shift + 1)),
        "negative": In(1),
        "clear": In(1),
        "step": In(range(max(2, config.drain_steps))),
        "turn": In(1),
        **({"moves": In(config.shadows - 1)} if config.shadows > 1 else {}),
        **({"own": In(1), **number} if config.depthwise else {}),
    }


def product_latency(config: EngineConfig) -> int:
    """Cycles that making an odd multiple takes, or what a multiplier takes more than a shift."""
    if config.multiplies:
        return product_stages(config) + near_latency(config) - 1
    return int(len(config.multiples) > 1)


def product_stages(config: EngineConfig) -> int:
    """Registers in a multiplier, its last one included: two, and one more for eight bits in LUTs."""
    return 3 if config.product_bits > CHUNK and not config.dsp else 2


def near_latency(config: EngineConfig) -> int:
    """Cycles that shifts of a product by less than 4 take."""
    return int(config.max_shift % CHUNK > 0)


def far_latency(config: EngineConfig) -> int:
    """Cycles that shifts by multiples of 4 take, where there are more than two of them."""
    return int(config.max_shift > 7)


def lane_latency(config: EngineConfig) -> int:
    """Cycles from a weight to the accumulator."""
    return 2 + product_latency(config) + far_latency(config)


class Lanes(wiring.Component):
    """Adds (or subtracts) an odd multiple of one weight row, shifted, to L accumulators per cycle.

    acc[l] <- acc[l] +- (multiple * weights[l] << shift)        when `add`
    acc[l] <- acc[l] + term * weights[l]             when `add` and `own`: term `number` of digit l modulo word_bits / 4
    shadow[l] <- acc[l]                              one cycle after `end`
    shadow of set k + 1 <- shadow of set k           one cycle after moves[k], where there are several

    Jobs never clear the accumulators: they run on, modulo 2**acc_bits, and the drain subtracts the previous shadow. The
    difference is exact because every job's sum fits acc_bits. So a job costs no cycle but its events, and a lane needs
    no bias input. `clear` is for resets.

    Latency: `weights` to accumulator `lane_latency`; what says how to add them comes one cycle before the weights.
    `end` to shadow two cycles more; `step` to `drain` two. Throughput: one row a cycle. No back-pressure.

    Golden function: `onespike.model.machine.lanes.lanes`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    add : In(1) the row counts.
    end : In(1) the job ends with this row.
    weights : In(L x weight_bits) one weight row.
    multiple : In number of the multiple in `onespike.model.network.codes.factors` (only if there are several).
    shift : In power of two of the event.
    negative : In(1) subtract.
    own, digits, number : In each lane adds the term of its own digit, if that has so many; `multiple`, `shift` and
        `negative` do not matter then (only if `config.depthwise`; no `number` where lanes multiply).
    clear : In(1) the accumulators are 0 two cycles later.
    captures : Out(1) the first shadow set is written at the end of this cycle.
    moves : In(shadows - 1) sets that go on, see Shadows (only if there are several); the last one is shown.
    step : In which F lanes of the shadow to show.
    turn : In(1) show them at all; if not, `drain` is 0 in the next cycle.
    drain : Out(F x acc_bits) those lanes, two cycles later.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                **controls(config),
                "weights": In(data.ArrayLayout(signed(config.weight_bits), config.lanes)),
                **({"digits": In(config.word_bits)} if config.depthwise else {}),
                "captures": Out(1),
                "drain": Out(data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        end = Signal(lane_latency(config))
        m.d.sync += [end.eq(Cat(self.end, end)), self.captures.eq(end[-1])]
        for f in range(config.fire_lanes):
            group = lane_group(config)
            m.submodules[f"group{f}"] = group
            m.d.comb += [getattr(group, name).eq(getattr(self, name)) for name in controls(config)]
            for own, lane in enumerate(range(f, config.lanes, config.fire_lanes)):
                m.d.comb += group.weights[own].eq(self.weights[lane])
            m.d.comb += self.drain[f].eq(group.drain)
            if config.depthwise:  # lanes f, f + F ... have the same digit: F is a multiple of their number
                m.d.comb += group.digit.eq(self.digits.word_select(f % config.word_chunks, CHUNK))
        return m


def lane_group(config: EngineConfig) -> wiring.Component:
    """The lanes that a fire lane drains: those that add multiples, or those that multiply."""
    if config.multiplies:
        from .products import ProductGroup  # which is made of this file's parts

        return ProductGroup(config)
    return LaneGroup(config)


def group_members(config: EngineConfig) -> dict[str, Any]:
    """The ports of a group of lanes."""
    return {
        **controls(config),
        **({"digit": In(CHUNK)} if config.depthwise else {}),
        "weights": In(data.ArrayLayout(signed(config.weight_bits), config.drain_steps)),
        "drain": Out(config.acc_bits),
    }


def shadow_sets(config: EngineConfig) -> list[list[Signal]]:
    """The registers of a group's shadow sets, behind one another."""
    lanes = range(config.drain_steps)
    shadows = [[Signal(config.acc_bits, name=f"shadow{i}", reset_less=True) for i in lanes]]
    for k in range(1, config.shadows):
        shadows.append([Signal(config.acc_bits, name=f"shadow{i}_{k}", reset_less=True) for i in lanes])
    return shadows


def show(m: Module, group: Any, shadows: list[list[Signal]], step: Value) -> None:
    """Move a group's shadow sets on, and show lane number `step` of the last."""
    config = group.config
    if config.shadows > 1:
        moves = Signal.like(group.moves)
        m.d.sync += moves.eq(group.moves)
        for k, (before, behind) in enumerate(itertools.pairwise(shadows)):
            with m.If(moves[k]):
                m.d.sync += [new.eq(old) for old, new in zip(before, behind, strict=True)]
    shown = Signal(config.acc_bits, reset_less=True)
    m.d.sync += shown.eq(Array(shadows[-1])[step])
    with m.If(~group.turn):  # so that the drain need not choose
        m.d.sync += shown.eq(0)
    m.d.comb += group.drain.eq(shown)


class LaneGroup(wiring.Component):
    """The lanes f, f + F, f + 2F ... that one fire lane drains: what Lanes does, for L / F lanes.

    Each group has registers of its own for what all lanes are told: one register would be slow to reach them all.
    Synthesis for large parts keeps the groups apart (`onespike.model.targets`), or it would make those registers one.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    multiple, add, end, shift, negative, clear, step, turn, own, number : In see Lanes.
    digit : In(4) the lanes' own digit (only if `config.depthwise`).
    weights : In(L / F x weight_bits) their part of the row.
    drain : Out(acc_bits) lane number `step` of the shadow.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(group_members(config))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        lanes = range(config.drain_steps)
        near = min(config.max_shift, 3)  # a shift is done in two steps: by 0 to 3, then by a multiple of 4
        product_bits = config.weight_bits + (config.multiples[-1] - 1).bit_length()
        narrow = min(config.acc_bits, product_bits + near)
        wide = min(config.acc_bits, product_bits + config.max_shift)
        moved = [Signal(signed(narrow), name=f"moved{i}", reset_less=True) for i in lanes]
        acc = [Signal(config.acc_bits, name=f"acc{i}", reset_less=True) for i in lanes]
        shadows = shadow_sets(config)
        later, stages = product_latency(config), lane_latency(config)
        add, end = Signal(stages, reset_less=True), Signal(stages + 1, reset_less=True)
        negative = Signal(stages, reset_less=True)
        shift = Signal.like(self.shift, reset_less=True)
        far = Signal(range(config.max_shift // 4 + 1), reset_less=True)
        clear = Signal(reset_less=True)
        step = Signal.like(self.step, reset_less=True)
        told: Any = self._told(m) if config.depthwise else self
        m.d.sync += [add.eq(Cat(told.add, add)), end.eq(Cat(self.end, end)), negative.eq(Cat(told.negative, negative))]
        m.d.sync += [far.eq(shift >> 2), clear.eq(self.clear), step.eq(self.step)]
        products = [Value.cast(weight).as_signed() for weight in self.weights]
        minus = negative[later]
        invert: Value = minus
        if later:
            shift_ahead = Signal.like(self.shift, reset_less=True)
            multiple = Signal.like(self.multiple, reset_less=True)
            m.d.sync += [shift_ahead.eq(told.shift), shift.eq(shift_ahead), multiple.eq(told.multiple)]
            products = [self._product(m, i, multiple, product_bits) for i in lanes]
            invert = Signal(reset_less=True)
            m.d.sync += invert.eq(negative[0] ^ (multiple == config.multiples.index(3)))
        else:
            m.d.sync += shift.eq(told.shift)
        power = Cat(shift, Const(0, 2))
        for i in lanes:
            # a - b = a + ~b + 1: the inversion hides in the shifter, the one enters the carry chain from below.
            turned = Mux(invert, ~products[i], products[i])
            # Kept as it is, a LUT for every bit: synthesis would take the two steps for one, and more LUTs.
            by_one = Signal(signed(min(config.acc_bits, product_bits + 1)), name=f"by_one{i}", attrs={"keep": 1})
            m.d.comb += by_one.eq(Mux(power[0], Cat(minus, turned).as_signed(), turned))
            m.d.sync += moved[i].eq(Mux(power[1], Cat(minus, minus, by_one).as_signed(), by_one))
            # The last step is a part of the adder, whose cells have inputs for it, if there are not more than two.
            fill = negative[later + 1].replicate(4 * (config.max_shift // 4))
            steps = [Cat(fill[: 4 * j], moved[i]).as_signed() for j in range(config.max_shift // 4 + 1)]
            shifted = Signal(signed(wide), name=f"shifted{i}", reset_less=True)
            domain = m.d.sync if far_latency(config) else m.d.comb
            domain += shifted.eq(Array(steps)[far])
            operand = Signal(config.acc_bits, name=f"operand{i}")
            m.d.comb += operand.eq(shifted)
            with m.If(add[-1]):
                m.d.sync += acc[i].eq((Cat(Const(1, 1), acc[i]) + Cat(negative[-1], operand))[1:])
            with m.If(clear):
                m.d.sync += acc[i].eq(0)
            with m.If(end[-1]):
                m.d.sync += shadows[0][i].eq(acc[i])
        show(m, self, shadows, step)
        return m

    def _told(self, m: Module) -> Any:
        """What to add: what all lanes are told, or term `number` of the group's own digit."""
        config = self.config
        names = ("add", "shift", "negative", *(["multiple"] if product_latency(config) else []))
        told = Signal(data.StructLayout({name: getattr(self, name).shape() for name in names}))
        own = Signal.like(told)
        rows = []
        for number, digit in itertools.product(range(most_terms(config.multiples)), range(1 << CHUNK)):
            found = terms(digit, config.multiples)
            term = found[number] if number < len(found) else Term(1, 0, False)
            row = {"add": number < len(found), "shift": term.shift, "negative": term.negative}
            if product_latency(config):
                row["multiple"] = factors(config.multiples).index(term.multiple)
            rows.append(told.shape().const(row).as_value())
        m.d.comb += Value.cast(own).eq(Array(rows)[Cat(self.digit, self.number)])
        m.d.comb += [told[name].eq(Mux(self.own, own[name], getattr(self, name))) for name in names if name != "add"]
        m.d.comb += told.add.eq(self.add & (own.add | ~self.own))
        return told

    def _product(self, m: Module, lane: int, multiple: Value, bits: int) -> Value:
        """The multiple of a lane's weight, one cycle later; of 3, its complement.

        5, 3 and 2 are 1 + 4, 4 - 1 and 1 + 1. x - y = ~(~x + y): so a bit of the sum depends on two of the weight, and
        on the multiple's number, which one cell of a carry chain can take in.
        """
        weight = Value.cast(self.weights[lane]).as_signed()
        product = Signal(signed(bits), name=f"product{lane}", reset_less=True)
        # Only signed digits of 8 bits double a weight: an engine that cannot shift that far does without.
        made = factors(self.config.multiples) if self.config.max_shift > 3 else self.config.multiples
        more = {1: Const(0, 1), 2: weight, 3: ~(weight << 2), 5: weight << 2}
        m.d.sync += product.eq(weight + Array(more[factor] for factor in made)[multiple])
        return product
