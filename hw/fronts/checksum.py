# SPDX-License-Identifier: Apache-2.0
"""Checksum: the CRC-32 of what has been loaded, by which a host knows a network that is in the memories already."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

POLYNOMIAL = 0xEDB88320  # of Ethernet and zip, least significant bit first
BYTES = 4  # of a word, one a cycle


class Checksum(wiring.Component):
    """The CRC-32 of the words of the last load, that of a built-in network until there is one.

    Words count from the first one after `begin`, so that a load that was cut off has another sum than a whole one.
    No reset changes the sum, as none changes the memories.

    Latency: four cycles from `valid` to `done`. Throughput: a word in five cycles. Back-pressure: `word` stands until
    `done`.

    Golden function: `onespike.model.mapping.images.checksum`.

    Parameters
    ----------
    network : the sum of the network that is built in; 0 where there is none.

    Members
    -------
    begin : In(1) the next word is the first of a load.
    valid, word : In(1), In(32) the next word, while `valid` is high and until `done`.
    done : Out(1) the word has been taken.
    sum : Out(32) of all words of this load.
    """

    def __init__(self, network: int = 0):
        self.network = network
        super().__init__({"begin": In(1), "valid": In(1), "word": In(32), "done": Out(1), "sum": Out(32)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        state = Signal(32, init=~self.network & 0xFFFFFFFF, reset_less=True)  # the sum, inverted
        fresh = Signal(init=1)
        place = Signal(range(BYTES))
        byte = self.word.word_select(place, 8)
        before = Signal(32)
        m.d.comb += [before.eq(state | fresh.replicate(32)), self.sum.eq(~state), self.done.eq(place == BYTES - 1)]
        with m.If(self.valid):
            m.d.sync += [state.eq(_next(before, byte)), place.eq(place + 1), fresh.eq(0)]
        with m.If(self.begin):
            m.d.sync += fresh.eq(1)
        return m


def _next(state: Value, byte: Value) -> Value:
    """The state after one more byte."""
    bits = [*(state[:8] ^ byte), *state[8:]]
    for _ in range(8):
        low, bits = bits[0], [*bits[1:], 0]
        bits = [bit ^ low if POLYNOMIAL >> place & 1 else bit for place, bit in enumerate(bits)]
    return Cat(*bits)
