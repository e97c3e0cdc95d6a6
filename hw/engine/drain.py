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
from ..later import later
from ..loop import add_loop
from ..memory import plain_memory
from ..parity import Parity
from ..program import layer_fields, layout, value_shape
from .bank import shadow_latency

MOST_REGISTERS = 4  # in a row: more would cost more than LUT RAM


def drain_latency(config: EngineConfig) -> int:
    """Cycles from choosing banks to their sum."""
    return 4 + 2 * config.hops + adder_levels(config)


def adder_levels(config: EngineConfig) -> int:
    """Adders in a row, with a register behind each, that bring what banks give at a time together."""
    return config.drain_banks.bit_length() - 1


def reads_early(config: EngineConfig) -> bool:
    """Whether what a bank had added before is read a cycle early: in time, as its next turn is not the next but two."""
    return config.hops > 0 and config.banks // config.drain_banks * config.drain_steps > 3


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

    It takes from `config.drain_banks` banks at a time, D, where a job has as many slices, and from all of the job's
    where it has fewer; they must all be ready.

    Latency: `drain_latency` from the choice of the last slices to their sum. Throughput: F sums a cycle of D banks or
    of one job, so that takes max(slices / D, 1) x L / F cycles (times dest_group_words + 1, where F codes fill several
    words). Back-pressure: none; it waits for banks, nothing waits for it but they.

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
        ways, levels = config.drain_banks, adder_levels(config)
        bank = Signal(range(max(2, config.banks)))
        turn = Signal(config.banks, init=1)  # the same, one bit per bank
        step = Signal(range(max(2, steps)))
        take = Signal()
        free = Signal(init=1)  # the pause after a step is over
        loop_steps = add_loop(m, "steps", limit=Const(steps - 1, 8), advance=take, restart=self.start)
        slice_advances = take & loop_steps.last
        loop_slices = add_loop(
            m, "slices", limit=layer.slices >> levels if levels else layer.slices, advance=slice_advances,
            restart=self.start,
        )  # fmt: skip
        release_now = step == release_step(config)
        if group_parts(config) > 1:
            release_now = Mux(layer.dest_group_words == 0, release_now, loop_steps.last)
        taken = Signal(config.banks)
        full = self._full(m, taken, loop_steps.last)
        if ways == 1:
            m.d.comb += [
                taken.eq(Mux(free, turn & (full | (~loop_steps.first).replicate(config.banks)), 0)),
                take.eq(taken.any()),
            ]
        else:
            m.d.comb += [
                take.eq(free & ((full | ~turn).all() | ~loop_steps.first)),
                taken.eq(Mux(take, turn, 0)),
            ]
        hops = config.hops
        told = later(m, Cat(taken, turn, Mux(release_now, taken, 0)), hops)
        m.d.comb += Cat(self.take, self.turn, self.release).eq(told)
        if group_parts(config) > 1:
            pause = Signal(range(group_parts(config)))  # cycles until the next step, less one
            m.d.sync += [pause.eq(pause - 1), free.eq(free | (pause == 0))]
            with m.If(take):
                m.d.sync += [pause.eq(layer.dest_group_words - 1), free.eq(layer.dest_group_words == 0)]
        with m.If(take):
            m.d.sync += step.eq(step + 1)
            with m.If(loop_steps.last):
                m.d.sync += [step.eq(0), *self._next_banks(bank, turn)]
        with m.If(self.start):
            # With fewer slices than it takes at a time, those of one job.
            m.d.sync += [bank.eq(0), turn.eq(Cat(1, *(layer.slices >= way for way in range(1, ways))))]

        # One register behind the banks' own choice of lanes, one behind the choice of the bank.
        group = bank[levels:] if config.banks > ways else Const(0, 1)
        entry = data.StructLayout(
            {"bank": len(group), "step": len(step), "first": 1, "last": 1, "step_last": 1,
             **({"ways": ways} if levels else {}), "tag": tag}
        )  # fmt: skip
        there = range(1, 4 + levels)
        valids = [Signal(name=f"valid{i}") for i in (*there, 4 + levels)]
        entries = [Signal(entry, name=f"entry{i}", reset_less=True) for i in (*there, 4 + levels)]
        m.d.sync += [valids[0].eq(later(m, take, 2 * hops)), *(valids[i].eq(valids[i - 1]) for i in there)]
        m.d.sync += [entries[i].eq(entries[i - 1]) for i in there]
        loops = Cat(group, step, loop_slices.first, loop_slices.last, loop_steps.last)
        if levels:
            loops = Cat(loops, *(turn[way::ways].any() for way in range(ways)))
        arriving = later(m, loops, 2 * hops)
        m.d.sync += Value.cast(entries[0])[: len(loops)].eq(arriving)
        # Many banks lie far apart, and what was drained before waits in a block RAM: it is read a cycle early.
        where = data.StructLayout({name: entry[name].shape for name in ("bank", "step")})
        early = data.View(where, arriving[: where.size]) if reads_early(config) else None
        row, channel = Signal(config.channel_addr_bits), Signal(config.channel_addr_bits)
        job_ended, place_ended = Signal(), Signal()
        m.d.sync += job_ended.eq(later(m, slice_advances & loop_slices.last, 2 * hops))
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
        differences = [self._difference(m, way, entries, valids, early) for way in range(ways)]
        for level in range(levels):
            pairs = zip(differences[::2], differences[1::2], strict=True)
            differences = [self._added(m, f"added{level}_{i}", *pair) for i, pair in enumerate(pairs)]
        (difference,) = differences

        # Biases and shifts arrive together with the difference; block RAM is slow, so a register follows it at once.
        row_bits = config.channel_bits * config.fire_lanes
        m.submodules.channel_memory = channels = plain_memory(config.stored_bits(row_bits), config.channel_depth)
        if config.loadable:
            load = channels.write_port()
            m.d.comb += [load.en.eq(self.load.enable), load.addr.eq(self.load.address), load.data.eq(self.load.data)]
        read_channel = channels.read_port()
        m.d.comb += read_channel.addr.eq(later(m, channel + entries[0].step, levels, reset_less=True))
        parameters = Signal(data.ArrayLayout(channel_layout(config), config.fire_lanes), reset_less=True)
        m.d.sync += Value.cast(parameters).eq(read_channel.data)
        if config.parity:
            m.submodules.channel_parity = check = Parity(row_bits)
            there_now = valids[1 + levels]
            m.d.comb += [check.row.eq(read_channel.data), check.valid.eq(there_now), self.fault.eq(check.fault)]

        lanes = data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)
        total = Signal(lanes)
        now, valid = entries[2 + levels], valids[2 + levels]
        so_far = data.View(lanes, self._partial(m, total, entries[1 + levels], now, valid))
        sums = Signal(lanes, reset_less=True)
        shifts = Signal(self.shift.shape(), reset_less=True)
        for f in range(config.fire_lanes):
            start = Mux(now.first, parameters[f].bias, so_far[f])
            m.d.comb += total[f].eq(start + difference[f])
            m.d.sync += shifts[f].eq(parameters[f].shift)
        m.d.sync += sums.eq(total)
        m.d.comb += [
            self.valid.eq(valids[-1] & entries[-1].last),
            Value.cast(self.sums).eq(sums),
            self.shift.eq(shifts),
            self.tag.eq(entries[-1].tag),
        ]
        return m

    def _full(self, m: Module, taken: Value, last: Value) -> Value:
        """Which banks' next sums wait, as far as the middle knows.

        Where a bank's turn may come again before it is known that its sums have been taken, they are hidden so long.
        """
        config = self.config
        full = later(m, self.full, config.more_hops)
        way = config.hops + config.more_hops  # cycles for which a bank that has been taken still seems full
        again = (config.banks // config.drain_banks - 1) * config.drain_steps + 1  # from a last step to the next first
        hidden = Mux(last, taken, 0)
        for _ in range(way if again <= way else 0):
            hidden = later(m, hidden, 1)
            full = full & ~hidden
        return full

    def _next_banks(self, bank: Signal, turn: Signal) -> list[Any]:
        """The next slices' banks have their turn: as many as are taken at a time."""
        config = self.config
        if config.drain_banks == 1:
            return [bank.eq(bank + 1 if config.banks > 1 else 0), turn.eq(turn.rotate_left(1))]
        numbers = [1 << i for i in range(config.drain_banks.bit_length())]
        turned: Value = turn.rotate_left(numbers[-1])
        number: Value = Const(numbers[-1], len(bank) + 1)
        for fewer in reversed(numbers[:-1]):
            few = self.layer.slices < 2 * fewer - 1
            turned, number = Mux(few, turn.rotate_left(fewer), turned), Mux(few, fewer, number)
        return [bank.eq(bank + number), turn.eq(turned)]

    def _difference(self, m: Module, way: int, entries: Any, valids: Any, early: Any) -> Any:
        """What the banks way, way + D .. have added since they were drained before; 0 where none of them has its turn.
        Valid with the third entry. early: where the first one will be, or None.
        """
        config = self.config
        steps, hops, ways = config.drain_steps, config.hops, config.drain_banks
        suffix = str(way) if ways > 1 else ""
        width = config.acc_bits * config.fire_lanes
        shown = Signal(width, name=f"shown{suffix}", reset_less=True)
        banks = [self.banks[b] for b in range(way, config.banks, ways)]
        arrived = [Value.cast(bank) for bank in banks]
        for hop in range(hops):  # from the second on, two banks' ways are one
            if hop:
                arrived = [functools.reduce(operator.or_, arrived[i : i + 2]) for i in range(0, len(arrived), 2)]
            arrived = [later(m, bank, 1, reset_less=True) for bank in arrived]
        m.d.sync += shown.eq(functools.reduce(operator.or_, arrived))

        # What the bank had added before this job; nothing, the first time after a reset.
        previous = plain_memory(width, config.banks // ways * steps)
        m.submodules[f"previous_memory{suffix}"] = previous
        read, write = previous.read_port(), previous.write_port()
        seen = Signal(config.banks // ways, name=f"seen{suffix}")

        def place(e: Any) -> Value:
            return e.bank * steps + e.step if steps & (steps - 1) else (e.bank << (steps.bit_length() - 1)) | e.step

        def mine(e: Any) -> Value:
            return e.ways[way] if ways > 1 else Const(1)

        taken = valids[1] & mine(entries[1]) if ways > 1 else valids[1]
        m.d.comb += [
            read.addr.eq(place(entries[0] if early is None else early)),
            write.addr.eq(place(entries[1])),
            write.data.eq(shown),
            write.en.eq(taken),
        ]
        known = Signal(name=f"known{suffix}")
        before_now = (seen >> entries[0].bank)[0]
        m.d.sync += known.eq(before_now & mine(entries[0]) if ways > 1 else before_now)
        last = valids[0] & entries[0].step_last  # known from the next step on, which may be of the same bank
        with m.If(last & mine(entries[0]) if ways > 1 else last):
            m.d.sync += seen.bit_select(entries[0].bank, 1).eq(1)
        lanes = data.ArrayLayout(unsigned(config.acc_bits), config.fire_lanes)
        drained = read.data if early is None else later(m, read.data, 1, reset_less=True)
        before, current = data.View(lanes, drained), data.View(lanes, shown)
        difference = Signal(lanes, name=f"difference{suffix}", reset_less=True)
        for f in range(config.fire_lanes):
            m.d.sync += difference[f].eq(current[f] - Mux(known, before[f], 0))
        return difference

    def _added(self, m: Module, name: str, left: Any, right: Any) -> Any:
        """Sums of two rows of lanes, a cycle later."""
        added = Signal(left.shape(), name=name, reset_less=True)
        for f in range(self.config.fire_lanes):
            m.d.sync += added[f].eq(left[f] + right[f])
        return added

    def _partial(self, m: Module, total: Any, before: Any, now: Any, valid: Value) -> Value:
        """What the slices before have added up to in the step of the entry `now`, given its total with these slices;
        before: the entry after it."""
        steps, total = self.config.drain_steps, Value.cast(total)
        if steps <= MOST_REGISTERS:
            # Steps come in turns, so what comes out of a row of registers is the sum of the same step before.
            line = [Signal(len(total), name=f"partial{i}", reset_less=True) for i in range(steps)]
            with m.If(valid):
                m.d.sync += [after.eq(before) for before, after in itertools.pairwise([total, *line])]
            return line[-1]
        m.submodules.partial_memory = partial = plain_memory(len(total), steps)
        read, write = partial.read_port(domain="comb"), partial.write_port()
        m.d.comb += [read.addr.eq(before.step), write.addr.eq(now.step), write.data.eq(total)]
        m.d.comb += write.en.eq(valid)
        return later(m, read.data, 1, reset_less=True)  # a cycle early: not too early for what has been written
