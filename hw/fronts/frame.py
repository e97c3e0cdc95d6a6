# SPDX-License-Identifier: Apache-2.0
"""Frame: makes whole images of frames of any length, so that one bad frame never shifts the images after it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

BEATS_BITS = 24


def frame_layout(word_bits: int) -> data.StructLayout:
    """A beat of a frame."""
    return data.StructLayout({"data": word_bits, "last": 1})


class Frame(wiring.Component):
    """Passes frames of `beats` beats on; fills a shorter frame up with zeros and drops the surplus of a longer one.

    Latency: one cycle. Throughput: one beat a cycle. Back-pressure: passed on; nothing is taken while `run` is low.

    Golden function: `onespike.model.machine.frame.whole_image`.

    Parameters
    ----------
    word_bits : bits of a beat.

    Members
    -------
    run : In(1) take frames. clear : In(1) forget the frame in progress; only while `run` is low.
    beats : In(24) beats of an image, not 0 while `run` is high; constant inside a frame.
    frames : In(stream) data and last. image : Out(stream) whole images.
    inside : Out(1) a frame has begun and its last beat has not been taken.
    began : Out(1) the first beat of an image has been taken; one cycle.
    short, long : Out(1) the frame was shorter or longer than the image; one cycle.
    """

    def __init__(self, word_bits: int):
        super().__init__(
            {
                "run": In(1),
                "clear": In(1),
                "beats": In(BEATS_BITS),
                "frames": In(stream.Signature(frame_layout(word_bits))),
                "image": Out(stream.Signature(word_bits)),
                "inside": Out(1),
                "began": Out(1),
                "short": Out(1),
                "long": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        frames, image = self.frames, self.image
        beat = Signal(BEATS_BITS, init=1)  # number of the present beat, from 1
        first = Signal(init=1)
        ends = Signal()
        offered, free, passed = Signal(), Signal(), Signal()
        fill = Signal()
        m.d.comb += [
            ends.eq(beat == self.beats),
            free.eq(~image.valid | image.ready),
            passed.eq(offered & free),
            self.began.eq(passed & first),
        ]
        # A register in front of the engine, which does arithmetic on what it takes.
        with m.If(free):
            m.d.sync += [image.valid.eq(offered), image.payload.eq(Mux(fill, 0, frames.payload.data))]
        with m.If(self.clear):
            m.d.sync += image.valid.eq(0)
        with m.If(passed):
            m.d.sync += [first.eq(ends), beat.eq(beat + 1)]
        with m.If(self.clear | (passed & ends)):
            m.d.sync += [first.eq(1), beat.eq(1)]
        with m.FSM():
            with m.State("Pass"):
                m.d.comb += [
                    offered.eq(frames.valid & self.run),
                    frames.ready.eq(free & self.run),
                    self.inside.eq(~first),
                ]
                with m.If(passed & frames.payload.last & ~ends):
                    m.d.comb += self.short.eq(1)
                    m.next = "Fill"
                with m.Elif(passed & ~frames.payload.last & ends):
                    m.d.comb += self.long.eq(1)
                    m.next = "Drop"
            with m.State("Fill"):
                m.d.comb += [offered.eq(1), fill.eq(1)]
                with m.If(passed & ends):
                    m.next = "Pass"
                with m.If(self.clear):
                    m.next = "Pass"
            with m.State("Drop"):
                m.d.comb += [frames.ready.eq(1), self.inside.eq(1)]
                with m.If(frames.valid & frames.payload.last):
                    m.next = "Pass"
                with m.If(self.clear):
                    m.next = "Pass"
        return m
