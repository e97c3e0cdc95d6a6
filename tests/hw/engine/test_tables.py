# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from blocks import preload, random_terms
from onespike.hw.config import EngineConfig
from onespike.hw.engine.bank import capture_latency
from onespike.hw.engine.drain import drain_latency
from onespike.hw.engine.extract import EXTRACT_LATENCY, terms_write_layout
from onespike.hw.engine.fetch import READ_LATENCY
from onespike.hw.engine.levels import rows_at_once
from onespike.hw.engine.tables import Tables, copy_latency, levels_write_layout
from onespike.model.mapping.tables import Table, table_rows
from onespike.model.network.codes import Term
from onespike.sim.stream import run_stream


class Harness(wiring.Component):
    """Tables with a filled memory; layers as a stream: the engine starts anew before one, if its lowest bit says so."""

    def __init__(self, config: EngineConfig, rows: list[int]):
        self.config, self.rows = config, rows
        terms = terms_write_layout(config.multiples, config.tables, config.term_fields)
        super().__init__(
            {
                "layers": In(stream.Signature(4)),
                "starts": Out(stream.Signature(1, always_ready=True)),
                "ready": Out(stream.Signature(1, always_ready=True)),
                "enables": Out(stream.Signature(1, always_ready=True)),
                "levels": Out(stream.Signature(levels_write_layout(config), always_ready=True)),
                "terms": Out(stream.Signature(terms, always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = dut = Tables(self.config)
        filled = preload(m, "rows", dut.load, self.rows)
        before, ready, enabled = Signal(), Signal(), Signal()
        busy = Signal(range(40))  # a layer takes a while
        restarts = self.layers.valid & self.layers.payload[0] & ~before & (busy == 0) & dut.ready
        takes = self.layers.valid & dut.ready & (busy == 0) & ~restarts
        m.d.sync += [before.eq(restarts | (before & ~takes)), ready.eq(dut.ready), enabled.eq(dut.enable)]
        with m.If(takes):
            m.d.sync += busy.eq(39)
        with m.Elif(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        m.d.comb += [
            dut.enable.eq(filled & ~restarts),
            dut.start.eq(takes),
            dut.table.eq(self.layers.payload[1:]),
            self.layers.ready.eq(takes),
            self.starts.valid.eq(takes),
            self.ready.valid.eq(dut.ready & ~ready),
            self.enables.valid.eq(dut.enable & ~enabled),
            self.levels.valid.eq(dut.levels.enable),
            Value.cast(self.levels.payload).eq(Value.cast(dut.levels)),
            self.terms.valid.eq(dut.terms.enable),
            Value.cast(self.terms.payload).eq(Value.cast(dut.terms)),
        ]
        return m


def random_table(rng: random.Random, config: EngineConfig) -> Table:
    count = rng.randint(1, config.table_codes)
    top, code = 1 << config.count_bits, 1 << config.code_bits
    thresholds = sorted(rng.sample(range(-top, top), count - 1))
    (terms,) = random_terms(rng, 1, config.multiples, config.term_fields)
    return Table(tuple(thresholds), tuple(rng.randrange(-code, code) for _ in range(count)), terms)


@pytest.mark.parametrize(
    ("tables", "codes", "multiples"), [(1, 16, (1, 3, 5)), (2, 32, (1, 3)), (4, 16, (1,)), (8, 32, (1, 3, 5))]
)
def test_copies(tables, codes, multiples):
    """All terms after each enable, a table after each start, in time for the layer's first sum."""
    rng = random.Random(tables)
    config = EngineConfig(tables=tables, table_codes=codes, multiples=multiples, max_groups=31)
    given = [random_table(rng, config) for _ in range(tables)]
    rows = table_rows(config, given)
    layers = [(rng.randrange(tables), int(rng.random() < 0.3)) for _ in range(12)]
    fills = 1 + sum(restart for _, restart in layers)
    copies = codes // rows_at_once(codes)
    counts = {"starts": 12, "ready": fills, "enables": fills, "levels": 12 * copies, "terms": fills * len(rows)}
    payloads = [table << 1 | restart for table, restart in layers]
    out = run_stream(Harness(config, rows), {"layers": payloads}, counts, stamps=True, stall=0.3, limit=6000)
    gaps = {r.cycle - e.cycle for r, e in zip(out["ready"], out["enables"], strict=True)}
    assert gaps == {config.table_rows + 2}

    for index, transfer in enumerate(out["terms"]):
        table, field = divmod(index % len(rows), config.term_fields)
        found = transfer.payload
        assert (found.table, found.field) == (table, field) and found.number == len(given[table].terms[field])
        got = [(found.terms[i].shift, found.terms[i].negative) for i in range(found.number)]
        assert got == [(term.shift, term.negative) for term in given[table].terms[field]]
    for index, ((number, _), start) in enumerate(zip(layers, out["starts"], strict=True)):
        written = out["levels"][index * copies : (index + 1) * copies]
        assert written[-1].cycle - start.cycle + 1 == copy_latency(config)
        table, got = given[number], []
        for place, transfer in enumerate(written):
            assert transfer.payload.address == place
            got += [(row.threshold, row.value) for row in transfer.payload.rows]
        missing = codes - len(table.stored)
        assert [value for _, value in got] == [*table.stored, *[table.stored[-1]] * missing]
        assert [threshold for threshold, _ in got][1:] == [*table.thresholds, *[31] * missing]


@pytest.mark.parametrize("codes", [16, 32])
def test_a_table_is_in_place_before_the_first_sum(codes):
    """A layer's first command goes through queue, fetch, queue and extractor, the bank, the drain and two counters."""
    for banks in (1, 8):
        config = EngineConfig(banks=banks, tables=1, table_codes=codes, multiples=(1,))
        first = 1 + READ_LATENCY + 1 + EXTRACT_LATENCY + capture_latency(config) + drain_latency(config) + 2
        assert copy_latency(config) <= first


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table((1, 1), (0, 1, 2)), "thresholds must rise"),
        (Table((1, 16), (0, 1, 2)), "thresholds must reach 15 at most"),
        (Table((1,), (0, 1, 2)), "table 0 has one threshold fewer than levels"),
        (Table(tuple(range(1, 17)), tuple(range(17))), "table 0 has more than 16 levels"),
        (Table((1,), (0, 256)), "too wide a code"),
        (Table((), (0,), ((Term(1, 0, False),),)), "digit 0 must have no terms"),
        (Table((), (0,), ((),) * 17), "table 0 has more than 16 digits"),
        (Table((), (0,), ((), (Term(1, 0, False),) * 3)), "digit 1 has more than 2 terms"),
    ],
)
def test_golden_ranges(table, message):
    with pytest.raises(AssertionError, match=message):
        table_rows(EngineConfig(tables=1), [table])
