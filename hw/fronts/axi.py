# SPDX-License-Identifier: Apache-2.0
"""Axi: a core with AXI4-Stream images and logits and an AXI4-Lite register port, named as vendors' tools expect."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockDomain, Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect

from ..config import EngineConfig
from ..engine.axi_read import axi_read_signals, connect_axi_read
from .axi_lite import AxiLite, axi_lite_ports
from .control import logit_words
from .core import Core, MakeEngine, plain_engine


class Axi(wiring.Component):
    """Core on a system on chip's buses.

    s_axis: one image a frame, beats as the engine takes them (TLAST on the image's last). m_axis: one result a frame,
    one logit a beat, sign-extended; TUSER is the class so far, on the last beat the image's, or on a place's last beat
    that place's. A frame of a wrong length is made whole and noted in `events`; its result is worth nothing.

    Parameters
    ----------
    config : the engine's configuration. network, make_engine : see Core.

    Members
    -------
    aclk, aresetn : In(1) clock, and reset (active low, synchronous).
    s_axis_*, m_axis_* : AXI4-Streams. s_axi_* : AXI4-Lite. irq : Out(1) level, active high.
    m_axi_* : AXI4, read only, to the memory with the weights (only if `config.streams_weights`).
    """

    def __init__(self, config: EngineConfig, *, network: int = 0, make_engine: MakeEngine = plain_engine):
        self.config, self.network, self.make_engine = config, network, make_engine
        members: dict[str, Any] = {
            "aclk": In(1),
            "aresetn": In(1),
            "s_axis_tdata": In(config.word_bits),
            "s_axis_tlast": In(1),
            "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1),
            "m_axis_tdata": Out(32 * logit_words(config)),
            "m_axis_tuser": Out(16),
            "m_axis_tlast": Out(1),
            "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1),
            "irq": Out(1),
        }
        buses = "s_axi:s_axis:m_axis"
        if config.streams_weights:
            members |= {f"m_axi_{name}": port for name, port in axi_read_signals(config).items()}
            buses += ":m_axi"
        super().__init__(members | axi_lite_ports())
        self.aclk.attrs.update(
            X_INTERFACE_INFO="xilinx.com:signal:clock:1.0 aclk CLK",
            X_INTERFACE_PARAMETER=f"ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET aresetn",
        )
        self.aresetn.attrs.update(
            X_INTERFACE_INFO="xilinx.com:signal:reset:1.0 aresetn RST", X_INTERFACE_PARAMETER="POLARITY ACTIVE_LOW"
        )
        self.irq.attrs.update(
            X_INTERFACE_INFO="xilinx.com:signal:interrupt:1.0 irq INTERRUPT",
            X_INTERFACE_PARAMETER="SENSITIVITY LEVEL_HIGH",
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        m.submodules.core = core = Core(self.config, streams=True, network=self.network, make_engine=self.make_engine)
        m.submodules.axi_lite = lite = AxiLite()
        connect(m, lite.bus, core.bus)
        for name, flow in axi_lite_ports().items():
            outer, inner = getattr(self, name), getattr(lite, name)
            m.d.comb += outer.eq(inner) if flow.flow is Out else inner.eq(outer)

        if self.config.streams_weights:
            m.d.comb += connect_axi_read(self.config, self, core)

        # A queue in front of the engine's ready, which comes from deep inside.
        m.submodules.beats = beats = SyncFIFO(width=self.config.word_bits + 1, depth=2)
        m.d.comb += [
            beats.w_data.eq(Cat(self.s_axis_tdata, self.s_axis_tlast)),
            beats.w_en.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(beats.w_rdy & self.aresetn),
            Cat(core.image.payload.data, core.image.payload.last).eq(beats.r_data),
            core.image.valid.eq(beats.r_rdy),
            beats.r_en.eq(core.image.ready),
        ]
        result: Any = core.logits.payload
        m.d.comb += [
            self.m_axis_tdata.eq(result.value),
            self.m_axis_tuser.eq(result.best),
            self.m_axis_tlast.eq(result.last),
            self.m_axis_tvalid.eq(core.logits.valid),
            core.logits.ready.eq(self.m_axis_tready),
            self.irq.eq(core.irq),
        ]
        return m
