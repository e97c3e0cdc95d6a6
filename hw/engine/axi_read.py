# SPDX-License-Identifier: Apache-2.0
"""AXI4 read master: an image in external memory as an endless stream of beats."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..memory import plain_memory

ADDRESS_BITS = 32
BEAT_BITS = 32  # of a beat's number in the image
BURST_INCR = 0b01
NORMAL_MEMORY = 0b0011  # arcache: may be merged and buffered
QUEUE_LATENCY = 2  # cycles from a beat on the bus to its offer
ASK_CYCLES = 3  # from one burst's request to the next


def axi_read_signals(config: EngineConfig) -> dict[str, Any]:
    """The read channels of an AXI4 master, by their names in the standard."""
    return {
        "arid": Out(1),
        "araddr": Out(ADDRESS_BITS),
        "arlen": Out(8),
        "arsize": Out(3),
        "arburst": Out(2),
        "arcache": Out(4),
        "arprot": Out(3),
        "arvalid": Out(1),
        "arready": In(1),
        "rid": In(1),
        "rdata": In(config.external_weights),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def connect_axi_read(config: EngineConfig, outer: Any, inner: Any, prefix: str = "m_axi_") -> list[Any]:
    """The statements that lead the channels of `inner`, whose names begin with `prefix`, to those of `outer`."""
    found = []
    for name, port in axi_read_signals(config).items():
        outside, inside = getattr(outer, f"m_axi_{name}"), getattr(inner, prefix + name)
        found.append(inside.eq(outside) if port.flow is In else outside.eq(inside))
    return found


class AxiRead(wiring.Component):
    """Reads `first_beats` beats from the base on, then again and again `beats` beats from beat `restart` on.

    A burst is asked for when the queue has room for all of it, so the master never makes the memory wait: rready is
    constant. Bursts begin at multiples of their size and therefore never cross a boundary of 4 KB; only the last burst
    of a pass is shorter. After an error response the stream stops, because its data cannot be trusted.

    Latency: QUEUE_LATENCY from a beat on the bus to its offer. Throughput: a beat a cycle, a burst every ASK_CYCLES.
    Back-pressure: the stream may stall; no further bursts are then asked for. When `run` falls, beats on their way are
    waited for and dropped before the next run begins.

    Golden function: `onespike.model.machine.axi_read.bursts`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    run : In(1) read; what to read must stand meanwhile.
    base : In(32) byte address of beat 0, a multiple of 4096.
    first_beats, beats, restart : In(32) lengths of the first and of later passes, at least 1; where these begin, a
        multiple of the burst.
    ar..., r... : AXI4 read channels.
    words : Out(stream) what has been read.
    error : Out(1) a response was not OKAY; stays until `run` falls.
    idle : Out(1) no request stands and no beat is on its way: a reset in the next cycle would break no rule of the bus.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "base": In(ADDRESS_BITS),
                "first_beats": In(BEAT_BITS),
                "beats": In(BEAT_BITS),
                "restart": In(BEAT_BITS),
                **axi_read_signals(config),
                "words": Out(stream.Signature(config.external_weights)),
                "error": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        depth = config.burst * config.bursts
        log2_bytes = (config.external_weights // 8).bit_length() - 1
        stopped = Signal(init=1)
        arrived = Signal()  # a beat that is wanted
        m.d.comb += [
            self.arsize.eq(log2_bytes),
            self.arburst.eq(BURST_INCR),
            self.arcache.eq(NORMAL_MEMORY),
            self.rready.eq(1),
            arrived.eq(self.rvalid & ~stopped & ~self.error),
        ]

        # The queue: a block RAM and its output register.
        m.submodules.beat_memory = memory = plain_memory(config.external_weights, depth)
        write, read = memory.write_port(), memory.read_port()
        level = Signal(range(depth + 1))
        take, taken = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.words.valid & self.words.ready),
            take.eq((level != 0) & (~self.words.valid | self.words.ready)),
            write.en.eq(arrived),
            write.data.eq(self.rdata),
            read.en.eq(take),
            self.words.payload.eq(read.data),
        ]
        with m.If(stopped):
            m.d.sync += [level.eq(0), write.addr.eq(0), read.addr.eq(0), self.words.valid.eq(0)]
        with m.Else():
            m.d.sync += [level.eq(level + arrived - take), self.words.valid.eq(take | (self.words.valid & ~taken))]
            m.d.sync += [write.addr.eq(write.addr + arrived), read.addr.eq(read.addr + take)]
        with m.If(stopped):
            m.d.sync += self.error.eq(0)
        with m.Elif(arrived & (self.rresp != 0)):
            m.d.sync += self.error.eq(1)

        # Bursts: how long the next one is, whether there is room, then ask. Beats on their way: pending; those and the
        # ones in the queue: reserved.
        place, left = Signal(BEAT_BITS), Signal(BEAT_BITS)
        size = Signal(range(config.burst + 1), reset_less=True)
        pending, reserved = Signal(range(depth + 1)), Signal(range(depth + 1))
        room = Signal()
        asked = Signal()
        m.d.comb += asked.eq(self.arvalid & self.arready)
        m.d.sync += [
            room.eq(reserved <= depth - config.burst),
            pending.eq(pending + Mux(asked, size, 0) - self.rvalid),
            reserved.eq(reserved + Mux(asked, size, 0) - taken),
            self.arlen.eq(size - 1),
            self.araddr.eq(self.base + Cat(Const(0, log2_bytes), place)),
        ]
        with m.If(~self.run):
            m.d.sync += stopped.eq(1)
        with m.FSM():
            with m.State("Rest"):
                m.d.comb += self.idle.eq(pending == 0)
                m.d.sync += [place.eq(0), left.eq(self.first_beats), reserved.eq(0)]
                with m.If(self.run & (pending == 0)):
                    m.d.sync += stopped.eq(0)
                    m.next = "Size"
            with m.State("Size"):
                m.d.sync += size.eq(Mux(left > config.burst, config.burst, left))
                m.next = "Room"
            with m.State("Room"):
                with m.If(stopped):
                    m.next = "Rest"
                with m.Elif(room):
                    m.d.sync += self.arvalid.eq(1)
                    m.next = "Ask"
            with m.State("Ask"):
                with m.If(self.arready):
                    m.d.sync += [self.arvalid.eq(0), place.eq(place + size), left.eq(left - size)]
                    with m.If(left == size):
                        m.d.sync += [place.eq(self.restart), left.eq(self.beats)]
                    m.next = "Size"
        return m
