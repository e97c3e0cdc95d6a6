# SPDX-License-Identifier: Apache-2.0
"""Sequencer: reads the layer program, and begins each layer when its inputs are there."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import EngineConfig
from ..memory import plain_memory
from ..parity import Parity
from ..program import WORD, ends_image, header_fields, header_words, layer_bits, layer_layout, layer_words, layout
from .fetch import command_layout, stride_layout
from .walk import Walk, column_entry, row_entry

SEQUENCER_FAULTS = ("program", "rows", "columns")  # its memories, whose parity may be wrong
SEQUENCER_LATENCY = 0  # cycles from a layer's first cycle to its first command


class Sequencer(wiring.Component):
    """Runs layer after layer, image after image: reads the records and tells every unit which layer runs.

    Three layers are in hand: one runs, the walk of the next may have begun (see Walk), the record of the one after that
    is being read.

    Latency: SEQUENCER_LATENCY from a layer's first cycle to its first command. Throughput: one command a cycle.
    Back-pressure: as Walk. A layer begins in the cycle after `done` of the one before it, if its walk has begun; the
    first one also waits for an image, the last one for the logits unit, and each for its weights, if they are streamed.

    Golden function: `onespike.model.machine.walk.walk`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    enable : In(1) run, from a reset on, too, a cycle later; while low, the program may be written, and the sequencer
        starts over.
    header : Out the header record, valid when `ready`.
    ready : Out(1) the header has been read.
    layer, strides : Out the current layer's record, and the constants of its sources.
    start : Out(1) first cycle of a layer.
    done : In(1) the layer's last result is being written.
    index : Out number of the current layer.
    busy : Out(1) a layer is running.
    image_available : In(1) a whole image waits. image_begun, image_taken : Out(1) it does not wait any more, it is not
        needed any more.
    logits_free : In(1) the logits of the image before have been read.
    weights_ready : In(1) the next layer's weights are complete. stalled : Out(1) a layer waits for nothing else.
        (both only if `config.streams_weights`)
    commands : Out(stream) per bank, see Walk.
    load : In write ports of the program and the tables (only if `config.loadable`).
    faults : Out a parity was wrong, a bit for each of SEQUENCER_FAULTS (only if `config.parity`).
    waits : Out(1) no layer runs, and no image is there (only if `config.watchdog`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        record = layer_layout(config)
        members: dict[str, Any] = {
            "enable": In(1),
            "header": Out(layout(header_fields(config))),
            "ready": Out(1),
            "layer": Out(record["layer"].shape),
            "strides": Out(data.ArrayLayout(stride_layout(config), config.segments)),
            "start": Out(1),
            "done": In(1),
            "index": Out(layer_bits(config)),
            "busy": Out(1),
            "image_available": In(1),
            "image_begun": Out(1),
            "image_taken": Out(1),
            "logits_free": In(1),
            "commands": Out(stream.Signature(command_layout(config))).array(config.banks),
        }
        if config.streams_weights:
            members |= {"weights_ready": In(1), "stalled": Out(1)}
        if config.loadable:
            for name, address, shape in (
                ("load_program", config.program_addr_bits, WORD),
                ("load_rows", config.walk_addr_bits, row_entry(config).size),
                ("load_columns", config.walk_addr_bits, column_entry(config).size),
            ):
                port = {"enable": Out(1), "address": Out(address), "data": Out(config.stored_bits(shape))}
                members[name] = In(wiring.Signature(port))
        if config.parity:
            members["faults"] = Out(len(SEQUENCER_FAULTS))
        if config.watchdog:
            members["waits"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        m.submodules.walk = walk = ResetInserter(~self.enable)(Walk(config))
        self._read_program(m, walk)
        for own, port in zip(self.commands, walk.commands, strict=True):
            connect(m, port, flipped(own))
        if config.loadable:
            connect(m, walk.load_rows, flipped(self.load_rows))
            connect(m, walk.load_columns, flipped(self.load_columns))

        # Take the next layer as soon as the one before is done and its inputs are there. After an image's last layer,
        # another last one must see whether the logits have been read.
        current = Signal(layer_layout(config), reset_less=True)
        first = Signal(init=1)  # the next layer is the image's first
        may_start, take = Signal(), Signal()
        next_layer = walk.plan.layer
        ends, next_ends = (ends_image(layer, config.streams_weights) for layer in (self.layer, next_layer))
        m.d.sync += may_start.eq(
            self.enable
            & walk.primed
            & (~first | self.image_available)
            & (~next_layer.final | (self.logits_free & ~(self.busy & ends)))
            & ~take
        )
        may_take: Any = may_start & (~self.busy | self.done)
        if config.streams_weights:
            m.d.comb += self.stalled.eq(may_take & ~self.weights_ready)
            may_take = may_take & self.weights_ready
        m.d.comb += [
            take.eq(may_take),
            walk.begin.eq(take),
            self.image_begun.eq(take & first),
            self.image_taken.eq(self.busy & self.done & ends),
        ]
        m.d.sync += self.start.eq(take)
        with m.If(take):
            m.d.sync += [self.busy.eq(1), current.eq(walk.plan), first.eq(next_ends)]
            m.d.sync += self.index.eq(Mux(first, 0, self.index + 1))
        with m.Elif(self.done):
            m.d.sync += self.busy.eq(0)

        if config.watchdog:
            m.d.comb += self.waits.eq(~self.busy & first & ~self.image_available)
        m.d.comb += self.layer.eq(current.layer)
        for stride, segment in zip(self.strides, current.segment, strict=True):
            m.d.comb += [getattr(stride, name).eq(getattr(segment, name)) for name in stride.shape().members]
        return m

    def _read_program(self, m: Module, walk: Any) -> None:
        """One record is always read ahead, word by word, for the walk."""
        config = self.config
        memory = plain_memory(config.stored_bits(WORD), config.program_depth)
        m.submodules.program_memory = memory
        if config.loadable:
            port, write = self.load_program, memory.write_port()
            m.d.comb += [write.en.eq(port.enable), write.addr.eq(port.address), write.data.eq(port.data)]
        read = memory.read_port()
        size, head = layer_words(config), header_words(config)
        ahead = Signal(size * WORD, reset_less=True)
        header = Signal(head * WORD, reset_less=True)
        ahead_ready, arriving = Signal(), Signal()
        count = Signal(range(max(size, head) + 1), init=head)  # words still to be asked for
        left = Signal(layer_bits(config))  # layers of the image still to be read, less one
        # The memory has a register behind it, so it is asked a cycle before the word's turn: `address` is that of the
        # next word, and goes back to the first record as soon as the last one has been asked for.
        address, upcoming = Signal(config.program_addr_bits), Signal(config.program_addr_bits)
        begun, runs, asks = Signal(), Signal(), Signal()
        m.d.comb += [read.addr.eq(upcoming), Value.cast(self.header).eq(header)]
        m.d.comb += [
            walk.header.eq(self.header),
            Value.cast(walk.record).eq(ahead),
            walk.valid.eq(ahead_ready),
        ]
        m.d.sync += arriving.eq(0)
        word: Value = Signal(len(read.data), name="word", reset_less=True)
        m.d.sync += word.eq(read.data)
        if config.parity:
            m.submodules.program_parity = check = Parity(WORD)
            m.d.comb += [check.row.eq(word), check.valid.eq(arriving)]
            m.d.comb += self.faults.eq(Cat(check.fault, walk.row_fault, walk.column_fault))
            word = word[:WORD]
        # `left` changes with a record, whose words take cycles enough for a register.
        none_left = Signal()
        m.d.sync += none_left.eq(left == 0)
        last = none_left & (count == 1)  # word of the image's records; of the header, where the first one follows
        m.d.sync += begun.eq(self.enable)
        m.d.comb += [
            runs.eq(self.enable & begun),
            asks.eq(runs & (count != 0)),
            upcoming.eq(Mux(asks, Mux(last, head, address + 1), address)),
        ]
        with m.If(~runs):
            m.d.sync += [self.ready.eq(0), ahead_ready.eq(0), address.eq(0), count.eq(head)]
        with m.Else():
            m.d.sync += address.eq(upcoming)
            with m.If(asks):
                m.d.sync += [count.eq(count - 1), arriving.eq(1)]
            with m.If(arriving):
                with m.If(~self.ready):
                    m.d.sync += header.eq(Cat(header[WORD:], word))
                with m.Else():
                    m.d.sync += ahead.eq(Cat(ahead[WORD:], word))
                with m.If(count == 0):
                    with m.If(~self.ready):
                        m.d.sync += [self.ready.eq(1), count.eq(size)]
                        m.d.sync += left.eq(Cat(header, word)[WORD : WORD + len(left)])
                    with m.Else():
                        m.d.sync += ahead_ready.eq(1)
            with m.If(walk.taken):
                m.d.sync += [ahead_ready.eq(0), count.eq(size), left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.sync += left.eq(self.header.layers)
