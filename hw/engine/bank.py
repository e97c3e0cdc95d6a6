# SPDX-License-Identifier: Apache-2.0
"""Bank: commands in, one event a cycle, L lanes of finished sums out. The heart of the engine."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..later import later
from ..memory import PagedMemory
from ..parity import Parity, parity_bits, with_parity
from ..program import DIGITS_LEVELS, DIGITS_UNARY, WORD
from ..queue import Queue
from .extract import EventExtractor, terms_write_layout
from .fetch import Fetch, command_layout, mask_entry, meta_layout, stride_layout
from .lanes import Lanes, lane_latency, product_latency
from .load import row_words
from .shadows import Shadows
from .values import ValueExtractor

WIDE_ROW = 256  # bits of a weight row: more of them lie in block RAMs that are far apart
BANK_FAULTS = ("weights", "masks", "spikes")  # memories of a bank whose parity may be wrong


def shadow_latency(config: EngineConfig) -> int:
    """Cycles from an ending event until its sums are in the bank's first shadow set."""
    return 5 + row_latency(config) + lane_latency(config)


def capture_latency(config: EngineConfig) -> int:
    """Cycles from an ending event to the cycle in which its sums can be drained, if all shadow sets are free."""
    return shadow_latency(config) + config.shadows - 1


def row_latency(config: EngineConfig) -> int:
    """Cycles more that a large weight memory takes: one on the way to it, one on the way back, or to choose a page."""
    return 2 if len(config.weight_pages) > 1 or config.lanes * config.weight_bits > WIDE_ROW else 0


def bank_signature(config: EngineConfig) -> wiring.Signature:
    """The bank's ports, see Bank."""
    members: dict[str, Any] = {
        "commands": In(stream.Signature(command_layout(config))),
        "strides": In(data.ArrayLayout(stride_layout(config), config.segments)),
        "write": In(
            wiring.Signature(
                {
                    "enable": Out(1),
                    "address": Out(config.spike_addr_bits),
                    "data": Out(config.stored_bits(config.word_bits)),
                }
            )
        ),
        "full": Out(1),
        "release": In(1),
        "take": In(1),
        "turn": In(1),
        "drain": Out(data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)),
        "read": Out(1),
        "event": Out(1),
        "empty": Out(1),
        "waiting": Out(1),
    }
    if config.tables:
        members["terms"] = In(terms_write_layout(config.worths, config.tables, config.term_fields))
    if config.parity:
        members["faults"] = Out(len(BANK_FAULTS))
    if config.watchdog:
        members["restart"] = In(1)
    if config.loadable or config.streams_weights:
        whole = {"data": Out(config.stored_bits(config.lanes * config.weight_bits))}
        given = whole if config.streams_weights else {"word": Out(WORD), "shift": Out(1)}
        members["load"] = In(wiring.Signature({"enable": Out(1), "address": Out(config.weight_addr_bits), **given}))
    if config.row_masks and config.loadable:
        row = config.stored_bits(mask_entry(config).size)
        members["load_masks"] = In(
            wiring.Signature({"enable": Out(1), "address": Out(config.mask_addr_bits), "data": Out(row)})
        )
    return wiring.Signature(members)


