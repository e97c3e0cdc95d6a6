# SPDX-License-Identifier: Apache-2.0
"""An engine that does anything that its streams allow: what is proved around it holds for every engine."""

from typing import Any

from amaranth.asserts import AnySeq
from amaranth.hdl import Assume, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from onespike.hw.config import EngineConfig
from onespike.hw.engine.engine import Engine
from onespike.sim.stream_rules import offers, stands


class FreeEngine(wiring.Component):
    """Ports of Engine, every output free in every cycle; an offer stands, but through a reset."""

    def __init__(self, config: EngineConfig, reset: Signal):
        self.reset = reset
        super().__init__(Engine(config).signature)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for _, member, port in self.signature.flatten(self):
            if member.flow is Out:
                m.d.comb += Value.cast(port).eq(AnySeq(len(Value.cast(port))))
        for offer in offers(self):
            if offer.flow is Out:
                m.d.comb += Assume(stands(m, offer, unless=self.reset))
        return m
