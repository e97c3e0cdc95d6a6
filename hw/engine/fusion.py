# SPDX-License-Identifier: Apache-2.0
"""The fusion unit: neurons of windows that run one after the other and pass their membranes on (experimental)."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...model.neurons.fusion import LEAK_BITS, TURN, quarter_wave
from ..loop import add_loop
from ..memory import plain_memory

LATENCY = 5  # cycles from a sum to its spike
WINDOWS = 4  # of a layer, at most


class FusionUnit(wiring.Component):
    """Takes the sums of a layer, window after window, and gives spikes; membranes stay inside.

    ``U = leak Omega(a, b) + I;  o = U >= V;  U <- U - V o``,  ``Omega(a, b) = 2 sin(pi a / 4) cos(pi b / 4)``, where
    I = sum >> shift, a is the membrane of the same neuron in the window before (0 in the first), b that of the same
    window in the layer before (0 unless the layer says that both are of the `same` shape).

    A memory keeps the phases of all windows, F + 3 bits each. A window overwrites its own words of the layer before
    when they have been read, so one layer's worth is enough. One table of a quarter wave, with two ports, gives sine
    and cosine. A window is a pass: one timestep takes as many passes as it has windows, one behind another.

    Latency: `LATENCY` cycles from a sum to its spike. Throughput: a neuron a cycle, but a window begins when the last
    membrane of the one before is written: a layer takes 1 + windows (neurons + LATENCY) cycles. Back-pressure: where
    `fired` is not taken, everything stands.

    Golden function: `onespike.model.machine.fusion.fusion`, whose law is `onespike.model.neurons.fusion.fusion`.

    Parameters
    ----------
    fraction : F, bits of a membrane behind the point.
    acc_bits : of a sum, signed.
    depth : membranes of all windows of the largest layer.
    lift : largest shift to the left, which a negative `shift` asks for.
    most_shift : largest shift to the right.

    Members
    -------
    layer : In(stream) neurons of a window less 1, windows less 1, `same`, leak in units of 2**-8, threshold V.
    sums : In(stream) windows * neurons of each layer: sum, and its signed shift to units of 2**-F.
    fired : Out(stream) for each: the spike, and the phase of the membrane that is kept.
    """

    def __init__(self, *, fraction: int, acc_bits: int, depth: int, lift: int = 0, most_shift: int = 15):
        if not 1 <= fraction <= 16:
            raise ValueError(f"fraction must be in 1..16, not {fraction!r}")
        if acc_bits < 2:
            raise ValueError(f"acc_bits must be at least 2, not {acc_bits!r}")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        if lift < 0 or most_shift < 0:
            raise ValueError(f"lift and most_shift must not be negative, not {lift!r} and {most_shift!r}")
        self.fraction = fraction
        self.acc_bits = acc_bits
        self.depth = depth
        self.lift = lift
        self.most_shift = most_shift
        self.phase_bits = fraction + TURN
        layer = data.StructLayout(
            {
                "neurons": range(max(2, depth)),
                "windows": range(WINDOWS),
                "same": 1,
                "leak": range((1 << LEAK_BITS) + 1),
                "threshold": acc_bits - 1,
            }
        )
        sums = data.StructLayout({"sum": signed(acc_bits), "shift": range(-max(1, lift), max(2, most_shift + 1))})
        fired = data.StructLayout({"spike": 1, "membrane": self.phase_bits})
        super().__init__(
            {
                "layer": In(stream.Signature(layer)),
                "sums": In(stream.Signature(sums)),
                "fired": Out(stream.Signature(fired)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        coming, sums, fired = self.layer, self.sums, self.fired
        layer = Signal.like(coming.payload)
        busy = [Signal(name=f"busy{i}") for i in range(LATENCY)]  # a neuron is in this stage
        running, advance, taken, begins = Signal(), Signal(), Signal(), Signal()
        neuron = add_loop(
            m, "neuron", limit=Mux(begins, coming.payload.neurons, layer.neurons), advance=taken, restart=begins
        )
        window = add_loop(
            m, "window", limit=Mux(begins, coming.payload.windows, layer.windows), advance=taken & neuron.last,
            restart=begins,
        )  # fmt: skip
        inside = Cat(busy).any()
        m.d.comb += [
            advance.eq(~fired.valid | fired.ready),
            coming.ready.eq(~running & ~inside),
            begins.eq(coming.valid & coming.ready),
            sums.ready.eq(running & advance & ~(neuron.first & inside)),
            taken.eq(sums.valid & sums.ready),
            fired.valid.eq(busy[-1]),
        ]
        with m.If(begins):
            m.d.sync += [layer.eq(coming.payload), running.eq(1)]
        with m.If(taken & neuron.last & window.last):
            m.d.sync += running.eq(0)
        with m.If(advance):
            m.d.sync += Cat(busy).eq(Cat(taken, busy))

        # What was read one window earlier, and what this window will overwrite.
        place, behind = Signal(range(max(2, self.depth))), Signal(range(max(2, self.depth)))
        with m.If(begins):
            m.d.sync += [place.eq(0), behind.eq(0)]
        with m.If(taken):
            m.d.sync += [place.eq(place + 1), behind.eq(behind + ~window.first)]
        m.submodules.membranes = memory = plain_memory(self.phase_bits, max(2, self.depth))
        own, before, write = memory.read_port(), memory.read_port(), memory.write_port()
        m.d.comb += [own.addr.eq(behind), before.addr.eq(place), own.en.eq(taken), before.en.eq(taken)]

        def later(value: Value, name: str) -> Value:
            """The value one stage further, where the pipeline moves."""
            kept = Signal(Value.cast(value).shape(), name=name, reset_less=True)
            with m.If(advance):
                m.d.sync += kept.eq(value)
            return kept

        # Stage 1: the membranes have come; they ask the table, while the sum is shifted.
        first, address = later(window.first, "first"), later(place, "address1")
        total, shift = later(sums.payload.sum, "total"), later(sums.payload.shift, "shift")
        a, b = Signal(self.phase_bits), Signal(self.phase_bits)
        m.d.comb += [a.eq(Mux(first, 0, own.data)), b.eq(Mux(layer.same, before.data, 0))]
        waves = self._waves(m, a, b, later, advance)
        right = Signal(range(self.lift + self.most_shift + 2))
        m.d.comb += right.eq(shift + self.lift)
        current = later((total << self.lift) >> right, "current2")
        # Stage 2: the product; stage 3: its part that leaks; stage 4: the membrane.
        product = later(waves[0] * waves[1], "product")
        away = self.fraction - 1 + LEAK_BITS
        carried = Signal(signed(self.fraction + TURN), name="carried_now")
        m.d.comb += carried.eq((product * layer.leak + (1 << (away - 1))) >> away)
        carried = later(carried, "carried")
        for stage in (3, 4):
            current = later(current, f"current{stage}")
        for stage in (2, 3, 4, 5):
            address = later(address, f"address{stage}")
        membrane = later(current + carried, "membrane")
        # Stage 5: it fires, and what is left is kept.
        spike, kept = Signal(), Signal(self.phase_bits)
        m.d.comb += [
            spike.eq(membrane >= layer.threshold),
            kept.eq(membrane - Mux(spike, layer.threshold, 0)),
            fired.payload.spike.eq(spike),
            fired.payload.membrane.eq(kept),
            write.addr.eq(address),
            write.data.eq(kept),
            write.en.eq(fired.valid & fired.ready),
        ]
        return m

    def _waves(self, m: Module, own: Value, before: Value, later: Any, advance: Value) -> tuple[Value, Value]:
        """Sine of the one and cosine of the other, signed, one stage later, from the two ports of one table."""
        quarter = 2 << self.fraction
        m.submodules.quarter_wave = table = Memory(
            shape=self.fraction + 1, depth=quarter, init=quarter_wave(self.fraction)[:-1]
        )
        found = []
        for name, phase, ahead in (("sine", own, 0), ("cosine", before, 1)):
            inside, turn = phase[: self.fraction + 1], Signal(2, name=f"{name}_quarter")
            port = table.read_port()
            m.d.comb += [
                turn.eq(phase[self.fraction + 1 :] + ahead),
                # The second and fourth quarter run backwards, from the peak, which the table does not hold.
                port.addr.eq(Mux(turn[0], -inside, inside)),
                port.en.eq(advance),
            ]
            peak, minus = later(turn[0] & ~inside.any(), f"{name}_peak"), later(turn[1], f"{name}_minus")
            size = Signal(self.fraction + 1, name=f"{name}_size")
            m.d.comb += size.eq(Mux(peak, 1 << self.fraction, port.data))
            value = Signal(signed(self.fraction + 2), name=name)
            m.d.comb += value.eq(Mux(minus, -Cat(size, Const(0, 1)).as_signed(), size))
            found.append(value)
        return found[0], found[1]
