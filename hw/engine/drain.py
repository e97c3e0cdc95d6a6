# SPDX-License-Identifier: Apache-2.0
"""Drain: collects finished jobs from the banks in job order and adds up the slices of each."""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...model.network.codes import MAX_FIELD
from ..config import EngineConfig
from ..loop import add_loop
from ..memory import plain_memory
from ..parity import Parity
from ..program import layer_fields, layout, value_shape
from .bank import shadow_latency

MOST_REGISTERS = 4  # in a row: more would cost more than LUT RAM


def drain_latency(config: EngineConfig) -> int:
    """Cycles from choosing a bank to its sum."""
    return 4 + 2 * config.hops


def tag_layout(config: EngineConfig) -> data.StructLayout:
    """Where a row of F channels stands in its layer."""
    return data.StructLayout(
        {
            "row": config.channel_addr_bits,  # row of F channels in the pixel
            "first": 1,  # first place of the pooling window
            "last": 1,  # last place of the window
            "row_last": 1,  # last row of the pixel
            "layer_last": 1,  # last row of the layer
        }
    )


def channel_layout(config: EngineConfig) -> data.StructLayout:
    """One channel's parameters."""
    return data.StructLayout({"bias": signed(config.acc_bits), "shift": config.shift_bits})


def code_width(config: EngineConfig) -> int:
    """Bits of the widest field a value is written in; of what may be negative, without its sign beyond the field."""
    return config.code_bits if config.code == "radix" else min(MAX_FIELD, config.word_bits, config.max_code)


def code_shape(config: EngineConfig) -> Shape:
    """Of a value on its way into its field."""
    return value_shape(config) if config.signed_values else unsigned(code_width(config))


