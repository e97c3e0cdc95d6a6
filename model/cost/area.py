# SPDX-License-Identifier: Apache-2.0
"""Area: what an engine will cost on a part, without synthesising it.

Block RAMs follow from the shapes of the memories, by the rule that Yosys itself maps them with. LUTs and registers are
sums over the engine's blocks of coefficient x quantity (bits added, bits chosen, bits stored ...). The coefficients
were fitted to synthesised blocks (`onespike.fpga.fit_area`), and area.json keeps them with the engines they were tested
on.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape

from ...hw.config import EngineConfig
from ...hw.engine.counters import COUNTER_BITS, counter_stride
from ...hw.engine.drain import MOST_REGISTERS
from ...hw.engine.extract import terms_write_layout
from ...hw.engine.fetch import command_layout, engine_word, mask_entry, meta_layout, segment_bits
from ...hw.engine.fire import code_width
from ...hw.engine.levels import SHARED, rows_at_once, search_stages
from ...hw.engine.load import row_words, stored_widths, target_widths
from ...hw.engine.tables import table_entry
from ...hw.engine.walk import DISPATCH_DEPTH
from ...hw.memory import SINGLE_PORT_BITS, SINGLE_PORT_ROWS
from ...hw.program import WORD, layer_depth, layer_words, value_shape
from ..errors import OneSpikeError
from ..system import bounded
from ..targets import ICE40, Family, MemoryKind, Target

FIT = Path(__file__).with_name("area.json")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """`number` equal memories of a block; clocked: read through a register; written: not only read; line: words leave
    in their order, from a row of registers; copy: of the memory before, for another read port,
    of whose bits this one gives so many, the lowest; single_port: in large single-port RAMs."""

    name: str
    width: int
    depth: int
    number: int = 1
    clocked: bool = True
    written: bool = True
    line: bool = False
    copy: int = 0
    single_port: bool = False


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What one memory becomes: block RAMs, single-port RAMs, LUT RAMs, LUTs (a table) or registers, and the bits that
    multiplexers behind them choose."""

    block_rams: int = 0
    single_ports: int = 0
    lut_rams: int = 0
    luts: int = 0
    registers: int = 0
    chosen: int = 0


@dataclass(frozen=True, kw_only=True)
class Area:
    """Estimated resources of an engine; by_block: LUTs of every kind of block."""

    luts: int
    flip_flops: int
    block_rams: int
    by_block: Map[str, int]
    single_ports: int = 0


