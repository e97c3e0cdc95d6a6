# SPDX-License-Identifier: Apache-2.0
"""Verilog of a front, around an instance of the engine's own module."""

from __future__ import annotations

import functools
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring

from ..config import EngineConfig
from ..engine.engine import TOP, Engine
from ..fronts.front import Front
from .verilog import convert


class _EngineInstance(Engine):
    """The engine as an instance of its own Verilog module, with a reset of its own."""

    def __init__(self, config: EngineConfig, reset: Signal):
        super().__init__(config)
        self.reset = reset

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # One register alone resets the engine, or half the clock's period would go by before its wires begin. Where the
        # engine speaks to a bus of its own, it must be silent in the cycle of the reset, too.
        reset = Signal()
        m.d.comb += reset.eq(self.reset | ResetSignal() if self.config.streams_weights else self.reset)
        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": reset}
        for path, member, value in self.signature.flatten(self):
            direction = "o_" if member.flow is wiring.Out else "i_"
            ports[direction + "__".join(map(str, path))] = Value.cast(value)
        m.submodules.engine = Instance(TOP, **ports)
        return m


@functools.lru_cache(maxsize=8)
def front_verilog(config: EngineConfig, front: Front) -> str:
    """Verilog of the front, around an instance of the engine's module `onespike` (`verilog.to_verilog`)."""
    text = "// SPDX-License-Identifier: Apache-2.0\n"
    text += f"// OneSpike {front.kind} front around the engine in {TOP}.v. Generated; change the generator instead.\n"
    if front.kind == "uart":
        cycles = "bit_time" if front.divisor is None else front.divisor
        text += f"// {cycles} clock cycles per bit; silence after 2**{front.silence} cycles.\n"
    return text + convert(front.component(config, make_engine=_EngineInstance), front.top)