def group_parts(config: EngineConfig) -> int:
    """Most words that F codes can fill."""
    field = 1 << (code_width(config) - 1).bit_length()
    return max(1, config.fire_lanes * field // config.word_bits)


def release_step(config: EngineConfig) -> int:
    """The step at which a bank may end its next job: that job's sums come `shadow_latency` cycles later."""
    return max(0, config.drain_steps - shadow_latency(config))


class Drain(wiring.Component):
    """Reads the banks' shadow sets in job order, F lanes a cycle, and gives complete sums.

    sum = bias + sum over the slices' banks of (shadow - previous shadow of that bank), modulo 2**acc_bits

    Latency: `drain_latency` from the choice of the last slice to its sum. Throughput: F sums of one bank a cycle, so a
    job takes slices x L / F cycles (times dest_group_words + 1, where F codes fill several words). Back-pressure:
    none; it waits for banks, nothing waits for it but they.

    Golden function: `onespike.model.machine.drain.drain`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    layer : In the current layer's record.
    start : In(1) the layer begins.
    full, take, turn, release : In, Out, Out, Out, one bit per bank, see Bank.
    banks : In(B x F x acc_bits) what they show: 0, but for one.
    load : In write port of the channel memory (only if `config.loadable`).
    valid, sums, shift, tag : Out F sums [signed], their channels' shifts, their place.
    fault : Out(1) a row of the channel memory had a wrong parity (only if `config.parity`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        row = data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)
        members: dict[str, Any] = {
            "layer": In(layout(layer_fields(config))),
            "start": In(1),
            "full": In(config.banks),
            "take": Out(config.banks),
            "turn": Out(config.banks),
            "release": Out(config.banks),
            "banks": In(data.ArrayLayout(row, config.banks)),
            "valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(config.acc_bits), config.fire_lanes)),
            "shift": Out(data.ArrayLayout(unsigned(config.shift_bits), config.fire_lanes)),
            "tag": Out(tag_layout(config)),
        }
        if config.loadable:
            bits = config.stored_bits(config.channel_bits * config.fire_lanes)
            members["load"] = In(
                wiring.Signature({"enable": Out(1), "address": Out(config.channel_addr_bits), "data": Out(bits)})
            )
        if config.parity:
            members["fault"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        steps = config.drain_steps
        tag = tag_layout(config)

        # The order of jobs: pixels, places of the window, output blocks; in each job its slices, in each the steps. The
        # loops are an odometer with registers between its digits: steps and slices turn as the bank is chosen, the
        # blocks one cycle later, window and pixels another one. After a layer's last job all stand at their start.
        bank = Signal(range(max(2, config.banks)))
        turn = Signal(config.banks, init=1)  # the same, one bit per bank
        step = Signal(range(max(2, steps)))
        take = Signal()
        free = Signal(init=1)  # the pause after a step is over
        loop_steps = add_loop(m, "steps", limit=Const(steps - 1, 8), advance=take, restart=self.start)
        slice_advances = take & loop_steps.last
        loop_slices = add_loop(m, "slices", limit=layer.slices, advance=slice_advances, restart=self.start)
        release_now = step == release_step(config)
        if group_parts(config) > 1:
            release_now = Mux(layer.dest_group_words == 0, release_now, loop_steps.last)
        taken = Signal(config.banks)
        m.d.comb += [
            taken.eq(Mux(free, turn & (self.full | (~loop_steps.first).replicate(config.banks)), 0)),
            take.eq(taken.any()),
        ]
        hops = config.hops
        to_banks = m.d.sync if hops else m.d.comb
        to_banks += [self.take.eq(taken), self.turn.eq(turn), self.release.eq(Mux(release_now, taken, 0))]
        if group_parts(config) > 1:
            pause = Signal(range(group_parts(config)))  # cycles until the next step, less one
            m.d.sync += [pause.eq(pause - 1), free.eq(free | (pause == 0))]
            with m.If(take):
                m.d.sync += [pause.eq(layer.dest_group_words - 1), free.eq(layer.dest_group_words == 0)]
        with m.If(take):
            m.d.sync += step.eq(step + 1)
            with m.If(loop_steps.last):
                m.d.sync += [step.eq(0), bank.eq(bank + 1 if config.banks > 1 else 0), turn.eq(turn.rotate_left(1))]
        with m.If(self.start):
            m.d.sync += [bank.eq(0), turn.eq(1)]

        # One register behind the banks' own choice of lanes, one behind the choice of the bank.
        entry = data.StructLayout(
            {"bank": len(bank), "step": len(step), "first": 1, "last": 1, "step_last": 1, "tag": tag}
        )
        valids = [Signal(name=f"valid{i}") for i in range(1, 5)]
        entries = [Signal(entry, name=f"entry{i}", reset_less=True) for i in range(1, 5)]
        m.d.sync += [valids[0].eq(_later(m, take, 2 * hops)), *(valids[i].eq(valids[i - 1]) for i in range(1, 4))]
        m.d.sync += [entries[i].eq(entries[i - 1]) for i in range(1, 4)]
        loops = Cat(bank, step, loop_slices.first, loop_slices.last, loop_steps.last)
        m.d.sync += Value.cast(entries[0])[: len(loops)].eq(_later(m, loops, 2 * hops))
        row, channel = Signal(config.channel_addr_bits), Signal(config.channel_addr_bits)
        job_ended, place_ended = Signal(), Signal()
        m.d.sync += job_ended.eq(_later(m, slice_advances & loop_slices.last, 2 * hops))
        loop_blocks = add_loop(
            m, "blocks", limit=layer.blocks[: len(row)], advance=job_ended, restart=self.start
        )  # fmt: skip
        with m.If(job_ended):
            m.d.sync += [row.eq(row + steps), channel.eq(channel + steps)]
        with m.If(self.start | (job_ended & loop_blocks.last)):
            m.d.sync += [row.eq(0), channel.eq(layer.channel_base)]
        m.d.sync += [
            entries[1].tag.row.eq(row + entries[0].step),
            entries[1].tag.row_last.eq(loop_blocks.last & entries[0].step_last),
            place_ended.eq(job_ended & loop_blocks.last),
        ]
        loop_window = add_loop(m, "window", limit=layer.window, advance=place_ended, restart=self.start)
        loop_pixels = add_loop(
            m, "pixels", limit=layer.pixels, advance=place_ended & loop_window.last, restart=self.start
        )  # fmt: skip
        m.d.sync += [
            entries[2].tag.first.eq(loop_window.first),
            entries[2].tag.last.eq(loop_window.last),
            entries[2].tag.layer_last.eq(
                entries[1].tag.row_last & entries[1].last & loop_window.last & loop_pixels.last
            ),
        ]
        width = config.acc_bits * config.fire_lanes
        shown = Signal(width, reset_less=True)
        arrived = [_later(m, Value.cast(self.banks[b]), hops, reset_less=True) for b in range(config.banks)]
        m.d.sync += shown.eq(functools.reduce(operator.or_, arrived))

        # What the bank had added before this job; nothing, the first time after a reset.
        m.submodules.previous_memory = previous = plain_memory(width, config.banks * steps)
        read, write = previous.read_port(), previous.write_port()
        seen = Signal(config.banks)

        def place(e: Any) -> Value:
            return e.bank * steps + e.step if steps & (steps - 1) else (e.bank << (steps.bit_length() - 1)) | e.step

        m.d.comb += [
            read.addr.eq(place(entries[0])),
            write.addr.eq(place(entries[1])),
            write.data.eq(shown),
            write.en.eq(valids[1]),
        ]
        known = Signal()
        m.d.sync += known.eq((seen >> entries[0].bank)[0])
        with m.If(valids[1] & entries[1].step_last):
            m.d.sync += seen.bit_select(entries[1].bank, 1).eq(1)

        # Biases and shifts arrive together with the difference; block RAM is slow, so a register follows it at once.
        row_bits = config.channel_bits * config.fire_lanes
        m.submodules.channel_memory = channels = plain_memory(config.stored_bits(row_bits), config.channel_depth)
        if config.loadable:
            load = channels.write_port()
            m.d.comb += [load.en.eq(self.load.enable), load.addr.eq(self.load.address), load.data.eq(self.load.data)]
        read_channel = channels.read_port()
        m.d.comb += read_channel.addr.eq(channel + entries[0].step)
        parameters = Signal(data.ArrayLayout(channel_layout(config), config.fire_lanes), reset_less=True)
        m.d.sync += Value.cast(parameters).eq(read_channel.data)
        if config.parity:
            m.submodules.channel_parity = check = Parity(row_bits)
            m.d.comb += [check.row.eq(read_channel.data), check.valid.eq(valids[1]), self.fault.eq(check.fault)]

        lanes = data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)
        before = data.View(lanes, read.data)
        current = data.View(lanes, shown)
        difference = Signal(lanes, reset_less=True)
        total = Signal(lanes)
        so_far = data.View(lanes, self._partial(m, total, entries, valids))
        sums = Signal(lanes, reset_less=True)
        shifts = Signal(self.shift.shape(), reset_less=True)
        for f in range(config.fire_lanes):
            m.d.sync += difference[f].eq(current[f] - Mux(known, before[f], 0))
            start = Mux(entries[2].first, parameters[f].bias, so_far[f])
            m.d.comb += total[f].eq(start + difference[f])
            m.d.sync += shifts[f].eq(parameters[f].shift)
        m.d.sync += sums.eq(total)
        m.d.comb += [
            self.valid.eq(valids[3] & entries[3].last),
            Value.cast(self.sums).eq(sums),
            self.shift.eq(shifts),
            self.tag.eq(entries[3].tag),
        ]
        return m

    def _partial(self, m: Module, total: Any, entries: Any, valids: Any) -> Value:
        """What the slices before have added up to in the third entry's step, given its total with this slice."""
        steps, total = self.config.drain_steps, Value.cast(total)
        if steps <= MOST_REGISTERS:
            # Steps come in turns, so what comes out of a row of registers is the sum of the same step before.
            line = [Signal(len(total), name=f"partial{i}", reset_less=True) for i in range(steps)]
            with m.If(valids[2]):
                m.d.sync += [after.eq(before) for before, after in itertools.pairwise([total, *line])]
            return line[-1]
        m.submodules.partial_memory = partial = plain_memory(len(total), steps)
        read, write = partial.read_port(domain="comb"), partial.write_port()
        m.d.comb += [read.addr.eq(entries[1].step), write.addr.eq(entries[2].step), write.data.eq(total)]
        m.d.comb += write.en.eq(valids[2])
        return _later(m, read.data, 1, reset_less=True)  # a cycle early: not too early for what has been written


def _later(m: Module, value: Value, cycles: int, *, reset_less: bool = False) -> Value:
    """The value, so many cycles later."""
    for _ in range(cycles):
        held = Signal(len(value), name="later", reset_less=reset_less)
        m.d.sync += held.eq(value)
        value = held
    return value
