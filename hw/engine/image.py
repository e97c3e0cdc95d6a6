# SPDX-License-Identifier: Apache-2.0
"""ImageLoader: writes the image stream into the spike memories while the image before is being computed."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..program import header_fields, layout


class ImageLoader(wiring.Component):
    """Takes one spike word per beat, in the order slice, pixel, word, and writes it to the slice's banks.

    Latency: one cycle. Throughput: one word a cycle, less the cycles in which a layer writes. Back-pressure: waits
    for a free buffer (one, or two with `image_double`).

    Golden function: `onespike.model.mapping.images.image_beats`, in the order of the addresses.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    header, ready : In the program's header and whether it is known.
    image : In(stream(W)) the image.
    blocked : In(1) the write port is taken in this cycle.
    enable, address, data, slice : Out one write.
    available : Out(1) a whole image waits. begun, taken : In(1) the oldest does not wait, is not needed any more.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "header": In(layout(header_fields(config))),
                "ready": In(1),
                "image": In(stream.Signature(config.word_bits)),
                "blocked": In(1),
                "enable": Out(1),
                "address": Out(config.spike_addr_bits),
                "data": Out(config.word_bits),
                "slice": Out(6),
                "available": Out(1),
                "begun": In(1),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        header = self.header
        images = Signal(2)  # whole images that wait or are in use
        waiting = Signal(2)
        buffer = Signal()
        word = Signal(20)
        slice_ = Signal(6)
        base = Mux(buffer, header.image_base + header.image_stride, header.image_base)
        last = (word == header.image_words) & (slice_ == header.image_slices)
        ends = Signal()
        m.d.comb += [
            self.available.eq(waiting != 0),
            self.image.ready.eq(self.ready & ~self.blocked & (images <= header.image_double)),
            self.enable.eq(self.image.valid & self.image.ready),
            self.address.eq(base + word),
            self.data.eq(self.image.payload),
            self.slice.eq(slice_),
            ends.eq(self.enable & last),
        ]
        with m.If(self.enable):
            m.d.sync += word.eq(word + 1)
            with m.If(word == header.image_words):
                m.d.sync += [word.eq(0), slice_.eq(slice_ + 1)]
                with m.If(slice_ == header.image_slices):
                    m.d.sync += [slice_.eq(0), buffer.eq(buffer ^ header.image_double)]
        m.d.sync += [images.eq(images + ends - self.taken), waiting.eq(waiting + ends - self.begun)]
        with m.If(~self.ready):
            m.d.sync += [images.eq(0), waiting.eq(0), buffer.eq(0), word.eq(0), slice_.eq(0)]
        return m
