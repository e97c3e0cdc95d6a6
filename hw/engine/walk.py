# SPDX-License-Identifier: Apache-2.0
"""Walk: from the record of a layer to the commands of its jobs, while the layer before it still runs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..later import later
from ..loop import add_loop
from ..memory import plain_memory
from ..parity import Parity
from ..program import ends_image, header_fields, layer_layout, layout
from ..queue import Queue
from .fetch import command_layout, segment_bits

DISPATCH_DEPTH = 16  # commands between the walk and the banks' queues: what one LUT RAM holds
UNCOUNTED = 5  # commands that may be on their way before the count of those in the pipeline and the queue knows them


def row_entry(config: EngineConfig) -> data.StructLayout:
    """Row table: where the taps of one output row begin, and how many tap rows lie inside the map - 1."""
    return data.StructLayout({"offset": config.spike_addr_bits, "weight": config.row_addr_bits, "rows": 8})


def column_entry(config: EngineConfig) -> data.StructLayout:
    """Column table: where the taps of one output column begin, and how many spike words one tap row has - 1."""
    return data.StructLayout(
        {"offset": config.spike_addr_bits, "weight": config.row_addr_bits, "run": config.spike_addr_bits}
    )


class Walk(wiring.Component):
    """Walks pooled pixels, places of the pooling window, output blocks and sources of a layer, with adders only.

    Job j of a layer goes to group j mod (banks / slices); a group's banks get the same commands. What depends on the
    position (padding, stride, the window) comes from a row and a column table, so that the walk itself is regular.

    The loops are an odometer with registers between its digits: sources and blocks turn in the first stage, the window
    in the second, the map in the third, each with the command that it belongs to. The walk of a layer may begin as soon
    as that of the layer before has ended; its first commands wait in the queue until the layer begins.

    Latency: none from `begin` to the first command, if `primed`. Throughput: one command a cycle. Back-pressure: waits
    for the queues of the next group's banks.

    Golden function: `onespike.model.machine.walk.walk`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    header : In the header record.
    record, valid, taken : In, In, Out the next layer's record; it is taken as soon as the walk is free.
    plan : Out the record of the layer that is walked.
    primed : Out(1) the first command of the layer that has not begun waits.
    begin : In(1) this layer begins in the next cycle.
    commands : Out(stream) per bank; as an exception to the rule of streams, valid waits for all of the group's readies,
        and comes `config.hops` cycles after them.
    load_rows, load_columns : In write ports of the tables (only if `config.loadable`).
    row_fault, column_fault : Out(1) an entry had a wrong parity (only if `config.parity`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        record = layer_layout(config)
        members: dict[str, Any] = {
            "header": In(layout(header_fields(config))),
            "record": In(record),
            "valid": In(1),
            "taken": Out(1),
            "plan": Out(record),
            "primed": Out(1),
            "begin": In(1),
            "commands": Out(stream.Signature(command_layout(config))).array(config.banks),
        }
        if config.loadable:
            for name, entry in (("load_rows", row_entry(config)), ("load_columns", column_entry(config))):
                data_bits = config.stored_bits(entry.size)
                port = {"enable": Out(1), "address": Out(config.walk_addr_bits), "data": Out(data_bits)}
                members[name] = In(wiring.Signature(port))
        if config.parity:
            members |= {"row_fault": Out(1), "column_fault": Out(1)}
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config = self.config
        plan = Signal(layer_layout(config), reset_less=True)
        layer, segments = plan.layer, plan.segment
        m.d.comb += self.plan.eq(plan)

        # One layer at a time: take its record, start the loops, walk; the next one when it has begun.
        waits = Signal()  # the layer has not begun
        restart, live, finish = Signal(), Signal(), Signal()
        of_plan, of_now = Signal(), Signal()  # layers alternate: tells the commands of the next from those of this one
        next_buffer, buffer = Signal(), Signal()  # which image buffer the next layer, this one reads
        m.d.sync += restart.eq(self.taken)
        with m.If(self.taken):
            m.d.sync += [Value.cast(plan).eq(self.record), waits.eq(1), of_plan.eq(~of_plan), buffer.eq(next_buffer)]
            with m.If(ends_image(self.record.layer, config.streams_weights) & self.header.image_double):
                m.d.sync += next_buffer.eq(~next_buffer)
        with m.If(self.begin):
            m.d.sync += [waits.eq(0), of_now.eq(~of_now)]

        # First stage: sources and blocks; the banks and the weights of a job. The only one that stops.
        go = Signal(init=1)
        segment = Signal(segment_bits(config))
        bank = Signal(range(max(2, config.banks)))
        issue, job_ends, place_ends = Signal(), Signal(), Signal()
        loop_segments = add_loop(m, "segments", limit=layer.segments, advance=issue, restart=restart)
        loop_blocks = add_loop(m, "blocks", limit=layer.blocks, advance=issue & job_ends, restart=restart)
        loop_sub = add_loop(m, "sub", limit=layer.block_period, advance=issue & job_ends, restart=restart)
        block_weight = [
            Signal(config.row_addr_bits, name=f"block_weight{s}", reset_less=True) for s in range(config.segments)
        ]
        block_base = [source.base for source in segments]  # where the words begin that the block reads
        m.d.comb += [
            issue.eq(live & go),
            job_ends.eq(loop_segments.last),
            place_ends.eq(loop_segments.last & loop_blocks.last),
        ]
        with m.If(issue):
            m.d.sync += segment.eq(segment + 1)
            with m.If(job_ends):
                m.d.sync += segment.eq(0)
                if config.banks > 1:
                    m.d.sync += bank.eq(bank + layer.slices + 1)
        for s, weight in enumerate(block_weight):
            with m.If(restart | (issue & place_ends)):
                m.d.sync += weight.eq(segments[s].weight_base)
            with m.Elif(issue & job_ends & loop_sub.last):
                m.d.sync += weight.eq(weight + segments[s].block_stride)
        if config.row_masks:
            run_ends = add_loop(m, "block_run", limit=layer.block_run, advance=issue & job_ends, restart=restart).last
            block_base = [Signal(config.spike_addr_bits, name=f"block_base{s}") for s in range(config.segments)]
            for base, source in zip(block_base, segments, strict=True):
                with m.If(restart | (issue & place_ends)):
                    m.d.sync += base.eq(source.base)
                with m.Elif(issue & job_ends & run_ends):
                    m.d.sync += base.eq(base + source.block_words)
        with m.If(restart):
            m.d.sync += [live.eq(1), segment.eq(0), bank.eq(0)]
        with m.If(finish):
            m.d.sync += live.eq(0)

        # What goes along with a command, from stage to stage. While a stage looks at the plan, it must not change.
        tag = data.StructLayout(
            {
                "of": 1, "banks": config.banks, "segment": len(segment), "last": 1, "block": len(block_weight[0]),
                **({"base": config.spike_addr_bits} if config.row_masks else {}),
            }
        )  # fmt: skip
        valid = [Signal(name=f"valid{i}") for i in range(1, 8)]
        tags = [Signal(tag, name=f"tag{i}", reset_less=True) for i in range(1, 8)]
        m.d.sync += self.taken.eq(self.valid & ~self.taken & ~waits & ~live & ~restart & ~Cat(valid[:5]).any())
        m.d.sync += [valid[i].eq(valid[i - 1]) for i in range(1, 7)]
        m.d.sync += [tags[i].eq(tags[i - 1]) for i in range(1, 7)]
        m.d.sync += [
            valid[0].eq(issue),
            tags[0].of.eq(of_plan),
            tags[0].banks.eq(group_mask(config.banks, bank, layer.slices)),
            tags[0].segment.eq(segment),
            tags[0].last.eq(job_ends),
            tags[0].block.eq(_select(block_weight, segment)),
            *([tags[0].base.eq(_select(block_base, segment))] if config.row_masks else []),
        ]

        # Second stage: the pooling window.
        place_ended = Signal()  # the command in this stage is the last of its place
        m.d.sync += place_ended.eq(issue & place_ends)
        loop_dx = add_loop(m, "window_columns", limit=layer.window_columns, advance=place_ended, restart=restart)
        row_of_window_ends = place_ended & loop_dx.last
        loop_dy = add_loop(m, "window_rows", limit=layer.window_rows, advance=row_of_window_ends, restart=restart)
        step, step_row, step_pixel = Signal(), Signal(), Signal()
        m.d.sync += [
            step.eq(place_ended),
            step_row.eq(row_of_window_ends),
            step_pixel.eq(row_of_window_ends & loop_dy.last),
        ]

        # Third stage: the map. The last command of all ends the walk; what the stages before hold by then is nothing.
        row, row_start = Signal(config.walk_addr_bits), Signal(config.walk_addr_bits)
        column, column_start = Signal(config.walk_addr_bits), Signal(config.walk_addr_bits)
        loop_x = add_loop(m, "columns", limit=layer.columns, advance=step_pixel, restart=restart)
        loop_y = add_loop(m, "rows", limit=layer.rows, advance=step_pixel & loop_x.last, restart=restart)
        m.d.comb += finish.eq(step_pixel & loop_x.last & loop_y.last)
        with m.If(step):
            # Next place of the window, else next pooled column, else next pooled row.
            m.d.sync += column.eq(column + 1)
            with m.If(step_row):
                m.d.sync += [column.eq(column_start), row.eq(row + 1)]
            with m.If(step_pixel):
                m.d.sync += [row.eq(row_start), column.eq(column + 1), column_start.eq(column + 1)]
                with m.If(loop_x.last):
                    m.d.sync += [column.eq(0), column_start.eq(0), row.eq(row + 1), row_start.eq(row + 1)]
        with m.If(restart):
            m.d.sync += [counter.eq(0) for counter in (row, row_start, column, column_start)]
        with m.If(finish):
            m.d.sync += [flag.eq(0) for flag in (*valid[:2], place_ended, step, step_row, step_pixel)]

        # Then the tables' addresses; their entries, twice registered; two additions, and two more.
        row_address, row_found = self._table(m, "row", row_entry(config), valid[3])
        column_address, column_found = self._table(m, "column", column_entry(config), valid[3])
        row_data = Signal(row_entry(config), reset_less=True)
        column_data = Signal(column_entry(config), reset_less=True)
        offset = Signal(config.spike_addr_bits, reset_less=True)
        base = Signal(config.spike_addr_bits, reset_less=True)
        weight = Signal(config.row_addr_bits, reset_less=True)
        tap_rows, run = Signal(8, reset_less=True), Signal(config.spike_addr_bits, reset_less=True)
        command = Signal(command_layout(config), reset_less=True)
        source, source5 = segments[tags[1].segment], segments[tags[4].segment]
        m.d.sync += [
            row_address.eq(source.row_base + row),
            column_address.eq(source.column_base + column),
            Value.cast(row_data).eq(row_found),
            Value.cast(column_data).eq(column_found),
            offset.eq(row_data.offset + column_data.offset),
            base.eq(
                (tags[4].base if config.row_masks else source5.base)
                + Mux(source5.image & buffer, self.header.image_stride, 0)
            ),
            weight.eq(row_data.weight + column_data.weight),
            tap_rows.eq(row_data.rows),
            run.eq(column_data.run),
            command.address.eq(offset + base),
            command.weight.eq(weight + tags[5].block),
            command.run.eq(run),
            command.rows.eq(tap_rows),
            command.segment.eq(tags[5].segment),
            command.last.eq(tags[5].last),
        ]

        # A queue keeps the banks' readiness out of the walk: the first stage goes on while there is room for all that
        # may be on its way, and so many commands wait meanwhile that none is missed.
        entry = data.StructLayout({"of": 1, "banks": config.banks, "command": command.shape()})
        m.submodules.dispatch = dispatch = Queue(width=entry.size, depth=DISPATCH_DEPTH)
        count = Signal(range(DISPATCH_DEPTH + 1))  # commands behind the third stage and in the queue
        leaves = Signal()
        m.d.comb += [dispatch.w_data.eq(Cat(tags[6].of, tags[6].banks, command)), dispatch.w_en.eq(valid[6])]
        m.d.sync += [count.eq(count + valid[2] - leaves), go.eq(count <= DISPATCH_DEPTH - UNCOUNTED)]

        # A command goes to all banks of its group at once, when its layer has begun.
        head, offered = Signal(entry, reset_less=True), Signal()
        ready = later(m, Cat(port.ready for port in self.commands), self.config.more_hops)
        all_ready, starts = Signal(), Signal()
        m.d.comb += [
            dispatch.r_en.eq(~offered | starts),
            leaves.eq(dispatch.r_en & dispatch.r_rdy),
            self.primed.eq(offered & (head.of != of_now)),
            all_ready.eq((~head.banks | ready).all()),
            starts.eq(offered & (head.of == of_now) & all_ready),
        ]
        with m.If(dispatch.r_en):
            m.d.sync += [offered.eq(dispatch.r_rdy), Value.cast(head).eq(dispatch.r_data)]
        payload = Signal(head.command.shape(), reset_less=True)
        to_banks = m.d.sync if self.config.hops else m.d.comb
        to_banks += payload.eq(head.command)
        for b, port in enumerate(self.commands):
            to_banks += port.valid.eq(starts & head.banks[b])
            m.d.comb += port.payload.eq(payload)
        return m

    def _table(self, m: Module, name: str, entry: data.StructLayout, valid: Value) -> tuple[Signal, Value]:
        """The address register of a table, and the entry it names, one cycle later; valid: it is that of a command."""
        memory = plain_memory(self.config.stored_bits(entry.size), self.config.walk_depth)
        m.submodules[f"{name}_memory"] = memory
        if self.config.loadable:
            port, write = getattr(self, f"load_{name}s"), memory.write_port()
            m.d.comb += [write.en.eq(port.enable), write.addr.eq(port.address), write.data.eq(port.data)]
        read = memory.read_port()
        address = Signal(self.config.walk_addr_bits, name=f"{name}_address", reset_less=True)
        m.d.comb += read.addr.eq(address)
        if not self.config.parity:
            return address, read.data
        m.submodules[f"{name}_parity"] = check = Parity(entry.size)
        m.d.comb += [check.row.eq(read.data), check.valid.eq(valid), getattr(self, f"{name}_fault").eq(check.fault)]
        return address, read.data[: entry.size]


def group_mask(banks: int, bank: Value, slices: Value) -> Value:
    """One bit per bank: whether it is in the group of `slices` + 1 banks (a power of two) that begins at `bank`."""
    return Cat(((b ^ bank) & ~slices & (banks - 1)) == 0 for b in range(banks))


def _select(values: list[Signal], index: Value) -> Value:
    result: Value = values[0]
    for i, value in enumerate(values[1:], 1):
        result = Mux(index == i, value, result)
    return result
