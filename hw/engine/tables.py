# SPDX-License-Identifier: Apache-2.0
"""Tables: keeps the tables of levels, and copies them to where they are used."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...model.network.codes import most_terms
from ..config import EngineConfig
from ..memory import plain_memory
from ..parity import Parity
from ..program import count_shape, layer_fields, value_shape
from .extract import term_layout, terms_write_layout
from .levels import rows_at_once, write_layout


def table_entry(config: EngineConfig) -> data.StructLayout:
    """One row of a table: threshold number i, what is stored for i thresholds, and the terms of digit i."""
    return data.StructLayout(
        {
            "threshold": count_shape(config),
            "value": value_shape(config),
            "number": range(most_terms(config.worths) + 1),
            "terms": data.ArrayLayout(term_layout(config.worths, tables=True), most_terms(config.worths)),
        }
    )


def copy_latency(config: EngineConfig) -> int:
    """Cycles from a layer's first cycle to the first one in which its whole table can be searched."""
    return 3 + config.table_codes // rows_at_once(config.table_codes)


def levels_write_layout(config: EngineConfig) -> data.StructLayout:
    """Rows of a table on their way to the levels unit."""
    return write_layout(count_shape(config), value_shape(config), config.table_codes)


class Tables(wiring.Component):
    """One memory of all tables. The banks get their terms once, the levels unit the table of each layer at its start.

    While the engine's tables are not all with the banks, `ready` is low and no layer may begin.

    Latency: `ready` rises table_rows + 2 cycles after `enable`; a layer's table is in place `copy_latency` cycles after
    `start`. Throughput: a row a cycle, `rows_at_once` for the levels unit. No back-pressure.

    Golden function: `onespike.model.mapping.tables.table_rows`.

    Parameters
    ----------
    config : the engine's configuration, with tables.

    Members
    -------
    enable : In(1) the engine runs; while it is low, the memory may be written.
    ready : Out(1) the terms of all tables have been sent.
    start, table : In a layer begins, and its table.
    levels : Out(levels_write_layout) rows of its table.
    terms : Out(terms_write_layout) the terms of one digit of one table.
    load : In write port of the memory (only if `config.loadable`).
    fault : Out(1) a row had a wrong parity (only if `config.parity`).
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        address = (config.table_rows - 1).bit_length()
        members: dict[str, Any] = {
            "enable": In(1),
            "ready": Out(1),
            "start": In(1),
            "table": In(layer_fields(config)["table"]),
            "levels": Out(levels_write_layout(config)),
            "terms": Out(terms_write_layout(config.worths, config.tables, config.term_fields)),
        }
        if config.loadable:
            row = config.stored_bits(table_entry(config).size)
            members["load"] = In(wiring.Signature({"enable": Out(1), "address": Out(address), "data": Out(row)}))
        if config.parity:
            members["fault"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, entry = self.config, table_entry(self.config)
        number = rows_at_once(config.table_codes)
        m.submodules.table_memory = memory = plain_memory(config.stored_bits(entry.size), config.table_rows)
        if config.loadable:
            port = memory.write_port()
            m.d.comb += [port.en.eq(self.load.enable), port.addr.eq(self.load.address), port.data.eq(self.load.data)]

        # First row after row for the banks, then a table at every start.
        row, reads, filled = Signal(range(config.table_rows)), Signal(init=1), Signal()
        inner = (config.table_codes - 1).bit_length()  # bits of a row's place in its table
        last = row[:inner] == config.table_codes - Mux(filled, number, 1)
        with m.If(reads):
            m.d.sync += row.eq(row + Mux(filled, number, 1))
            with m.If(last & (filled | (row[inner:] == config.tables - 1))):
                m.d.sync += [reads.eq(0), filled.eq(1)]
        with m.If(self.start):
            m.d.sync += [reads.eq(1), row.eq(self.table << inner)]
        with m.If(~self.enable):
            m.d.sync += [reads.eq(1), row.eq(0), filled.eq(0)]

        ports = [memory.read_port() for _ in range(number)]
        m.d.comb += [port.addr.eq(row | k if k else row) for k, port in enumerate(ports)]
        read = Signal()
        place, fills = Signal.like(row, reset_less=True), Signal()
        m.d.sync += [read.eq(reads & self.enable), place.eq(row), fills.eq(~filled)]
        rows = [port.data for port in ports]
        if config.parity:
            checks = [Parity(entry.size) for _ in rows]
            for k, (check, row_read) in enumerate(zip(checks, rows, strict=True)):
                m.submodules[f"table_parity{k}"] = check
                m.d.comb += [check.row.eq(row_read), check.valid.eq(read)]
            m.d.comb += self.fault.eq(Cat(check.fault for check in checks).any())
            rows = [row_read[: entry.size] for row_read in rows]
        found = [data.View(entry, row_read) for row_read in rows]
        m.d.sync += [
            self.ready.eq(self.enable & (self.ready | (filled & ~read))),
            self.levels.enable.eq(read & ~fills),
            self.levels.address.eq(place[(number - 1).bit_length() : inner]),
            *(self.levels.rows[k][name].eq(found[k][name]) for k in range(number) for name in ("threshold", "value")),
            self.terms.enable.eq(read & fills & (place[:inner] < config.term_fields)),
            self.terms.table.eq(place[inner:]),
            self.terms.field.eq(place[: len(self.terms.field)]),
            self.terms.number.eq(found[0].number),
            self.terms.terms.eq(found[0].terms),
        ]
        return m
