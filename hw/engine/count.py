# SPDX-License-Identifier: Apache-2.0
"""The count unit: shift, then saturate."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class CountUnit(wiring.Component):
    """Turns one accumulator into the number of spikes that fire.

    ``count = clip(acc >> shift, -low, groups)``, the shift arithmetic (floor), all operands given at run time; low is
    0 unless the unit is `signed`.

    Latency `stages` cycles for all outputs together (0: combinational), one result per cycle, no
    back-pressure: a pipeline that can stall wraps the unit in ``EnableInserter``. The registers are not
    reset. With one stage the register lies between shifting and saturating, the second one halves the shifter.

    Equals :func:`onespike.model.neurons.count.count`.

    Parameters
    ----------
    acc_width : int
        Bits of the signed accumulator, at least 2.
    max_shift : int
        Largest shift in use.
    count_width : int
        Bits of a count.
    stages : 0, 1 or 2
        Registers inside the unit.
    signed_count : bool
        Whether counts may be negative.

    Members
    -------
    acc : In(signed(acc_width))
    shift : In(range(max_shift + 1))
        log2 of the accumulator units per spike, k.
    groups : In(count_width)
        The largest count, g.
    low : In(count_width)
        The lowest count is -low (only if `signed_count`).
    count : Out(count_width), or Out(signed(count_width + 1))
    """

    def __init__(
        self, *, acc_width: int, max_shift: int, count_width: int, stages: int = 0, signed_count: bool = False
    ):
        if acc_width < 2:
            raise ValueError(f"acc_width must be at least 2, not {acc_width!r}")
        if max_shift < 0:
            raise ValueError(f"max_shift must not be negative, not {max_shift!r}")
        if count_width < 1:
            raise ValueError(f"count_width must be at least 1, not {count_width!r}")
        if stages not in (0, 1, 2):
            raise ValueError(f"stages must be 0, 1 or 2, not {stages!r}")
        self.acc_width = acc_width
        self.max_shift = max_shift
        self.count_width = count_width
        self.stages = stages
        self.signed_count = signed_count
        super().__init__(
            {
                "acc": In(signed(acc_width)),
                "shift": In(range(max_shift + 1)),
                "groups": In(count_width),
                **({"low": In(count_width)} if signed_count else {}),
                "count": Out(signed(count_width + 1) if signed_count else count_width),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the inputs to `count`."""
        return self.stages

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.shift)

        # A count never needs more than count_width + (shift still to do) bits: what lies above is
        # only remembered as `over`. Both the value and its flag are worth nothing if acc is negative, unless counts
        # may be: of a negative acc, they then describe its complement, whose shift rounds up as the count rounds down.
        magnitude, negative = self.acc[:-1], self.acc[-1]
        if self.signed_count:
            magnitude = magnitude ^ negative.replicate(len(magnitude))
        width = self.count_width + 2**bits - 1
        window = Signal(width)
        over = Signal()
        m.d.comb += [window.eq(magnitude[:width]), over.eq(magnitude[width:].any())]
        state = {"window": window, "over": over, "negative": negative, "shift": self.shift, "groups": self.groups}
        if self.signed_count:
            state |= {"low": self.low, "floor": -self.low}

        # Coarse to fine: a step by 2^j either drops the low bits or folds the high ones into the flag.
        cuts = (bits, bits // 2)[: self.stages]
        for done in range(bits + 1):
            for _ in range(cuts.count(done)):
                state = registered(m, state, f"_{done}")
            if done < bits:
                step = 2 ** (bits - 1 - done)
                select, window, width = state["shift"][-1], state["window"], width - step
                shifted, over = Signal(width, name=f"window_by_{step}"), Signal(name=f"over_by_{step}")
                m.d.comb += [
                    shifted.eq(Mux(select, window[step:], window[:width])),
                    over.eq(state["over"] | (~select & window[width:].any())),
                ]
                state |= {"window": shifted, "over": over, "shift": state["shift"][:-1]}

        groups = state["groups"]
        if self.signed_count:
            # The complement w of a count c is -c - 1, so that c < -low means w >= low.
            negative = state["negative"]
            saturates = state["over"] | (state["window"] >= Mux(negative, state["low"], groups))
            value = Cat(state["window"][: self.count_width], Const(0, 1)) ^ negative.replicate(self.count_width + 1)
            end = Mux(negative, state["floor"], Cat(groups, Const(0, 1)))
            m.d.comb += Value.cast(self.count).eq(Mux(saturates, end, value))
            return m
        saturated = Mux(state["over"] | (state["window"] > groups), groups, state["window"])
        m.d.comb += self.count.eq(Mux(state["negative"], 0, saturated))
        return m


def registered(m: Module, values: Mapping[str, Value], suffix: str) -> dict[str, Value]:
    """One pipeline register for each value, without reset: a pure pipeline forgets by itself."""
    stage: dict[str, Value] = {}
    for name, value in values.items():
        stage[name] = Signal(len(value), name=name + suffix, reset_less=True)
        m.d.sync += stage[name].eq(value)
    return stage
