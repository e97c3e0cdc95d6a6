# SPDX-License-Identifier: Apache-2.0
"""The levels unit: a count is searched in a table of thresholds, and leaves as the code of its level."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..memory import plain_memory

SHARED = 2  # stages whose thresholds lie in registers that all lanes share: with one more, multiplexers cost more
ROWS = 16  # of a LUT RAM


def search_stages(codes: int) -> int:
    """Comparisons that find one of so many codes, a power of two."""
    return codes.bit_length() - 1


def rows_at_once(codes: int) -> int:
    """Rows that are written together: one for each LUT RAM that holds what is stored."""
    return max(1, codes // ROWS)


def write_layout(value: Shape, stored: Shape, codes: int) -> data.StructLayout:
    """Rows of a table, side by side: those from address * `rows_at_once` on."""
    number = rows_at_once(codes)
    row = data.StructLayout({"threshold": value, "value": stored})
    return data.StructLayout({"enable": 1, "address": range(codes // number), "rows": data.ArrayLayout(row, number)})


class LevelsUnit(wiring.Component):
    """Searches values in a table, `lanes` of them side by side.

    ``stored = what row (number of thresholds <= value) holds``, by binary search: the first stage compares with the
    threshold in the middle, the next with that of the half where the value lies, and so on. Row i of the table holds
    threshold i (row 0 has none) and what is stored for i thresholds; thresholds must not fall from row to row. Where
    `tabled` is low, the value itself leaves.

    Latency: `latency` cycles, one for each comparison and one for the row that is found. Throughput: one value a lane
    and cycle. No back-pressure. While values are inside, nothing is written and `tabled` stays.

    A stage has twice the thresholds of the one before it. The few of the first stages lie in registers, once for all
    lanes; those of the others, and what is stored, in LUT RAMs of every lane.

    Golden function: `onespike.model.neurons.levels.levels`.

    Parameters
    ----------
    value_bits : bits of a signed value, and of a threshold.
    stored_bits : bits of what is stored, signed; at least value_bits.
    codes : rows of the table: a power of two, 2 to 32.
    lanes : values that are searched side by side.
    shared : stages whose thresholds lie in shared registers, at least one.

    Members
    -------
    tabled : In(1) whether to search.
    values : In(lanes x signed(value_bits)).
    stored : Out(lanes x signed(stored_bits)).
    write : In(write_layout) rows of the table.
    """

    def __init__(self, *, value_bits: int, stored_bits: int, codes: int, lanes: int = 1, shared: int = SHARED):
        if codes not in (2, 4, 8, 16, 32):
            raise ValueError(f"codes must be 2, 4, 8, 16 or 32, not {codes!r}")
        if stored_bits < value_bits:
            raise ValueError(f"stored_bits must be at least the {value_bits!r} of a value, not {stored_bits!r}")
        self.value_bits = value_bits
        self.stored_bits = stored_bits
        self.codes = codes
        self.lanes = lanes
        self.shared = shared
        super().__init__(
            {
                "tabled": In(1),
                "values": In(data.ArrayLayout(signed(value_bits), lanes)),
                "stored": Out(data.ArrayLayout(signed(stored_bits), lanes)),
                "write": In(write_layout(signed(value_bits), signed(stored_bits), codes)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a value to what is stored for it."""
        return search_stages(self.codes) + 1

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        stages = search_stages(self.codes)
        shared = [self._registers(m, stage) for stage in range(min(self.shared, stages))]
        for lane in range(self.lanes):
            # In front of each stage: the value, and the upper bits of its row.
            value: Value = self.values[lane]
            row = Signal(0)
            for stage in range(stages):
                if stage < len(shared):
                    threshold = Array(shared[stage])[row] if stage else shared[stage][0]
                else:
                    threshold = self._threshold(m, lane, stage, row)
                later = Signal(signed(self.value_bits), name=f"value{stage}_{lane}", reset_less=True)
                found = Signal(stage + 1, name=f"row{stage}_{lane}", reset_less=True)
                m.d.sync += [later.eq(value), found.eq(Cat(value >= threshold.as_signed(), row))]
                value, row = later, found
            code = self._code(m, lane, row)
            result = Signal(signed(self.stored_bits), name=f"stored_{lane}", reset_less=True)
            m.d.sync += result.eq(Mux(self.tabled, code.as_signed(), value))
            m.d.comb += self.stored[lane].eq(result)
        return m

    def _code(self, m: Module, lane: int, row: Value) -> Value:
        """What a row stores. Rows that are written together lie in memories of their own."""
        write, number = self.write, rows_at_once(self.codes)
        codes = [
            _lut_ram(m, f"stored{k}_{lane}", row[number - 1 :], write.enable, write.address, write.rows[k].value)
            for k in range(number)
        ]
        return Mux(row[0], codes[1], codes[0]) if number > 1 else codes[0]

    def _threshold(self, m: Module, lane: int, stage: int, row: Value) -> Value:
        """The threshold to compare with in a stage."""
        enable, place, content = self._written(stage)
        return _lut_ram(m, f"thresholds{stage}_{lane}", row, enable, place, content)

    def _written(self, stage: int) -> tuple[Value, Value, Value]:
        """Whether a threshold of this stage is written, its place among them, and the threshold.

        Stage s compares with those of the odd multiples of codes / 2**(s + 1).
        """
        write, number = self.write, rows_at_once(self.codes)
        low = search_stages(self.codes) - 1 - stage  # the rows of this stage end in a one and as many zeros
        if number > 1 and not low:  # each comes with one of another stage
            return write.enable, write.address, write.rows[1].threshold
        low -= number - 1
        return write.enable & (write.address[: low + 1] == 1 << low), write.address[low + 1 :], write.rows[0].threshold

    def _registers(self, m: Module, stage: int) -> list[Value]:
        """The thresholds of a stage that all lanes share."""
        enable, address, content = self._written(stage)
        rows = []
        for place in range(1 << stage):
            row = Signal(self.value_bits, name=f"threshold{stage}_{place}", reset_less=True)
            with m.If(enable & (address == place)):
                m.d.sync += row.eq(content)
            rows.append(row)
        return rows


def _lut_ram(m: Module, name: str, row: Value, enable: Value, address: Value, content: Value) -> Value:
    """A row of a LUT RAM that `content` is written to."""
    memory = plain_memory(len(Value.cast(content)), max(2, 1 << len(row)))
    m.submodules[name] = memory
    write, read = memory.write_port(), memory.read_port(domain="comb")
    m.d.comb += [write.en.eq(enable), write.addr.eq(address), write.data.eq(content), read.addr.eq(row)]
    return read.data
