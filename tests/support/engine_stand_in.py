# SPDX-License-Identifier: Apache-2.0
"""An engine that is played, for what lies around one: images of two beats, three logits each."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from onespike.hw.config import EngineConfig
from onespike.hw.engine.counters import COUNTER_BITS, counter_stride, layer_depth
from onespike.hw.engine.faults import FAULTS
from onespike.hw.engine.logits import logit_layout

CONFIG = EngineConfig(loadable=False)
CLASSES, BEATS, FIRST = 3, 2, 5  # logits are FIRST, FIRST - 1 ..


class PlayedEngine(wiring.Component):
    """Takes images of BEATS beats; gives CLASSES logits for each, one every other cycle.

    echo: the first two are the halves of the last beat. damaged_at: the cycle from which on it says that a weight is
    wrong.
    """

    def __init__(self, echo: bool = False, damaged_at: int | None = None):
        self.echo, self.damaged_at = echo, damaged_at
        faults = {} if damaged_at is None else {"faults": Out(len(FAULTS))}
        super().__init__(
            faults
            | {
                "enable": In(1),
                "image": In(stream.Signature(CONFIG.word_bits)),
                "logits": Out(stream.Signature(logit_layout(CONFIG))),
                "counter": In(range(counter_stride(CONFIG) * layer_depth(CONFIG))),
                "count": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat, left, pause, seen = Signal(4), Signal(4), Signal(), Signal(CONFIG.word_bits)
        value = left + (FIRST - CLASSES)
        half = Mux(left == CLASSES, seen[:16], Mux(left == CLASSES - 1, seen[16:], value))
        m.d.comb += [
            self.image.ready.eq(self.enable & (left == 0)),
            self.logits.valid.eq((left != 0) & ~pause),
            self.logits.payload.value.eq(half if self.echo else value),
            self.logits.payload.best.eq(7),
            self.logits.payload.last.eq(left == 1),
        ]
        if self.damaged_at is not None:
            age = Signal(range(self.damaged_at + 1))
            m.d.sync += age.eq(age + (age != self.damaged_at))
            m.d.comb += self.faults.eq(Mux(age == self.damaged_at, 1 << FAULTS.index("weights"), 0))
        m.d.sync += pause.eq(0)
        with m.If(self.image.valid & self.image.ready):
            m.d.sync += [beat.eq(beat + 1), seen.eq(self.image.payload)]
            with m.If(beat == BEATS - 1):
                m.d.sync += [beat.eq(0), left.eq(CLASSES)]
        with m.If(self.logits.valid & self.logits.ready):
            m.d.sync += [left.eq(left - 1), pause.eq(1)]
        return m


def played(config, reset):
    """A `make_engine`: plays what it is sent."""
    return ResetInserter(reset)(PlayedEngine(echo=True))
