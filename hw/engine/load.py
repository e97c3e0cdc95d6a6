# SPDX-License-Identifier: Apache-2.0
"""Load: writes the memories of a network from one 32-bit stream, so that one bitstream serves many networks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..program import WORD
from .fetch import mask_entry
from .tables import table_entry
from .walk import column_entry, row_entry

# weights: unless they are streamed; tables, masks: where there are some. Of weights and masks each bank has its own.
TARGETS = ("program", "rows", "columns", "channels", "weights", "tables", "masks")


def target_widths(config: EngineConfig) -> dict[str, int]:
    """Bits of one row of every memory that can be loaded: of those of TARGETS that the engine has."""
    widths = {
        "program": WORD,
        "rows": row_entry(config).size,
        "columns": column_entry(config).size,
        "channels": config.channel_bits * config.fire_lanes,
        "weights": config.weight_bits * config.lanes,
    }
    if config.tables:
        widths["tables"] = table_entry(config).size
    if config.row_masks:
        widths["masks"] = mask_entry(config).size
    return widths


def stored_widths(config: EngineConfig) -> dict[str, int]:
    """The same, with the parity bits that the memory holds."""
    return {name: config.stored_bits(width) for name, width in target_widths(config).items()}


def row_words(width: int) -> int:
    """Stream words of a row of `width` bits."""
    return -(-width // WORD)


HEAD = data.StructLayout({"target": 8, "bank": 8, "rows": 16})  # rows - 1


class Load(wiring.Component):
    """Takes blocks of rows: a head word, the first address, then the rows, each little-endian in whole words.

    Latency: one cycle from a row's last word to its write. Throughput: one word a cycle. Back-pressure: never.

    Golden function: `onespike.model.mapping.images.load_words`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    words : In(stream(32)) blocks.
    target : Out one bit for each of TARGETS, up to the last that the engine has: write it now.
    bank : Out which bank's weights or masks.
    address : Out of the row.
    data : Out the last words of the stream, as many as the longest row has that is no bank's weights; see `row`.
    shift : Out(1) the last word is one of a bank's weights, whose rows the banks put together themselves.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        self.widths = target_widths(config)
        self.longest = max(row_words(width) for name, width in self.widths.items() if name != "weights")
        super().__init__(
            {
                "words": In(stream.Signature(WORD)),
                "target": Out(1 + max(map(TARGETS.index, self.widths))),
                "bank": Out(8),
                "address": Out(24),
                "data": Out(self.longest * WORD),
                "shift": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        counts = {TARGETS.index(name): row_words(width) for name, width in self.widths.items()}
        head = Signal(HEAD)
        rows = Signal(16)
        words = Signal(range(max(counts.values()) + 1))  # words left in the row, less one
        per_row = Signal.like(words)
        collected = Signal(self.longest * WORD, reset_less=True)
        address = Signal(24)
        word = data.View(HEAD, self.words.payload)
        m.d.comb += self.words.ready.eq(1)
        m.d.sync += [self.target.eq(0), self.shift.eq(0)]
        with m.FSM():
            with m.State("Head"):
                m.d.sync += [head.eq(self.words.payload), rows.eq(word.rows)]
                for target, count in counts.items():
                    with m.If(word.target == target):
                        m.d.sync += per_row.eq(count - 1)
                with m.If(self.words.valid):
                    m.next = "Address"
            with m.State("Address"):
                m.d.sync += words.eq(per_row)
                with m.If(self.words.valid):
                    m.d.sync += address.eq(self.words.payload - 1)
                    m.next = "Rows"
            with m.State("Rows"):
                with m.If(self.words.valid):
                    m.d.sync += [collected.eq(Cat(collected[WORD:], self.words.payload)), words.eq(words - 1)]
                    m.d.sync += self.shift.eq(head.target == TARGETS.index("weights"))
                    with m.If(words == 0):
                        m.d.sync += [words.eq(per_row), rows.eq(rows - 1), address.eq(address + 1)]
                        m.d.sync += [self.target[i].eq(head.target == i) for i in counts]
                        with m.If(rows == 0):
                            m.next = "Head"
        # `head` still describes the row, even if the next head arrives with it.
        m.d.comb += [self.bank.eq(head.bank), self.address.eq(address), self.data.eq(collected)]
        return m

    def row(self, target: str) -> Value:
        """The row, for one of these memories: the words of a short one are the last."""
        width = self.widths[target]
        return self.data[(self.longest - row_words(width)) * WORD :][:width]
