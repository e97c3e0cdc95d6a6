# SPDX-License-Identifier: Apache-2.0
"""Core: an engine behind its registers, the same for every front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import EngineConfig
from ..engine.axi_read import axi_read_signals, connect_axi_read
from ..engine.engine import Engine
from .control import Control, result_layout
from .frame import Frame, frame_layout
from .registers import bus_signature

MakeEngine = Callable[[EngineConfig, Signal], Any]


def plain_engine(config: EngineConfig, reset: Signal) -> Any:
    """An engine in Amaranth that `reset` resets."""
    return ResetInserter(reset)(Engine(config))


class Core(wiring.Component):
    """Engine, frames and registers.

    Latency and throughput: those of the engine; a logit takes one cycle more. Back-pressure: a result waits until it is
    taken. A logit on offer stands even if the engine is stopped.

    Parameters
    ----------
    config : the engine's configuration.
    streams : images and results have streams of their own; else they go through registers.
    network : the built-in network, see Control.
    make_engine : makes an engine with the ports of Engine, which the given signal resets.

    Members
    -------
    bus : In the registers, see Control.
    irq : Out(1) an enabled event has happened.
    image : In(stream) frames (only if `streams`). logits : Out(stream) results (only if `streams`).
    m_axi_... : AXI4 read channels (only if `config.streams_weights`).
    """

    def __init__(
        self, config: EngineConfig, *, streams: bool, network: int = 0, make_engine: MakeEngine = plain_engine
    ):
        self.config, self.streams, self.network, self.make_engine = config, streams, network, make_engine
        members: dict[str, Any] = {"bus": In(bus_signature()), "irq": Out(1)}
        if streams:
            members["image"] = In(stream.Signature(frame_layout(config.word_bits)))
            members["logits"] = Out(stream.Signature(result_layout(config)))
        if config.streams_weights:
            members |= {f"m_axi_{name}": port for name, port in axi_read_signals(config).items()}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = control = Control(config, streams=self.streams, network=self.network)
        m.submodules.frame = frame = Frame(config.word_bits)
        # A register of its own resets the engine, which lies elsewhere than the bus; what is around it waits meanwhile.
        reset = Signal(init=1)
        m.d.sync += reset.eq(control.reset)
        m.submodules.engine = engine = self.make_engine(config, reset)
        connect(m, flipped(self.bus), control.bus)
        m.d.comb += [
            self.irq.eq(control.irq),
            engine.enable.eq(control.run),
            frame.run.eq(control.running),
            frame.clear.eq(control.reset | reset),
            frame.beats.eq(control.beats),
            engine.image.valid.eq(frame.image.valid),
            engine.image.payload.eq(frame.image.payload),
            frame.image.ready.eq(engine.image.ready),
            *(getattr(control, name).eq(getattr(frame, name)) for name in ("inside", "began", "short", "long")),
            engine.counter.eq(control.counter),
            control.count.eq(engine.count),
        ]
        if config.loadable:
            m.d.comb += [
                engine.load.valid.eq(control.load.valid),
                engine.load.payload.eq(control.load.payload),
                control.load.ready.eq(engine.load.ready),
            ]

        if config.notes_faults:
            m.d.comb += control.faults.eq(engine.faults)
        if config.streams_weights:
            m.d.comb += [
                engine.weight_address.eq(control.weight_address),
                control.weight_error.eq(engine.weight_error),
                control.weight_idle.eq(engine.weight_idle),
                *connect_axi_read(config, self, engine),
            ]

        self._results(m, engine.logits, control, control.reset | reset)
        if self.streams:
            connect(m, flipped(self.image), frame.frames)
        else:
            connect(m, control.image, frame.frames)
        return m

    def _results(self, m: Module, logits: Any, control: Control, reset: Value) -> None:
        """One register behind the engine, so that an offer can stand while the engine is reset.

        A stop drops what waits for the registers. A stream has to see every offer and every frame to its end: what was
        on offer stays, then a last beat of 0 closes a frame that was cut, and only then do new results follow.
        """
        out: Any = self.logits if self.streams else control.logits
        result = Signal(result_layout(self.config), reset_less=True)
        waiting, inside, stale = Signal(), Signal(), Signal()
        taken = Signal()
        still_inside = Signal()  # a frame has begun to leave and not ended
        m.d.comb += [
            out.valid.eq(waiting),
            out.payload.eq(result),
            taken.eq(waiting & out.ready),
            still_inside.eq(Mux(taken, ~result.last, inside)),
            logits.ready.eq(~stale & (~waiting | out.ready)),
            control.waiting.eq(waiting & ~stale),
            control.finished.eq(taken & result.last & ~stale),
            control.best.eq(result.best),
        ]
        m.d.sync += inside.eq(still_inside)
        with m.If(logits.ready):
            m.d.sync += [
                waiting.eq(logits.valid),
                result.value.eq(logits.payload.value),
                result.best.eq(logits.payload.best),
                result.last.eq(logits.payload.last),
            ]
        if self.streams:
            with m.If(reset):
                m.d.sync += [waiting.eq(waiting & ~taken), stale.eq(waiting & ~taken | still_inside)]
            with m.Elif(stale & (taken | ~waiting)):
                m.d.sync += [waiting.eq(still_inside), stale.eq(still_inside)]
                m.d.sync += [result.value.eq(0), result.last.eq(1)]
        else:
            with m.If(reset):
                m.d.sync += [waiting.eq(0), inside.eq(0)]
