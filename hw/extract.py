# SPDX-License-Identifier: Apache-2.0
"""SetBitExtractor: from spike words to one-hot events, one set bit a cycle, sustained."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Shape, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

EXTRACT_LATENCY = 3  # cycles from a word's transfer to its first event


def clear_lowest(word: Value) -> Value:
    """word with its lowest set bit cleared."""
    return (word & (word - 1))[: len(word)]


def word_layout(word_bits: int, meta: ShapeLike) -> data.StructLayout:
    """A spike word on its way to the extractor; `last` marks the last word of a job."""
    return data.StructLayout({"word": word_bits, "last": 1, "meta": meta})


class SetBitExtractor(wiring.Component):
    """Emits the set bits of each word, lowest first, one a cycle.

    A word of n ones takes max(1, n) cycles; an empty word (allowed only as the last of a job) emits `end` alone.

    Latency: EXTRACT_LATENCY from a word's transfer to its first event. Throughput: one event a cycle, no bubble between
    words. Back-pressure: the event that ends a job waits for `end_ready`; all others leave at once.

    The clear-lowest-bit loop looks two steps ahead (the word, and it with one and two bits cleared, are registers), so
    that neither the carry chain nor the test for the last bit lies in a loop with the other; two stages in front
    prepare these registers.

    Golden function: `onespike.model.extract.extract`.

    Parameters
    ----------
    word_bits : bits of a spike word.
    meta : shape of what travels along with every word.

    Members
    -------
    words : In(stream) spike words, with `last` and `meta`.
    valid : Out(1) an event leaves in this cycle.
    bit : Out(word_bits) the event's bit, one-hot; zero if the word was empty.
    meta : Out(meta) of the event's word.
    end : Out(1) this event ends a job.
    end_ready : In(1) an ending event may leave.
    waiting : Out(1) an ending event waits for `end_ready`.
    """

    def __init__(self, *, word_bits: int, meta: ShapeLike):
        if word_bits < 2:
            raise ValueError(f"word_bits must be at least 2, not {word_bits!r}")
        self.word_bits = word_bits
        self.meta_shape = meta
        super().__init__(
            {
                "words": In(stream.Signature(word_layout(word_bits, meta))),
                "valid": Out(1),
                "bit": Out(word_bits),
                "meta": Out(meta),
                "end": Out(1),
                "end_ready": In(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        width = Shape.cast(self.meta_shape).width
        entry = data.StructLayout({"word": self.word_bits, "next": self.word_bits, "last": 1, "meta": width})

        def stage(name: str) -> tuple[Signal, Any]:
            return Signal(name=f"{name}_valid"), Signal(entry, name=name, reset_less=True)

        first_valid, first = stage("first")
        second_valid, second = stage("second")
        current_valid, current = stage("current")
        second_after = Signal(self.word_bits, reset_less=True)  # `second` with two bits cleared
        after = Signal(self.word_bits, reset_less=True)  # `current` with two bits cleared
        second_single = Signal(reset_less=True)  # at most one bit is left
        single = Signal(reset_less=True)

        # The current word gives its lowest bit; on its last one it makes room for the next word.
        ends = single & current.last
        leaves = current_valid & (~ends | self.end_ready)
        take_current = Signal()
        take_second = Signal()
        m.d.comb += [
            self.valid.eq(leaves),
            self.bit.eq(current.word ^ current.next),
            Value.cast(self.meta).eq(current.meta),
            self.end.eq(ends),
            self.waiting.eq(current_valid & ends & ~self.end_ready),
            take_current.eq(~current_valid | (leaves & single)),
            take_second.eq(~second_valid | take_current),
            self.words.ready.eq(~first_valid | take_second),
        ]
        with m.If(take_current):
            m.d.sync += [current_valid.eq(second_valid), current.eq(second), after.eq(second_after)]
            m.d.sync += single.eq(second_single)
        with m.Elif(leaves):
            m.d.sync += [current.word.eq(current.next), current.next.eq(after), after.eq(clear_lowest(after))]
            m.d.sync += single.eq(after == 0)

        with m.If(take_second):
            m.d.sync += [second_valid.eq(first_valid), second.eq(first)]
            m.d.sync += [second_after.eq(clear_lowest(first.next)), second_single.eq(first.next == 0)]

        with m.If(self.words.ready):
            word = self.words.payload
            m.d.sync += first_valid.eq(self.words.valid)
            m.d.sync += [first.word.eq(word.word), first.next.eq(clear_lowest(word.word))]
            m.d.sync += [first.last.eq(word.last), first.meta.eq(word.meta)]
        return m


def encode_one_hot(one_hot: Value) -> Value:
    """Index of the one set bit: each index bit is the OR of the places where it is one."""
    bits = max(1, (len(one_hot) - 1).bit_length())
    return Cat(Cat(one_hot[i] for i in range(len(one_hot)) if i >> b & 1).any() for b in range(bits))