class Bank(wiring.Component):
    """Finds the events of the words that its commands name and adds a multiple of one weight row per event.

    For every event at place p of a word with fields of 2**field bits: channel = p >> field, weight row = the word's row
    + channel (with masks, the number of rows that the word has below that channel); it adds its term (see
    EventExtractor) times 2**(p mod 2**field), or times 1 in unary fields, times 2**shift of the source. In a word whose
    digits are for lanes of their own there is one row, and an event adds a term of every digit, see Lanes. The weight
    memory is read for the first event of a value only.

    Latency: `capture_latency` from a job's last event to `full`. Throughput: one event a cycle. Back-pressure: commands
    are a stream; the last event of a job waits until there is a free shadow set when its sums come (`release`).

    Golden function: `onespike.model.machine.bank.bank`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    commands : In(stream) parts of jobs; each comes `config.hops` cycles after a `ready`, as Walk gives them.
    strides : In(array) constants of each segment.
    write : In write port of the spike memory.
    load : In write port of the weight memory (only if `config.loadable` or `config.streams_weights`): enable, address
        and, if they are streamed, data; if not, `shift` puts a `word` on top of the row, whose other ones move down.
    load_masks : In write port of the masks (only if `config.row_masks` and `config.loadable`).
    terms : In(terms_write_layout) the terms of a field of a table (only if `config.tables`).
    full : Out(1) the sums of a finished job wait in the last shadow set.
    release : In(1) it is being drained: a shadow set will be free `shadow_latency` cycles later.
    take, drain : In(1), Out show the next F of L sums, one cycle later.
    turn : In(1) the drain takes from this bank now, if from any; if not, `drain` is 0 in the next cycle.
    read : Out(1) the weight memory is read.
    event, empty, waiting : Out(1) an event has left in the cycle before; a job has ended in it, with no event; a job's
        end has waited in it for `release`.
    faults : Out a parity was wrong, a bit for each of BANK_FAULTS (only if `config.parity`, whose rows and words have
        their parity bits when they are written).
    restart : In(1) reset the bank (only if `config.watchdog`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(bank_signature(config))

    def elaborate(self, platform: Any) -> Any:
        m = Module()
        config = self.config
        row_bits = config.lanes * config.weight_bits
        faults: dict[str, Value] = {}

        # Commands -> words with spikes -> a short queue -> events.
        room = config.command_fifo + config.hops
        m.submodules.command_fifo = commands = Queue(width=command_layout(config).size, depth=room)
        m.submodules.fetch = fetch = Fetch(config)
        finder = ValueExtractor if config.multiplies else partial(EventExtractor, fields=config.term_fields)
        m.submodules.extract = extract = finder(
            word_bits=config.word_bits, multiples=config.worths, meta=meta_layout(config), tables=config.tables,
            masks=config.row_masks, depthwise=config.depthwise,
        )  # fmt: skip
        if config.tables:  # it comes from far away, too
            m.d.comb += Value.cast(extract.terms).eq(later(m, Value.cast(self.terms), 1 + config.more_hops))
        word = Value.cast(fetch.words.payload)
        # The layer's constants come from far away; a command spends these cycles on its way and in its queue.
        strides = later(m, Value.cast(self.strides), 1 + config.more_hops, reset_less=True)
        strides = data.View(self.strides.shape(), strides)
        command = later(m, Cat(self.commands.valid, Value.cast(self.commands.payload)), config.more_hops)
        m.submodules.word_fifo = queue = Queue(width=len(word), depth=config.word_fifo)
        m.d.comb += [
            Cat(commands.w_en, commands.w_data).eq(command),
            fetch.commands.valid.eq(commands.r_rdy),
            Value.cast(fetch.commands.payload).eq(commands.r_data),
            commands.r_en.eq(fetch.commands.ready),
            fetch.strides.eq(strides),
            queue.w_en.eq(fetch.words.valid),
            queue.w_data.eq(word),
            fetch.words.ready.eq(queue.w_rdy),
            extract.words.valid.eq(queue.r_rdy),
            Value.cast(extract.words.payload).eq(queue.r_data),
            queue.r_en.eq(extract.words.ready),
        ]
        if config.hops:  # more commands may be on their way
            waiting, next_waiting = Signal(range(room + 1)), Signal(range(room + 1))
            ready = Signal(init=1)
            m.d.comb += next_waiting.eq(waiting + self.commands.valid - (commands.r_en & commands.r_rdy))
            m.d.sync += [waiting.eq(next_waiting), ready.eq(next_waiting < room - config.hops)]
            m.d.comb += self.commands.ready.eq(ready)
        else:
            m.d.comb += self.commands.ready.eq(commands.w_rdy)
        _register_write(m, self.write, fetch.write, 1 + config.hops)
        if config.row_masks:
            bits = mask_entry(config).size
            masks = PagedMemory(m, "mask_memory", bits, config.mask_depth, parity_bits(bits) if config.parity else 0)
            if config.loadable:
                write = self.load_masks.signature.create(path=("masks",))
                _register_write(m, self.load_masks, write, 1)
                masks.write(m, enable=write.enable, address=write.address, data=write.data)
            read = fetch.masks
            entry = masks.read(m, read.address, first=read.first, second=read.second)
            m.d.comb += Value.cast(read.entry).eq(entry[:bits] if config.parity else entry)
            if config.parity:
                faults["masks"] = _check(m, "mask", bits, entry, fetch.arrived)

        # A job may end while a shadow set is free; it is taken `shadow_latency` cycles later.
        free = Signal(init=1)
        m.d.comb += extract.end_ready.eq(free)
        m.d.sync += self.waiting.eq(extract.waiting)
        ends = extract.valid & extract.end
        if config.shadows > 1:
            taken, next_taken = (Signal(range(config.shadows + 1), name=name) for name in ("taken", "next_taken"))
            m.d.comb += next_taken.eq(taken + ends - self.release)
            m.d.sync += [taken.eq(next_taken), free.eq(next_taken != config.shadows)]
        else:
            with m.If(ends):
                m.d.sync += free.eq(0)
            with m.Elif(self.release):
                m.d.sync += free.eq(1)

        # Place in the word -> channel and worth, then the weight row; one register after each.
        meta = meta_layout(config)
        stages = 3 + row_latency(config)
        valid = [Signal(name=f"valid{i}") for i in range(1, stages + 1)]
        end = [Signal(name=f"end{i}") for i in range(1, stages + 1)]
        m.d.sync += [valid[0].eq(extract.valid & extract.spike), end[0].eq(extract.valid & extract.end)]
        m.d.comb += self.event.eq(valid[0])
        m.d.sync += self.empty.eq(extract.valid & ~extract.spike)
        for i in range(1, stages):
            m.d.sync += [valid[i].eq(valid[i - 1]), end[i].eq(end[i - 1])]
        index = Signal(range(config.word_bits), reset_less=True)
        meta1 = Signal(meta, reset_less=True)
        term1 = Signal(extract.term_layout, reset_less=True)
        fresh = Signal(reset_less=True)
        m.d.sync += [index.eq(extract.index), meta1.eq(extract.meta), term1.eq(extract.term), fresh.eq(extract.fresh)]
        index_row = index
        if config.row_masks:
            index_row = Signal.like(index, reset_less=True)
            m.d.sync += index_row.eq(extract.row)

        # What a source's code says is constant while a layer runs, so it is decoded beforehand. A digit of a table has
        # no place: its shift may be any.
        form = data.StructLayout({"field": 3, "mask": len(index), "shift": 4})
        forms = Signal(data.ArrayLayout(form, config.segments), reset_less=True)
        fields = range(len(index) + 1)
        for source, stride in zip(forms, strides, strict=True):
            m.d.sync += [
                source.field.eq(stride.field),
                source.mask.eq(
                    Mux(
                        (stride.code == DIGITS_UNARY) | (stride.code == DIGITS_LEVELS),
                        0,
                        Array(Const((1 << f) - 1, len(index)) for f in fields)[stride.field],
                    )
                ),
                source.shift.eq(stride.shift),
            ]
        source = forms[meta1.segment]
        place = index & source.mask  # where a digit stands, or a bit
        channel = Signal.like(index)  # of the word's values
        m.d.comb += channel.eq(index_row >> source.field)
        row = Signal(config.weight_addr_bits, reset_less=True)
        digit, offset = Signal(len(index), reset_less=True), Signal(4, reset_less=True)
        minus = [Signal(name=f"minus{i}", reset_less=True) for i in range(2, stages + 1)]
        factor = [Signal.like(term1.multiple, name=f"factor{i}", reset_less=True) for i in range(2, stages + 1)]
        shift = [Signal(range(config.max_shift + 1), name=f"shift{i}", reset_less=True) for i in range(3, stages + 1)]
        m.d.sync += [
            row.eq(meta1.weight + channel),
            digit.eq(place + term1.shift if config.worths == (1,) else place | term1.shift),
            offset.eq(source.shift),
            shift[0].eq(digit + offset),
            minus[0].eq(term1.negative),
            factor[0].eq(term1.multiple),
        ]
        for stage in (minus, shift, factor):
            m.d.sync += [after.eq(before) for before, after in itertools.pairwise(stage)]

        spare = parity_bits(row_bits) if config.parity else 0
        weights = PagedMemory(
            m, "weight_memory", row_bits, config.weight_depth, spare, single_port=config.single_port
        )
        if config.streams_weights:
            load = self.load.signature.create(path=("load",))
            _register_write(m, self.load, load, 1 + config.hops)
            weights.write(m, enable=load.enable, address=load.address, data=load.data, hop=True)
        elif config.loadable:
            weights.write(m, hop=True, **self._loaded(m))
        # The events of a value follow each other, and its weight row is read for the first of them. That is known as
        # early as the row, and a register tells the memory: its block RAMs are many, and some of them far away.
        channel_before = Signal.like(channel, reset_less=True)
        with m.If(valid[0]):
            m.d.sync += channel_before.eq(channel)
        m.d.sync += self.read.eq(valid[0] & (fresh | (channel != channel_before)))
        place_of_row, reads = row, self.read
        if row_latency(config) and len(config.weight_pages) == 1:  # pages have registers of their own for these
            place_of_row, reads = later(m, row, 1, reset_less=True), later(m, self.read, 1)
        weight_row = weights.read(m, place_of_row, first=reads, hop=True)
        if row_latency(config):
            chosen_row = Signal(row_bits + spare, reset_less=True)
            m.d.sync += chosen_row.eq(weight_row)
            weight_row = chosen_row
        if config.parity:
            faults |= {"weights": _check(m, "weight", row_bits, weight_row, valid[-1]), "spikes": fetch.fault}
            m.d.sync += self.faults.eq(Cat(faults.get(name, Const(0, 1)) for name in BANK_FAULTS))

        # The accumulators start from 0 after a reset. Each bank remembers it until its first event: the reset itself
        # would be slow to reach so many registers.
        clear = Signal(init=1)
        with m.If(valid[0]):
            m.d.sync += clear.eq(0)

        # Every bank counts its own steps: those of all would be slow to reach so many lanes.
        step = Signal(range(max(2, config.drain_steps)))
        next_step = Signal.like(step)
        m.d.comb += next_step.eq(Mux(self.take, Mux(step == config.drain_steps - 1, 0, step + 1), step))
        m.d.sync += step.eq(next_step)
        m.submodules.lanes = lanes = Lanes(config)
        m.d.comb += [
            lanes.clear.eq(clear),
            lanes.add.eq(valid[-1]),
            lanes.end.eq(end[-1]),
            Value.cast(lanes.weights).eq(weight_row[:row_bits] if spare else weight_row),
            *self._own(m, extract, lanes, stages),
            lanes.shift.eq(shift[-1]),
            lanes.negative.eq(minus[-1]),
            *([lanes.multiple.eq(factor[-1])] if product_latency(config) else []),
            lanes.step.eq(next_step),
            lanes.turn.eq(self.turn),
            self.drain.eq(lanes.drain),
        ]
        if config.shadows > 1:
            m.submodules.shadows = shadows = Shadows(config.shadows)
            m.d.comb += [
                shadows.captured.eq(lanes.captures),
                shadows.taken.eq(self.take & (step == config.drain_steps - 1)),
                lanes.moves.eq(shadows.moves),
                self.full.eq(shadows.full),
            ]
        else:
            # `full` rises with the capture and falls when the drain begins.
            m.d.sync += self.full.eq(Mux(self.release, 0, self.full) | lanes.captures)
        if not config.watchdog:
            return m
        restart = Signal(reset_less=True)  # the reset comes from far away
        m.d.sync += restart.eq(self.restart)
        return ResetInserter(restart)(m)

    def _loaded(self, m: Module) -> dict[str, Value]:
        """A write of the weight row that the load stream's words make up: they take fewer wires than whole rows."""
        config, port = self.config, self.load
        width = config.lanes * config.weight_bits
        row = Signal(row_words(width) * WORD, name="loaded_row", reset_less=True)
        word, shift = later(m, port.word, config.hops, reset_less=True), later(m, port.shift, config.hops)
        with m.If(shift):
            m.d.sync += row.eq(Cat(row[WORD:], word))
        return {
            "enable": later(m, port.enable, 1 + config.hops),
            "address": later(m, port.address, 1 + config.hops, reset_less=True),
            "data": with_parity(row[:width]) if config.parity else row[:width],
        }

    def _own(self, m: Module, extract: Any, lanes: Any, stages: int) -> list[Any]:
        """What lanes with values of their own are told, as many stages behind the extractor as everything else."""
        if not self.config.depthwise:
            return []
        told = []
        for name in ("own", "digits") if self.config.multiplies else ("own", "digits", "number"):
            value = getattr(extract, name)
            for i in range(1, stages + 1):
                then = Signal.like(value, name=f"{name}{i}", reset_less=True)
                m.d.sync += then.eq(value)
                value = then
            told.append(getattr(lanes, name).eq(value))
        return told


def _check(m: Module, name: str, width: int, row: Value, valid: Value) -> Value:
    m.submodules[f"{name}_parity"] = check = Parity(width)
    m.d.comb += [check.row.eq(row), check.valid.eq(valid)]
    return check.fault


def _register_write(m: Module, port: Any, memory: Any, cycles: int) -> None:
    """Write so many cycles later: the data come from far away, and go on to many block RAMs.

    A layer's last spike word is written one cycle more than `cycles` after its end, and the next layer reads one cycle
    after that at the earliest: its commands are on their way as long.
    """
    m.d.comb += [
        memory.enable.eq(later(m, port.enable, cycles)),
        Cat(memory.address, memory.data).eq(later(m, Cat(port.address, port.data), cycles, reset_less=True)),
    ]