def memories(config: EngineConfig) -> list[Memory]:
    """Every memory of the engine, as its Verilog has them."""
    widths, loaded = stored_widths(config), config.loadable
    sums = config.acc_bits * config.fire_lanes
    command = command_layout(config).size
    word = engine_word(config).size
    banks = config.banks
    counted = counter_stride(config) * layer_depth(config)
    counters = [Memory(name="counters.counter_memory", width=COUNTER_BITS, depth=counted)] if config.counters else []
    value = Shape.cast(value_shape(config)).width
    return [
        *(Memory(name="fetch.spike_memory", width=config.stored_bits(config.word_bits), depth=depth, number=banks)
          for depth in config.spike_pages),
        *(Memory(name="bank.weight_memory", width=widths["weights"], depth=depth, number=banks, written=loaded,
                 single_port=config.single_port)
          for depth in config.weight_pages),
        *(Memory(name="bank.mask_memory", width=widths["masks"], depth=depth, number=banks, written=loaded)
          for depth in (config.mask_pages if config.row_masks else ())),
        Memory(name="command_fifo.storage", width=command, depth=config.command_fifo, number=banks,
               clocked=False),
        Memory(name="word_fifo.storage", width=word, depth=config.word_fifo, number=banks, clocked=False),
        Memory(name="sequencer.program_memory", width=widths["program"], depth=config.program_depth, written=loaded),
        Memory(name="sequencer.row_memory", width=widths["rows"], depth=config.walk_depth, written=loaded),
        Memory(name="sequencer.column_memory", width=widths["columns"], depth=config.walk_depth,
               written=loaded),
        Memory(name="sequencer.dispatch.storage", width=1 + banks + command, depth=DISPATCH_DEPTH),
        Memory(name="drain.previous_memory", number=config.drain_banks, width=sums,
               depth=banks // config.drain_banks * config.drain_steps),
        Memory(name="drain.channel_memory", width=widths["channels"], depth=config.channel_depth, written=loaded),
        Memory(name="drain.partial_memory", width=sums, depth=config.drain_steps,
               line=config.drain_steps <= MOST_REGISTERS),
        Memory(name="fire.pool_memory", width=value * config.fire_lanes, depth=config.pool_depth),
        Memory(name="logits.logit_memory", width=sums, depth=config.class_depth),
        *counters,
        *(_of_tables(config) if config.tables else []),
    ]  # fmt: skip


def _of_tables(config: EngineConfig) -> list[Memory]:
    """The memories of an engine with tables: of all of them, of the running layer's, and of the terms in every bank."""
    entry, number = table_entry(config), rows_at_once(config.table_codes)
    threshold, value = (Shape.cast(entry[name].shape).width for name in ("threshold", "value"))
    row = terms_write_layout(config.worths, config.tables, config.term_fields)
    terms = sum(Shape.cast(row[name].shape).width for name in ("number", "terms")[config.multiplies :])
    return [
        Memory(name="tables.table_memory", width=config.stored_bits(entry.size), depth=config.table_rows,
               written=config.loadable),
        Memory(name="tables.table_memory", width=config.stored_bits(entry.size), depth=config.table_rows,
               number=number - 1, written=config.loadable,
               copy=config.stored_bits(entry.size) if config.parity else threshold + value),
        Memory(name="fire.levels.stored", width=value, depth=config.table_codes // number, clocked=False,
               number=number * config.fire_lanes),
        *(Memory(name="fire.levels.thresholds", width=threshold, depth=1 << stage, number=config.fire_lanes,
                 clocked=False) for stage in range(SHARED, search_stages(config.table_codes))),
        Memory(name="extract.term_memory", width=terms, depth=config.tables * config.term_fields, number=config.banks,
               clocked=False),
    ]  # fmt: skip


def place_memory(memory: Memory, family: Family) -> Placed:
    """What Yosys maps one memory to: the candidate that it charges least for."""
    width, depth = memory.width, memory.depth
    if memory.line:
        return Placed(registers=width * depth)
    if memory.single_port:
        return Placed(single_ports=-(-width // SINGLE_PORT_BITS) * -(-depth // SINGLE_PORT_ROWS))
    if memory.written:
        best, found = float(width * depth), Placed(registers=width * depth, chosen=(depth - 1) * width)
    else:  # a table of contents that never change, in LUTs of 16 bits
        best, found = width * depth / 16, Placed(luts=width * depth // 16)
    if memory.clocked:
        for kind in family.block:
            cost, number, deep = _cheapest(kind, memory)
            if cost < best:
                best, found = cost, Placed(block_rams=number, chosen=(deep - 1) * width)
    if family.distributed is not None and memory.written:
        cost, number, deep = _cheapest(family.distributed, memory)
        if cost < best:
            behind = width if memory.clocked else 0  # the register that a LUT RAM lacks
            found = Placed(lut_rams=number, registers=behind, chosen=(deep - 1) * width)
    return found


def _cheapest(kind: MemoryKind, memory: Memory) -> tuple[float, int, int]:
    """(Yosys' cost, blocks, how many lie behind one another) at the best width of one kind."""
    options = []
    for step, unit in enumerate(kind.widths):
        byte = min(kind.byte or unit, unit) if memory.written else 1
        word = -(-memory.width // byte) * byte
        deep = -(-memory.depth // (kind.rows >> step))
        number = -(-deep * word // unit)
        kept = -(-deep * -(-(memory.copy or memory.width) // byte) * byte // unit)
        cost = (kind.cost - kind.scaled) * number + kind.scaled * deep * memory.width / unit
        cost += 0.5 * (deep - 1) * memory.width + (0.5 * deep if deep > 1 and memory.written else 0)
        options.append((cost, kept, deep))
    return min(options, key=lambda option: option[0])


def block_rams(config: EngineConfig, family: Family) -> int:
    return sum(memory.number * place_memory(memory, family).block_rams for memory in memories(config))


def single_ports(config: EngineConfig) -> int:
    """Large single-port RAMs of the engine: of any family, none unless its weights lie there."""
    found = (place_memory(memory, ICE40) for memory in memories(config) if memory.single_port)
    return config.banks * sum(placed.single_ports for placed in found)


def terms(config: EngineConfig) -> dict[str, tuple[int, dict[str, float]]]:
    """Block -> how many there are, and the quantities that its logic grows with."""
    c = config
    product = c.weight_bits + (c.multiples[-1] - 1).bit_length()
    more_multiples = len(c.multiples) - 1
    doubles = int(more_multiples > 0 and c.max_shift > 3)
    wide = min(c.acc_bits, product + c.max_shift)
    sums, spike, weight = c.acc_bits * c.fire_lanes, c.spike_addr_bits, c.weight_addr_bits
    masks, own = int(c.row_masks), int(c.depthwise)
    more = c.segments - 1  # sources to choose from
    stride = spike + weight + 9
    count = sum(c.count_bits + (1 << j) for j in range(c.shift_bits))
    codes = code_width(c) * c.fire_lanes
    loaded = int(c.loadable)
    queue = command_layout(c).size
    found = {
        "lanes": {"added bits": c.lanes * c.acc_bits, "shifted bits": c.lanes * wide,
                  "shift choices": c.lanes * wide * c.max_shift.bit_length(),
                  "product bits": c.lanes * product * min(1, more_multiples),
                  "product choices": c.lanes * product * (more_multiples + doubles), "drained bits": sums,
                  "drain choices": sums * (c.drain_steps - 1), "lanes": c.lanes,
                  "own groups": own * c.fire_lanes},
        "fetch": {"word bits": c.word_bits, "spike address": spike, "weight address": weight,
                  "source choices": more * stride, "masked bits": masks * (c.word_bits + mask_entry(c).size),
                  "tap address": masks * spike, "own": own},
        "extract": {"word bits": c.word_bits, "meta bits": meta_layout(c).size, "multiples": more_multiples,
                    "tables": int(c.tables > 0), "mask bits": masks * c.word_chunks, "own bits": own * c.word_bits},
        "command_fifo": {"word bits": queue, "pointer bits": math.log2(c.command_fifo)},
        "word_fifo": {"word bits": engine_word(c).size if masks else c.word_bits + meta_layout(c).size,
                      "pointer bits": math.log2(c.word_fifo)},
        "bank": {"row bits": c.lanes * c.weight_bits, "word bits": c.word_bits, "weight address": weight,
                 "source choices": more * 9, "multiples": more_multiples, "tables": int(c.tables > 0),
                 "masks": masks, "own bits": own * c.word_bits,
                 "loaded bits": _loaded(c) * row_words(c.lanes * c.weight_bits) * WORD},
        "sequencer": {"spike address": spike, "weight address": weight, "source choices": more * (2 * stride + 40),
                      "record bits": WORD * layer_words(c), "banks": c.banks,
                      "table address": c.walk_addr_bits, "source bits": segment_bits(c),
                      "block addresses": masks * c.segments * spike},
        "loader": {"spike address": spike, "word bits": c.word_bits},
        "drain": {"summed bits": sums, "bank choices": sums * (c.banks - c.drain_banks),
                  "added bits": sums * (c.drain_banks - 1),
                  "channel bits": c.fire_lanes * c.channel_bits,
                  "banks": c.banks, "steps": c.drain_steps, "fire lanes": c.fire_lanes},
        "fire": {"counted bits": c.fire_lanes * count, "summed bits": sums, "pooled bits": c.fire_lanes * c.code_bits,
                 "signed bits": c.fire_lanes * c.count_bits * int(c.signed_codes),
                 "searched bits": c.fire_lanes * c.count_bits * search_stages(c.table_codes) * int(c.tables > 0),
                 "thermometer bits": codes if c.code != "radix" else 0,
                 "pattern bits": sums * c.max_groups if c.code == "psg" else 0},
        "pack": {"word bits": c.word_bits, "code bits": codes, "placed bits": c.word_bits * math.log2(c.fire_lanes + 1),
                 "spike address": spike, "side by side": own * spike},
        "logits": {"summed bits": sums, "accumulator bits": c.acc_bits},
        "counters": {"banks": c.banks},
        "onespike": {"banks": c.banks, "word bits": c.word_bits, "spike address": spike, "loaded": _loaded(c)},
    }  # fmt: skip
    if not c.counters:
        del found["counters"]
    if c.tables:
        found["tables"] = {"row bits": table_entry(c).size * rows_at_once(c.table_codes),
                           "address bits": (c.table_rows - 1).bit_length()}  # fmt: skip
    if loaded:
        rows = sorted(width for name, width in target_widths(c).items() if name != "weights")
        found["load"] = {"row words": row_words(rows[-1]), "short rows": sum(rows[:-1])}
    per_bank = {"lanes", "fetch", "extract", "command_fifo", "word_fifo", "bank"}
    return {name: (c.banks if name in per_bank else 1, {"one": 1.0, **values}) for name, values in found.items()}


def _loaded(config: EngineConfig) -> int:
    """Whether banks put their weight rows together from the words of the load stream."""
    return int(config.loadable and not config.streams_weights)


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """Of one kind of block: how many there are, what the fit multiplies, and the LUTs and registers of LUT RAMs."""

    number: int
    fitted: Map[str, float]
    luts: int
    flip_flops: int


def quantities(config: EngineConfig, family: Family) -> dict[str, Quantities]:
    """The quantities of every block, those of its memories included."""
    ram = next((cost for name, cost in family.cells.items() if "16" in name), (0, 0))
    found = {}
    for block, (number, values) in terms(config).items():
        placed = [place_memory(m, family) for m in memories(config) if m.name.split(".", 1)[0] == block]
        placed += [paged for name, paged in _pages(config, family) if name == block]
        of_memories = {"chosen bits": sum(p.chosen for p in placed), "stored bits": sum(p.registers for p in placed)}
        rams, tables = sum(p.lut_rams for p in placed), sum(p.luts for p in placed)
        fitted_ones = {**values, **(of_memories if placed else {})}
        luts, flip_flops = rams * ram[0] + tables, rams * ram[1]
        if block == "lanes":  # nothing but registers, which take logic cells where these have no input of their own
            more = (config.shadows - 1) * config.lanes * config.acc_bits
            luts, flip_flops = luts + more * family.merged, flip_flops + more
        found[block] = Quantities(number=number, fitted=fitted_ones, luts=luts, flip_flops=flip_flops)
    return found


def _pages(config: EngineConfig, family: Family) -> list[tuple[str, Placed]]:
    """By block, what choosing the page of a deep memory takes: registers behind and in front of the choice."""
    found = []
    for block, width, pages in (
        ("fetch", config.word_bits, config.spike_pages),
        ("bank", config.lanes * config.weight_bits, config.weight_pages),
        ("fetch", mask_entry(config).size, config.mask_pages if config.row_masks else ()),
    ):
        more = (len(pages) - 1) * width
        if more > 0:
            behind = 0 if family.repacked else more
            found.append((block, Placed(registers=behind + width * (block == "bank"), chosen=more)))
    return found


@functools.cache
def fitted() -> dict[str, Any]:
    """The coefficients, the tools they come from and the engines they were tested on: area.json."""
    try:
        found: dict[str, Any] = json.loads(bounded.read(FIT))
        for family in found["families"].values():
            terms = [block[what] for block in family["blocks"].values() for what in ("luts", "flip_flops")]
            for values in ({what: family["factor"][what] for what in ("luts", "flip_flops")}, *terms):
                if not all(type(value) in (int, float) and abs(value) < 1e9 for value in values.values()):
                    raise ValueError("no number that a coefficient can be")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "install onespike again, or run python -m onespike.fpga.fit_area"
        raise OneSpikeError(f"{FIT} is damaged; {hint}.") from None
    return found


def estimate(config: EngineConfig, target: Target, fit: Map[str, Any] | None = None) -> Area:
    """LUTs, registers and block RAMs as the target's router will count them; fit: by default, area.json."""
    if config.streams_weights:
        raise OneSpikeError("The area of an engine that streams its weights is not estimated; use `onespike synth`.")
    if config.multiplies:
        raise OneSpikeError(
            f"The area of an engine with {config.arithmetic} arithmetic is not estimated; use `onespike synth`."
        )
    family = target.family
    known = (fit or fitted())["families"].get(family.name, {"blocks": {}})
    totals = {"luts": 0.0, "flip_flops": 0.0}
    by_block: dict[str, int] = {}
    for name, block in quantities(config, family).items():
        if name not in known["blocks"]:
            raise OneSpikeError(
                f"There are no coefficients of {name!r} for {family.name} in {FIT.name}; fit the area model again."
            )
        for what in totals:
            coefficients = known["blocks"][name][what]
            one = sum(coefficients.get(term, 0.0) * value for term, value in block.fitted.items())
            part = known["factor"][what] * block.number * (one + getattr(block, what))
            totals[what] += part
            if what == "luts":
                by_block[name] = round(part)
    return Area(
        luts=round(totals["luts"]),
        flip_flops=round(totals["flip_flops"]),
        block_rams=block_rams(config, family),
        single_ports=single_ports(config),
        by_block=by_block,
    )
