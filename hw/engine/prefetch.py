# SPDX-License-Identifier: Apache-2.0
"""Prefetch: writes the weights of the layers to come into the banks while the present one computes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from .pack import slice_mask

# Before the rows of a block. Its bank's number modulo `copies` + 1 is `copy`: all such banks hold the same rows.
BLOCK = data.StructLayout(
    {
        "rows": 20,  # 0: nothing to write
        "address": 20,
        "copy": 6,
        "copies": 6,  # - 1
        "hold": 8,  # layers that may be unfinished when the block is written
        "last": 1,  # the layer's weights are complete with this block
        "unused": 3,
    }
)


def row_beats(config: EngineConfig) -> int:
    """Beats that a weight row fills: 1 where several rows share a beat."""
    return -(-config.lanes * config.weight_bits // config.external_weights)


def beat_rows(config: EngineConfig) -> int:
    """Weight rows in a beat: 1 where a row fills several beats."""
    return max(1, config.external_weights // (config.lanes * config.weight_bits))


def head_beats(config: EngineConfig) -> int:
    """Beats that a block's head fills."""
    return -(-BLOCK.size // config.external_weights)


class Prefetch(wiring.Component):
    """Takes blocks of rows from the image of the weights and writes each row to all the banks that need it.

    A block is a head (BLOCK), then its rows from the lowest address on, each in whole beats, or as many as fit to a
    beat; it goes to the banks b with b mod (copies + 1) = copy. It waits until at most `hold` layers, of those whose
    weights have come before, are unfinished: the mapper gives that number so that no row in use is overwritten.

    Latency: one cycle from a row's last beat to its write, two more to `ready`. Throughput: a beat a cycle, but one row
    a cycle; a block's head takes one cycle more than its beats. Back-pressure: the stream waits for `hold`.

    Golden function: `onespike.model.mapping.prefetch.prefetch`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    run : In(1) while low, everything starts over.
    words : In(stream) beats of the image.
    start, done : In(1) a layer begins; it has ended.
    ready : Out(1) the weights of the next layer to begin are complete.
    write : Out one row, to the banks in `banks`: address, data.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "run": In(1),
                "words": In(stream.Signature(config.external_weights)),
                "start": In(1),
                "done": In(1),
                "ready": Out(1),
                "write": Out(
                    wiring.Signature(
                        {
                            "banks": Out(config.banks),
                            "address": Out(config.weight_addr_bits),
                            "data": Out(config.lanes * config.weight_bits),
                        }
                    )
                ),
            }
        )

    def elaborate(self, platform: Any) -> Any:
        m = Module()
        config = self.config
        width, row_bits = config.external_weights, config.lanes * config.weight_bits
        parts, shared, heads = row_beats(config), beat_rows(config), head_beats(config)

        # Layers whose weights have come: those that have not ended, and those that have not begun.
        complete = Signal()
        unfinished, waiting = Signal(9), Signal(9)
        m.d.sync += [
            unfinished.eq(unfinished + complete - self.done),
            waiting.eq(waiting + complete - self.start),
            self.ready.eq(waiting != 0),
        ]

        # Beats of a head or of a row are collected, the newest on top; rows in one beat are taken from it in turn.
        collected: Any = self.words.payload
        for _ in range(max(parts, heads) - 1):
            before = Signal(width, reset_less=True)
            with m.If(self.words.valid & self.words.ready):
                m.d.sync += before.eq(collected[:width])
            collected = Cat(before, collected)
        part = Signal(range(max(2, parts, heads)))
        turn = Signal(range(max(2, shared)))
        row = collected[-parts * width :] if shared == 1 else self.words.payload.word_select(turn, row_bits)

        head = Signal(BLOCK, reset_less=True)
        banks = Signal(config.banks, reset_less=True)
        address = Signal(config.weight_addr_bits, reset_less=True)
        left = Signal(20, reset_less=True)
        row_ends, block_ends = Signal(), Signal()
        m.d.sync += [self.write.banks.eq(0), self.write.address.eq(address), self.write.data.eq(row)]
        with m.FSM():
            with m.State("Head"):
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += head.eq(collected[-heads * width :])
                with m.If(self.words.valid):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == heads - 1):
                        m.d.sync += part.eq(0)
                        m.next = "Wait"
            with m.State("Wait"):
                m.d.sync += [address.eq(head.address), left.eq(head.rows - 1)]
                m.d.sync += banks.eq(slice_mask(config.banks, head.copy, head.copies))
                with m.If(unfinished <= head.hold):
                    with m.If(head.rows == 0):
                        m.d.comb += complete.eq(head.last)
                        m.next = "Head"
                    with m.Else():
                        m.next = "Rows"
            with m.State("Rows"):
                m.d.comb += [
                    row_ends.eq(self.words.valid & (part == parts - 1)),
                    block_ends.eq(row_ends & (left == 0)),
                    self.words.ready.eq((part != parts - 1) | (turn == shared - 1) | (left == 0)),
                    complete.eq(block_ends & head.last),
                ]
                with m.If(self.words.valid):
                    m.d.sync += part.eq(part + 1)
                with m.If(row_ends):
                    m.d.sync += [part.eq(0), turn.eq(turn + 1), address.eq(address + 1), left.eq(left - 1)]
                    m.d.sync += self.write.banks.eq(banks)
                    with m.If(turn == shared - 1):
                        m.d.sync += turn.eq(0)
                with m.If(block_ends):
                    m.d.sync += turn.eq(0)
                    m.next = "Head"
        return ResetInserter(~self.run)(m)
