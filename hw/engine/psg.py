# SPDX-License-Identifier: Apache-2.0
"""Parallel spike generation, as printed in the OneSpike paper, without its multipliers."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .count import registered


class PsgUnit(wiring.Component):
    """Generates all g spikes of one neuron at once.

    ``s_i = ((i-1) x mod theta) + x >= theta``, i = 1..groups, with ``theta = 2 ** (log2_theta + shift)`` and
    x saturated to [0, theta]. With ``log2_theta = log2(groups)``, theta is ``groups << shift`` and the number of
    spikes is what :class:`~onespike.hw.engine.count.CountUnit` gives for the same accumulator and shift.

    How: s_i is the carry out of a phase accumulator, so it tells whether ``floor(i x / theta)`` differs in parity
    from ``floor((i-1) x / theta)``. x is aligned so that theta is a constant power of two; then only one bit of
    each multiple i x matters, and the multiples cost one adder for every odd i above 1.

    Latency `stages` cycles (0: combinational), one result per cycle, no back-pressure: a pipeline that can
    stall wraps the unit in ``EnableInserter``. The registers are not reset. The first stage follows the
    alignment, the second one the multiples.

    Equals :func:`onespike.model.neurons.psg.psg`.

    Parameters
    ----------
    acc_width : int
        Bits of the signed accumulator, at least 2.
    groups : int
        Spikes generated, g; any number, not only powers of two.
    log2_theta : int
        log2 of the threshold at shift 0, in units of the accumulator.
    max_shift : int
        Largest run-time shift of the threshold; 0 fixes it.
    stages : 0, 1 or 2
        Registers inside the unit.

    Members
    -------
    acc : In(signed(acc_width))
        x.
    shift : In(range(max_shift + 1))
        Never more than max_shift.
    spikes : Out(groups)
        Bit i - 1 is s_i.
    """

    def __init__(self, *, acc_width: int, groups: int, log2_theta: int, max_shift: int = 0, stages: int = 0):
        if acc_width < 2:
            raise ValueError(f"acc_width must be at least 2, not {acc_width!r}")
        if groups < 1:
            raise ValueError(f"groups must be at least 1, not {groups!r}")
        if log2_theta < 0:
            raise ValueError(f"log2_theta must not be negative, not {log2_theta!r}")
        if max_shift < 0:
            raise ValueError(f"max_shift must not be negative, not {max_shift!r}")
        if stages not in (0, 1, 2):
            raise ValueError(f"stages must be 0, 1 or 2, not {stages!r}")
        self.acc_width = acc_width
        self.groups = groups
        self.log2_theta = log2_theta
        self.max_shift = max_shift
        self.stages = stages
        super().__init__(
            {
                "acc": In(signed(acc_width)),
                "shift": In(range(max_shift + 1)),
                "spikes": Out(groups),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the inputs to `spikes`."""
        return self.stages

    def elaborate(self, platform: object) -> Module:
        m = Module()
        point = self.log2_theta + self.max_shift  # after alignment theta is 2 ** point

        x = self._aligned(m, point)
        if self.stages >= 1:
            x = registered(m, {"x": x}, "_registered")["x"]

        # i x modulo 2 theta: the even multiples are shifts, the odd ones add x to their predecessor.
        multiples: list[Value] = [x]
        for i in range(2, self.groups + 1):
            multiple = Signal(point + 1, name=f"x{i}")
            m.d.comb += multiple.eq((multiples[i // 2 - 1] << 1) + (x if i % 2 else 0))
            multiples.append(multiple)

        parity: Value = Cat(multiple[point] for multiple in multiples)
        if self.stages >= 2:
            parity = registered(m, {"parity": parity}, "_registered")["parity"]
        m.d.comb += self.spikes.eq(parity ^ (parity << 1))
        return m

    def _aligned(self, m: Module, point: int) -> Value:
        """x saturated to [0, theta] and multiplied by ``2 ** (max_shift - shift)``."""
        magnitude, negative = self.acc[:-1], self.acc[-1]
        x, over = Signal(point, name="x_unaligned"), Signal(name="over_unaligned")
        left = Signal.like(self.shift)
        m.d.comb += [
            x.eq(magnitude[:point]),
            over.eq(magnitude[point:].any()),
            left.eq(self.max_shift - self.shift),
        ]
        # Coarse to fine; whatever is shifted out is remembered as `over`.
        for j in reversed(range(len(left))):
            kept = max(point - 2**j, 0)
            moved, lost = Signal(point, name=f"x_by_{2**j}"), Signal(name=f"over_by_{2**j}")
            m.d.comb += [
                moved.eq(Mux(left[j], x[:kept] << 2**j, x)),
                lost.eq(over | (left[j] & x[kept:].any())),
            ]
            x, over = moved, lost
        saturated = Signal(point + 1, name="x1")
        m.d.comb += saturated.eq(Mux(negative, 0, Mux(over, 1 << point, x)))
        return saturated
