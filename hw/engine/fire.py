# SPDX-License-Identifier: Apache-2.0
"""Fire: sums become spike counts, pooled over a window, and then spikes."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import EngineConfig
from ..memory import plain_memory
from ..program import count_shape, layer_fields, layout, value_shape
from .count import CountUnit
from .drain import code_shape, code_width, tag_layout
from .levels import LevelsUnit, search_stages
from .psg import PsgUnit
from .tables import levels_write_layout


def fire_latency(config: EngineConfig) -> int:
    """Cycles from a sum to what is stored for it: two count, one pools; a search in a table comes between them."""
    return 3 + (search_stages(config.table_codes) + 1 if config.tables else 0)


class Fire(wiring.Component):
    """F fire units: count = clip(sum >> shift, -low, groups), then the maximum or the sum over the pooling window.

    A tabled layer's counts are searched in its table first (see LevelsUnit); what is stored for them is pooled.

    The window's places arrive one after the other, so one running value per channel suffices. With the psg code the
    literal parallel units generate the spikes and their number is counted; a pooled value is written as thermometer.

    Latency: `fire_latency`. Throughput: F channels a cycle. No back-pressure.

    Golden functions: `onespike.model.neurons.count.count`, `onespike.model.neurons.levels.levels`,
    `onespike.model.neurons.psg.psg`, `onespike.model.network.golden.pool`.

    Parameters
    ----------
    config : the engine's configuration.

    Members
    -------
    layer : In the current layer's record.
    valid_in, sums, shift, tag_in : In what Drain gives.
    table : In rows of the layer's table, see LevelsUnit, while no sum is inside (only if `config.tables`).
    valid, codes, tag : Out F codes (values, or spike patterns), when the last place of a window has come.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(layout(layer_fields(config))),
                "valid_in": In(1),
                "sums": In(data.ArrayLayout(signed(config.acc_bits), config.fire_lanes)),
                "shift": In(data.ArrayLayout(unsigned(config.shift_bits), config.fire_lanes)),
                "tag_in": In(tag_layout(config)),
                **({"table": In(levels_write_layout(config))} if config.tables else {}),
                "valid": Out(1),
                "codes": Out(data.ArrayLayout(code_shape(config), config.fire_lanes)),
                "tag": Out(tag_layout(config)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        config, layer = self.config, self.layer
        steps = fire_latency(config)
        tags = [Signal(tag_layout(config), name=f"tag{i}", reset_less=True) for i in range(steps)]
        valids = [Signal(name=f"valid{i}") for i in range(steps - 1)]
        m.d.sync += [valids[0].eq(self.valid_in), tags[0].eq(self.tag_in)]
        m.d.sync += [*(valids[i].eq(valids[i - 1]) for i in range(1, steps - 1))]
        m.d.sync += [*(tags[i].eq(tags[i - 1]) for i in range(1, steps))]

        # Counting takes two cycles, pooling the last.
        counts = Signal(data.ArrayLayout(count_shape(config), config.fire_lanes), reset_less=True)
        trains = Signal(data.ArrayLayout(config.max_groups, config.fire_lanes), reset_less=True)  # psg only
        for f in range(config.fire_lanes):
            if config.code == "psg":
                log2_groups = config.max_groups.bit_length() - 1
                m.submodules[f"unit{f}"] = unit = PsgUnit(
                    acc_width=config.acc_bits,
                    groups=config.max_groups,
                    log2_theta=log2_groups,
                    max_shift=max(0, config.acc_bits - 1 - log2_groups),
                    stages=1,
                )
                m.d.comb += [unit.acc.eq(self.sums[f]), unit.shift.eq(self.shift[f])]
                m.d.sync += [counts[f].eq(population(unit.spikes)), trains[f].eq(unit.spikes)]
            else:
                m.submodules[f"unit{f}"] = count = CountUnit(
                    acc_width=config.acc_bits,
                    max_shift=(1 << config.shift_bits) - 1,
                    count_width=config.count_bits,
                    stages=1,
                    signed_count=config.signed_codes,
                )
                if config.signed_codes:
                    m.d.comb += count.low.eq(layer.low)
                m.d.comb += [
                    count.acc.eq(self.sums[f]),
                    count.shift.eq(self.shift[f]),
                    count.groups.eq(layer.groups),
                ]
                m.d.sync += counts[f].eq(count.count)

        values = data.ArrayLayout(value_shape(config), config.fire_lanes)
        fired: Any = counts
        if config.tables:
            m.submodules.levels = levels = LevelsUnit(
                value_bits=config.count_bits + 1,
                stored_bits=config.code_bits + 1,
                codes=config.table_codes,
                lanes=config.fire_lanes,
            )
            m.d.comb += [
                levels.tabled.eq(layer.tabled),
                levels.values.eq(counts),
                Value.cast(levels.write).eq(Value.cast(self.table)),
            ]
            fired = levels.stored
        arriving, pooling, tag, valid = tags[-3], tags[-2], tags[-1], valids[-1]
        m.submodules.pool_memory = running = plain_memory(values, config.pool_depth)
        read, write = running.read_port(), running.write_port()
        pooled = Signal(values)
        result = Signal(values, reset_less=True)
        # The row is read while the one before is pooled: if it is the same one, it is still on its way to the memory.
        again = Signal()
        kept = data.View(values, Mux(again, Value.cast(result), Value.cast(read.data)))
        m.d.sync += again.eq(valid & (arriving.row == pooling.row))
        for f in range(config.fire_lanes):
            old, new = kept[f], fired[f]
            total = old + new
            total = total[: config.code_bits + 1].as_signed() if config.signed_values else total[: config.code_bits]
            combined = Mux(layer.pool_sum, total, Mux(old > new, old, new))
            m.d.comb += pooled[f].eq(Mux(pooling.first, new, combined))
        m.d.comb += [
            read.addr.eq(arriving.row),
            write.addr.eq(pooling.row),
            write.data.eq(pooled),
            write.en.eq(valid & ~pooling.last),
        ]
        m.d.sync += result.eq(pooled)

        literal = Signal.like(trains, reset_less=True)
        if config.code == "psg":
            m.d.sync += literal.eq(trains)
        for f in range(config.fire_lanes):
            thermometer = Cat(result[f] > i for i in range(code_width(config)))
            if config.code == "radix":
                m.d.comb += self.codes[f].eq(result[f])
            elif config.code == "unary":
                m.d.comb += self.codes[f].eq(thermometer)
            else:
                m.d.comb += self.codes[f].eq(Mux(layer.window == 0, literal[f], thermometer))
        m.d.sync += self.valid.eq(valid & pooling.last)
        m.d.comb += self.tag.eq(tag)
        return m


def population(bits: Any) -> Any:
    """Number of ones, as a balanced tree of adders."""
    terms = [bits[i] for i in range(len(bits))]
    while len(terms) > 1:
        terms = [sum(terms[i : i + 2][1:], terms[i]) for i in range(0, len(terms), 2)]
    return terms[0]
