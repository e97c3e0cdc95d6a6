# SPDX-License-Identifier: Apache-2.0
"""Sequencer: reads the layer program and hands every job to its banks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .config import EngineConfig
from .fetch import command_layout, segment_bits, stride_layout
from .loop import add_loop
from .memory import plain_memory
from .program import WORD, header_fields, header_words, layer_layout, layer_words, layout

SEQUENCER_LATENCY = 6  # cycles from a layer's first cycle to its first command
DISPATCH_DEPTH = 8  # commands between the walk and the banks' queues


def row_entry(config: EngineConfig) -> data.StructLayout:
    """Row table: where the taps of one output row begin, and how many tap rows lie inside the map - 1."""
    return data.StructLayout({"offset": config.spike_addr_bits, "weight": config.weight_addr_bits, "rows": 8})


def column_entry(config: EngineConfig) -> data.StructLayout:
    """Column table: where the taps of one output column begin, and how many spike words one tap row has - 1."""
    return data.StructLayout(
        {"offset": config.spike_addr_bits, "weight": config.weight_addr_bits, "run": config.spike_addr_bits}
    )


class Sequencer(wiring.Component):
    """Walks layers, pooled pixels, places of the pooling window, output blocks and sources, with adders only.

    Job j of a layer goes to group j mod (banks / slices); a group's banks get the same commands. What depends on the
    position (padding, stride, the window) comes from a row and a column table, so that the walk itself is regular.

    Latency: SEQUENCER_LATENCY from a layer's first cycle to its first command. Throughput: one command a cycle.
    Back-pressure: waits for the queue of the next group's banks. A layer begins in the cycle after `done` of the one
    before it, if its record has been read; the first one also waits for an image, the last one for the logits unit.

    Golden function: `onespike.model.walk.walk`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    enable : In(1) run; while low, the program may be written and the sequencer starts over.
    header : Out the header record, valid when `ready`.
    ready : Out(1) the header has been read.
    layer, strides : Out the current layer's record, and the constants of its sources.
    start : Out(1) first cycle of a layer.
    done : In(1) the layer's last result is being written.
    index : Out number of the current layer.
    busy : Out(1) a layer is running.
    image_available : In(1) a whole image is loaded. image_taken : Out(1) it is not needed any more.
    logits_free : In(1) the logits of the image before have been read.
    weights_ready : In(1) the next layer's weights are complete. starved : Out(1) a layer waits for nothing else.
        (both only if `config.streams_weights`)
    commands : Out(stream) per bank; as an exception to the rule of streams, valid waits for all of the group's readies.
    load : In write ports of the program and the tables (only if `config.loadable`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        record = layer_layout(config.segments, config.streams_weights)
        members: dict[str, Any] = {
            "enable": In(1),
            "header": Out(layout(header_fields(config.streams_weights))),
            "ready": Out(1),
            "layer": Out(record["layer"].shape),
            "strides": Out(data.ArrayLayout(stride_layout(config), config.segments)),
            "start": Out(1),
            "done": In(1),
            "index": Out(8),
            "busy": Out(1),
            "image_available": In(1),
            "image_taken": Out(1),
            "logits_free": In(1),
            "commands": Out(stream.Signature(command_layout(config))).array(config.banks),
        }
        if config.streams_weights:
            members |= {"weights_ready": In(1), "starved": Out(1)}
        if config.loadable:
            for name, address, shape in (
                ("load_program", config.program_addr_bits, WORD),
                ("load_rows", config.walk_addr_bits, row_entry(config).size),
                ("load_columns", config.walk_addr_bits, column_entry(config).size),
            ):
                members[name] = In(wiring.Signature({"enable": Out(1), "address": Out(address), "data": Out(shape)}))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        self._read_program(m)
        self._walk(m)
        return m

    def _memory(self, m: Module, name: str, shape: int, depth: int, load: str) -> Any:
        memory = plain_memory(shape, depth)
        m.submodules[name] = memory
        if self.config.loadable:
            port, write = getattr(self, load), memory.write_port()
            m.d.comb += [write.en.eq(port.enable), write.addr.eq(port.address), write.data.eq(port.data)]
        return memory.read_port()

    def _read_program(self, m: Module) -> None:
        """One record is always read ahead, word by word, while the layer before it runs."""
        config = self.config
        read = self._memory(m, "program_memory", WORD, config.program_depth, "load_program")
        streamed = config.streams_weights
        size, head = layer_words(config.segments, streamed), header_words(streamed)
        record = layer_layout(config.segments, streamed)
        ahead = Signal(size * WORD, reset_less=True)
        header = Signal(head * WORD, reset_less=True)
        self.current = Signal(record, reset_less=True)
        self.ahead = data.View(record, ahead[: record.size])
        self.ahead_ready, self.take = Signal(), Signal()
        count = Signal(range(max(size, head) + 1))
        left = Signal(8)
        arriving = Signal()
        address = Signal(config.program_addr_bits)
        m.d.comb += [read.addr.eq(address), Value.cast(self.header).eq(header)]
        m.d.comb += [self.layer.eq(self.current.layer)]
        m.d.sync += arriving.eq(0)
        with m.If(~self.enable):
            m.d.sync += [self.ready.eq(0), self.ahead_ready.eq(0), address.eq(0), count.eq(head)]
        with m.Else():
            with m.If(count != 0):
                m.d.sync += [count.eq(count - 1), address.eq(address + 1), arriving.eq(1)]
            with m.If(arriving):
                with m.If(~self.ready):
                    m.d.sync += header.eq(Cat(header[WORD:], read.data))
                with m.Else():
                    m.d.sync += ahead.eq(Cat(ahead[WORD:], read.data))
                with m.If(count == 0):
                    with m.If(~self.ready):
                        m.d.sync += [self.ready.eq(1), count.eq(size), left.eq(Cat(header, read.data)[WORD : WORD + 8])]
                    with m.Else():
                        m.d.sync += self.ahead_ready.eq(1)
            with m.If(self.take):
                m.d.sync += [self.current.eq(self.ahead), self.ahead_ready.eq(0), count.eq(size)]
                m.d.sync += [left.eq(left - 1)]
                with m.If(left == 0):
                    m.d.sync += [left.eq(self.header.layers), address.eq(head)]

    def _walk(self, m: Module) -> None:
        config = self.config
        layer, segments = self.current.layer, self.current.segment
        rows = self._memory(m, "row_memory", row_entry(config).size, config.walk_depth, "load_rows")
        columns = self._memory(m, "column_memory", column_entry(config).size, config.walk_depth, "load_columns")

        # Between layers: take the next record as soon as the one before is done and its inputs are there.
        first = Signal(init=1)  # the next layer is the image's first
        may_start = Signal()
        issuing = Signal()
        m.d.comb += [
            may_start.eq(
                self.ahead_ready
                & (~first | self.image_available)
                & (~self.ahead.layer.final | self.logits_free)
                & self.enable
            ),
            self.take.eq(may_start & (~self.busy | self.done)),
            self.image_taken.eq(self.busy & self.done & _ends(config, layer)),
        ]
        if config.streams_weights:
            m.d.comb += self.starved.eq(may_start & (~self.busy | self.done) & ~self.weights_ready & ~self.image_taken)
            with m.If(~self.weights_ready):
                m.d.comb += self.take.eq(0)
        # An image that ends must give way before the next one is looked for.
        with m.If(self.image_taken):
            m.d.comb += self.take.eq(0)
        m.d.sync += self.start.eq(self.take)
        with m.If(self.take):
            m.d.sync += [self.busy.eq(1), issuing.eq(1), first.eq(_ends(config, self.ahead.layer))]
            m.d.sync += self.index.eq(Mux(first, 0, self.index + 1))
        with m.Elif(self.done):
            m.d.sync += self.busy.eq(0)
        buffer = Signal()  # which image buffer is in use
        with m.If(~self.enable):
            m.d.sync += buffer.eq(0)  # as the loader does
        with m.Elif(self.image_taken & self.header.image_double):
            m.d.sync += buffer.eq(~buffer)

        # The walk: loops from the innermost to the outermost; `go` moves the whole pipeline.
        go = Signal(init=1)
        turn: Any = go & issuing
        loops = {}
        for name in ("segments", "blocks", "window_columns", "window_rows", "columns", "rows"):
            limit, next_limit = getattr(layer, name), getattr(self.ahead.layer, name)
            loops[name] = add_loop(m, name, limit=limit, advance=turn, restart=self.take, restart_limit=next_limit)
            ended = Signal(name=f"{name}_ended")
            m.d.comb += ended.eq(turn & loops[name].last)
            turn = ended
            if name == "segments":
                job_ended = ended
            elif name == "blocks":
                place_ended = ended
        with m.If(turn):
            m.d.sync += issuing.eq(0)
        job_ends = loops["segments"].last

        # Per source; per job, its banks and the weights of its block; per place, its rows of the tables.
        segment = Signal(segment_bits(config))
        bank = Signal(range(max(2, config.banks)))
        sub = add_loop(
            m, "sub", limit=layer.block_period, advance=job_ended, restart=self.take,
            restart_limit=self.ahead.layer.block_period,
        )  # fmt: skip
        block_weight = [
            Signal(config.weight_addr_bits, name=f"block_weight{s}", reset_less=True) for s in range(config.segments)
        ]
        with m.If(go & issuing):
            m.d.sync += segment.eq(Mux(job_ends, 0, segment + 1))
        with m.If(job_ended):
            if config.banks > 1:
                m.d.sync += bank.eq(bank + layer.slices + 1)
            for s, weight in enumerate(block_weight):
                with m.If(loops["blocks"].last):
                    m.d.sync += weight.eq(segments[s].weight_base)
                with m.Elif(sub.last):
                    m.d.sync += weight.eq(weight + segments[s].block_stride)
        row, row_start = Signal(16), Signal(16)
        column, column_start = Signal(16), Signal(16)
        with m.If(place_ended):
            # Next place of the window, else next pooled column, else next pooled row.
            m.d.sync += column.eq(column + 1)
            with m.If(loops["window_columns"].last):
                m.d.sync += [column.eq(column_start), row.eq(row + 1)]
                with m.If(loops["window_rows"].last):
                    m.d.sync += [row.eq(row_start), column.eq(column + 1), column_start.eq(column + 1)]
                    with m.If(loops["columns"].last):
                        m.d.sync += [column.eq(0), column_start.eq(0), row.eq(row + 1), row_start.eq(row + 1)]
        with m.If(self.take):
            m.d.sync += [counter.eq(0) for counter in (row, row_start, column, column_start, segment, bank)]
            for s, weight in enumerate(block_weight):
                m.d.sync += weight.eq(self.ahead.segment[s].weight_base)

        # Stage 1: table addresses. Stage 2: table entries, 3: registered. Stage 4, 5: two additions each.
        valid = [Signal(name=f"valid{i}") for i in range(1, 6)]
        tag = data.StructLayout(
            {"banks": config.banks, "segment": len(segment), "last": 1, "block": len(block_weight[0])}
        )
        tags = [Signal(tag, name=f"tag{i}", reset_less=True) for i in range(1, 6)]
        row_address = Signal(config.walk_addr_bits, reset_less=True)
        column_address = Signal(config.walk_addr_bits, reset_less=True)
        entry, centry = row_entry(config), column_entry(config)
        row_data, column_data = Signal(entry, reset_less=True), Signal(centry, reset_less=True)
        offset = Signal(config.spike_addr_bits, reset_less=True)
        base = Signal(config.spike_addr_bits, reset_less=True)
        weight = Signal(config.weight_addr_bits, reset_less=True)
        tap_rows, run = Signal(8, reset_less=True), Signal(config.spike_addr_bits, reset_less=True)
        command = Signal(command_layout(config), reset_less=True)
        source = segments[segment]
        source3 = segments[tags[2].segment]
        m.d.comb += [
            rows.addr.eq(row_address),
            columns.addr.eq(column_address),
            rows.en.eq(go),
            columns.en.eq(go),
        ]
        with m.If(go):
            m.d.sync += [valid[0].eq(issuing), *(valid[i].eq(valid[i - 1]) for i in range(1, 5))]
            m.d.sync += [tags[i].eq(tags[i - 1]) for i in range(1, 5)]
            m.d.sync += [Value.cast(row_data).eq(rows.data), Value.cast(column_data).eq(columns.data)]
            m.d.sync += [
                row_address.eq(source.row_base + row),
                column_address.eq(source.column_base + column),
                tags[0].banks.eq(group_mask(config.banks, bank, layer.slices)),
                tags[0].segment.eq(segment),
                tags[0].last.eq(job_ends),
                tags[0].block.eq(_select(block_weight, segment)),
                offset.eq(row_data.offset + column_data.offset),
                base.eq(source3.base + Mux(source3.image & buffer, self.header.image_stride, 0)),
                weight.eq(row_data.weight + column_data.weight),
                tap_rows.eq(row_data.rows),
                run.eq(column_data.run),
                command.address.eq(offset + base),
                command.weight.eq(weight + tags[3].block),
                command.run.eq(run),
                command.rows.eq(tap_rows),
                command.segment.eq(tags[3].segment),
                command.last.eq(tags[3].last),
            ]

        # A command goes to all banks of its group at once. A queue in front keeps the banks' readiness out of the walk:
        # `go` only looks at its level, one cycle late, and leaves room for what is then still on its way.
        m.submodules.dispatch = dispatch = SyncFIFO(width=config.banks + command.shape().size, depth=DISPATCH_DEPTH)
        banks_now = dispatch.r_data[: config.banks]
        all_ready = Signal()
        m.d.comb += [
            dispatch.w_data.eq(Cat(tags[4].banks, command)),
            dispatch.w_en.eq(valid[4] & go),
            all_ready.eq(Cat(~banks_now[b] | port.ready for b, port in enumerate(self.commands)).all()),
            dispatch.r_en.eq(all_ready),
        ]
        m.d.sync += go.eq(dispatch.level <= DISPATCH_DEPTH - 4)
        for b, port in enumerate(self.commands):
            m.d.comb += [
                port.valid.eq(dispatch.r_rdy & banks_now[b] & all_ready),
                Value.cast(port.payload).eq(dispatch.r_data[config.banks :]),
            ]
        for s in range(config.segments):
            m.d.comb += [
                self.strides[s].row_stride.eq(segments[s].row_stride),
                self.strides[s].weight_row_stride.eq(segments[s].weight_row_stride),
                self.strides[s].field.eq(segments[s].field),
                self.strides[s].code.eq(segments[s].code),
                self.strides[s].shift.eq(segments[s].shift),
            ]


def _ends(config: EngineConfig, layer: Any) -> Any:
    """Whether an image ends with this record."""
    return layer.final & ~layer.more if config.streams_weights else layer.final


def group_mask(banks: int, bank: Value, slices: Value) -> Value:
    """One bit per bank: whether it is in the group of `slices` + 1 banks (a power of two) that begins at `bank`."""
    return Cat(((b ^ bank) & ~slices & (banks - 1)) == 0 for b in range(banks))


def _select(values: list[Signal], index: Value) -> Value:
    result: Value = values[0]
    for i, value in enumerate(values[1:], 1):
        result = Mux(index == i, value, result)
    return result
