# SPDX-License-Identifier: Apache-2.0
"""EngineConfig: the frozen hardware parameters, and every width derived from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..model.errors import OneSpikeError
from ..model.network.codes import CHUNK, MULTIPLES, PRODUCTS
from .memory import page_depths, single_port_depths
from .parity import parity_bits

ENGINE_CODES = ("radix", "unary", "psg")
ARITHMETICS = ("spikes", "zero-skip", "dense")
PRODUCT_BITS = (4, 8)
AXI_BITS = (32, 64, 128)
TABLES = (0, 1, 2, 4, 8)
TABLE_CODES = (16, 32)
MOST_SHADOWS = 4
MAY_BE_ZERO = ("max_shift", "external_weights", "tables", "watchdog")
LEAST_WATCHDOG = 256  # cycles: shorter ones would end the pause in which a record is read
# The most that an engine can have: what the largest networks ask for twice (VGG-16 on one bank of 16 lanes has 8.6
# million weight rows). Verilog is written of smaller engines, see `onespike.hw.emit.verilog`.
MOST = {
    **dict.fromkeys(("spike_depth", "weight_depth", "mask_depth"), 1 << 24),
    **dict.fromkeys(("channel_depth", "walk_depth", "program_depth", "pool_depth", "class_depth"), 1 << 20),
    **dict.fromkeys(("word_fifo", "command_fifo"), 1 << 10),
    **{"max_groups": (1 << 16) - 1, "max_code": (1 << 32) - 1},  # a field has at most 32 bits
    **{"watchdog": (1 << 32) - 1},
}


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """The engine's parameters; the same configuration always gives the same Verilog, whatever the network.

    Parameters
    ----------
    banks : B, event pipelines; a power of two up to 64. Each handles one event a cycle.
    lanes : L, accumulators of a bank, that is output channels served by one event.
    fire_lanes : F, output channels that drain, fire and pool in one cycle; a power of two dividing lanes.
    drain_banks : D, banks with slices of one job that are drained at a time; a power of two up to banks. Slices save
        memory (weights and maps are in fewer banks), and with D = 1 they cost a turn of the drain each.
    word_bits : W, bits of a spike word: 16 or 32. Block RAMs are 32 or 36 wide; narrower words are found faster.
    weight_bits : bits of a weight, 2 to 16.
    acc_bits : bits of an accumulator; the mapper refuses a network whose proven bound needs more.
    max_shift : the largest shift of an event (7 for 8-bit pixels, 8 without multiples); sets the lanes' shifters.
    multiples : odd multiples of a weight that an event may add: (1,), (1, 3) or (1, 3, 5). With all three, most values
        of four bits are one event; each lane has a small adder for them.
    code : how hidden spikes are written: "radix" (default), "unary" (thermometer), "psg" (the paper's pattern).
    max_groups : the largest spike count of a fired value, before a sum pool.
    max_code : the largest code of a stored value, after a sum pool. Fields may be as wide as it; of values below zero
        or codes of a table, it is the largest number that their field holds.
    segments : most sources of one layer.
    spike_depth : spike words of one bank.
    weight_depth : weight rows (of L weights) of one bank.
    channel_depth : rows of F (bias, shift) pairs.
    walk_depth : entries of the row table and of the column table.
    program_depth : 32-bit words of the layer program.
    pool_depth : rows of F running pool values: blocks x L / F of the widest pooled layer.
    class_depth : rows of F logits; of a map, those of all its places.
    word_fifo : spike words that wait between fetch and set-bit extraction.
    command_fifo : commands that wait in front of each bank: how far banks may run ahead of each other.
    loadable : whether weights, thresholds and program can be written through the load stream.
    external_weights : data bits (32, 64 or 128) of the AXI4 port through which weights are streamed from external
        memory while the engine computes; 0: all weights are on the chip. The weight memories then hold the layers in
        use and those that come next.
    burst, bursts : beats of one AXI4 read burst, and bursts that may be on their way.
    counters : whether the engine counts cycles and events of every layer; a small part may need the room.
    signed_codes : whether a fired value may be negative, down to -max_groups (radix code only).
    tables : tables of levels that fired values may be searched in: 0, 1, 2, 4 or 8 (radix code only).
    table_codes : codes of such a table: 16 or 32.
    row_masks : whether each spike word that a job reads has a mask that says which of its weight rows are not all zero:
        the others make no event and are not stored, and a job may read a part of a pixel's words only.
    mask_depth : rows of one bank's masks, one for each such word (only with `row_masks`).
    depthwise : whether lanes may take a value of their own, each that of its own channel: all values of a word in one
        or two events (needs `row_masks`, the radix code, and a fire lane for each chunk of four bits of a word).
    maps : whether the last layer may give a map: its outputs leave place after place, all channels of one before the
        next.
    arithmetic : what a lane does with an event: "spikes" (default), add a multiple of the weight, shifted; or, to
        compare with, multiply the weight by the value: "zero-skip" for every value that is not zero, "dense" for all.
        The rivals' events are values, one a cycle, and `multiples` is of no use to them; they need the radix code.
    product_bits : bits of a value that a rival's lane multiplies in a cycle: 4 or 8. With 4, each chunk of four bits of
        a wider value is an event of its own.
    dsp : whether a rival's lanes multiply in DSP blocks, one each, and not in LUTs.
    single_port : whether weights lie in single-port RAM without initial contents, such as the SPRAM of iCE40 UltraPlus:
        16,384 rows of 16 bits each. They are loaded before the first image, as with any loadable engine; no other
        memory may be so, as banks read while layers write.
    shadows : finished jobs of a bank that may wait for the drain, 1 to 4: a set more is acc_bits registers a lane,
        and a layer ends one cycle later. More than one where jobs are short and their events come in bursts.
    parity : whether each eight bits of the memories that hold the network, and of the spike memories, have a parity
        bit: a wrong one is noted (`faults`). It costs no cycle, and on parts whose block RAMs have a ninth bit for
        each byte mostly no block RAM.
    watchdog : cycles after which a layer that has not ended is given up, or the pause before one; 0: none. The engine
        then stands still until `enable` falls. Cycles in which the host or external memory is waited for do not count.

    >>> EngineConfig(banks=3)
    Traceback (most recent call last):
    onespike.model.errors.OneSpikeError: banks must be 1, 2, 4 .. 64, not 3.
    """

    banks: int = 4
    lanes: int = 16
    fire_lanes: int = 8
    drain_banks: int = 1
    word_bits: int = 32
    weight_bits: int = 8
    acc_bits: int = 20
    max_shift: int = 7
    multiples: tuple[int, ...] = (1, 3, 5)
    code: str = "radix"
    max_groups: int = 15
    max_code: int = 255
    segments: int = 1
    spike_depth: int = 1024
    weight_depth: int = 512
    channel_depth: int = 64
    walk_depth: int = 256
    program_depth: int = 128
    pool_depth: int = 16
    class_depth: int = 8
    word_fifo: int = 16
    command_fifo: int = 4
    loadable: bool = True
    external_weights: int = 0
    burst: int = 16
    bursts: int = 4
    counters: bool = True
    signed_codes: bool = False
    tables: int = 0
    table_codes: int = 16
    shadows: int = 1
    row_masks: bool = False
    mask_depth: int = 512
    depthwise: bool = False
    maps: bool = False
    arithmetic: str = "spikes"
    product_bits: int = 4
    dsp: bool = False
    single_port: bool = False
    parity: bool = False
    watchdog: int = 0

    def __post_init__(self) -> None:
        def check(condition: bool, message: str) -> None:
            if not condition:
                raise OneSpikeError(message)

        if isinstance(self.multiples, list):  # from JSON
            object.__setattr__(self, "multiples", tuple(self.multiples))
        check(
            self.multiples in MULTIPLES,
            f"multiples must be {', '.join(map(str, MULTIPLES[:-1]))} or {MULTIPLES[-1]}, not {self.multiples!r}.",
        )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low = 0 if field.name in MAY_BE_ZERO else 1
            if field.type == "int" and (type(value) is not int or value < low):
                raise OneSpikeError(f"Engine parameter {field.name} must be a positive integer, not {value!r}.")
            if field.type == "bool" and type(value) is not bool:
                raise OneSpikeError(f"Engine parameter {field.name} must be True or False, not {value!r}.")
            if field.type == "int" and value >> 64:  # such a number may even have no text
                raise OneSpikeError(f"Engine parameter {field.name} must be far smaller than 2**64.")
            if field.name in MOST and value > MOST[field.name]:
                raise OneSpikeError(f"Engine parameter {field.name} must lie in 1..{MOST[field.name]}, not {value}.")
        check(_power_of_two(self.banks) and self.banks <= 64, f"banks must be 1, 2, 4 .. 64, not {self.banks}.")
        check(self.lanes <= 256, f"lanes must lie in 1..256, not {self.lanes}.")
        check(
            self.lanes % self.fire_lanes == 0 and _power_of_two(self.fire_lanes),
            f"fire_lanes must be a power of two that divides lanes, not {self.fire_lanes} of {self.lanes}.",
        )
        check(
            _power_of_two(self.drain_banks) and self.drain_banks <= self.banks,
            f"drain_banks must be a power of two up to the {self.banks} banks, not {self.drain_banks}.",
        )
        check(self.word_bits in (16, 32), f"word_bits must be 16 or 32, not {self.word_bits}.")
        check(2 <= self.weight_bits <= 16, f"weight_bits must lie in 2..16, not {self.weight_bits}.")
        check(4 <= self.acc_bits <= 48, f"acc_bits must lie in 4..48, not {self.acc_bits}.")
        check(self.max_shift <= 15, f"max_shift must lie in 0..15, not {self.max_shift}.")
        check(self.code in ENGINE_CODES, f"code must be one of {', '.join(ENGINE_CODES)}, not {self.code!r}.")
        check(
            self.arithmetic in ARITHMETICS,
            f"arithmetic must be one of {', '.join(ARITHMETICS)}, not {self.arithmetic!r}.",
        )
        check(
            self.arithmetic == "spikes" or self.code == "radix",
            f"An engine that multiplies takes values in binary; {self.arithmetic} arithmetic needs the radix code, not "
            f"{self.code!r}.",
        )
        check(
            self.arithmetic == "spikes" or self.multiples == MULTIPLES[-1],
            f"multiples are what lanes of spikes add; leave them out with {self.arithmetic} arithmetic.",
        )
        check(self.product_bits in PRODUCT_BITS, f"product_bits must be 4 or 8, not {self.product_bits}.")
        check(
            not self.dsp or self.arithmetic != "spikes",
            "dsp is for engines that multiply; take it away, or choose zero-skip or dense arithmetic.",
        )
        check(
            self.code != "psg" or _power_of_two(self.max_groups),
            f"The psg code needs a power of two of groups, so that theta = groups << k is one, not {self.max_groups}; "
            f"use the unary code.",
        )
        check(self.tables in TABLES, f"tables must be 0, 1, 2, 4 or 8, not {self.tables}.")
        check(self.shadows <= MOST_SHADOWS, f"shadows must lie in 1..{MOST_SHADOWS}, not {self.shadows}.")
        check(self.table_codes in TABLE_CODES, f"table_codes must be 16 or 32, not {self.table_codes}.")
        check(
            self.code == "radix" or not (self.signed_codes or self.tables),
            f"signed_codes and tables need the radix code: an engine with the {self.code} code has only counts.",
        )
        check(
            self.row_masks or not self.depthwise,
            "depthwise needs row_masks: without, a job reads all words of a pixel.",
        )
        check(
            not self.depthwise or self.code == "radix",
            f"depthwise needs the radix code, where a value is a chunk of four bits, not {self.code!r}.",
        )
        check(
            not self.depthwise or self.fire_lanes % self.word_chunks == 0,
            f"depthwise needs a fire lane for each of the {self.word_chunks} values of a spike word; fire_lanes = "
            f"{self.fire_lanes} is no multiple of it.",
        )
        check(
            not self.single_port or (self.loadable and not self.external_weights),
            "single_port needs loadable: such memories have no initial contents, and weights are written only while no "
            "image runs, so they cannot be streamed either.",
        )
        check(self.counters or not self.external_weights, "An engine that streams its weights needs its counters.")
        check(
            self.watchdog == 0 or self.watchdog >= LEAST_WATCHDOG,
            f"watchdog must be 0 (none) or at least {LEAST_WATCHDOG} cycles, not {self.watchdog}.",
        )
        check(1 <= self.segments <= 16, f"segments must lie in 1..16, not {self.segments}.")
        check(self.fire_lanes <= self.word_bits, f"fire_lanes must be at most word_bits, not {self.fire_lanes}.")

        check(
            self.external_weights in (0, *AXI_BITS),
            f"external_weights must be 0 (weights on the chip) or {', '.join(map(str, AXI_BITS))} AXI data bits, not "
            f"{self.external_weights}.",
        )
        check(
            _power_of_two(self.burst) and 4 <= self.burst <= 256 and self.burst * self.external_weights <= 8 * 4096,
            f"burst must be a power of two in 4..256 and at most 4096 bytes, not {self.burst} beats of "
            f"{self.external_weights} bits.",
        )
        check(_power_of_two(self.bursts) and 2 <= self.bursts <= 64, f"bursts must be 2, 4 .. 64, not {self.bursts}.")

    @property
    def multiplies(self) -> bool:
        """Whether a lane multiplies its weight by a value: one of the rivals."""
        return self.arithmetic != "spikes"

    @property
    def worths(self) -> tuple[int, ...]:
        """What an event may add of its weight: `multiples`, or a multiplier's (`codes.PRODUCTS`)."""
        return PRODUCTS[self.arithmetic, self.product_bits] if self.multiplies else self.multiples

    @property
    def counts_values(self) -> bool:
        """Whether the layer program says how many values a pixel has: a dense engine takes all, and no mask says so."""
        return self.arithmetic == "dense" and not self.row_masks

    @property
    def notes_faults(self) -> bool:
        """Whether the engine says what has gone wrong in it: `onespike.hw.engine.faults.FAULTS`."""
        return self.parity or self.watchdog > 0

    def stored_bits(self, width: int) -> int:
        """Bits that a memory holds for a row of `width` bits."""
        return width + parity_bits(width) if self.parity else width

    @property
    def streams_weights(self) -> bool:
        """Whether weights come from external memory."""
        return self.external_weights > 0

    @property
    def hops(self) -> int:
        """Registers on each way between the middle of the engine and its banks: many banks lie far apart."""
        return int(self.banks > 4) + int(self.banks > 8)

    @property
    def more_hops(self) -> int:
        """Registers on each way behind the first: of what a bank answers in a bit, the first is the bank's own."""
        return max(0, self.hops - 1)

    @property
    def drain_steps(self) -> int:
        """Cycles to drain one bank: L / F."""
        return self.lanes // self.fire_lanes

    @property
    def spike_pages(self) -> tuple[int, ...]:
        """Words of each page of a spike memory, see `onespike.hw.memory.page_depths`."""
        return page_depths(self.word_bits, self.spike_depth)

    @property
    def weight_pages(self) -> tuple[int, ...]:
        """Rows of each page of a weight memory, see `onespike.hw.memory.page_depths`."""
        if self.single_port:
            return single_port_depths(self.weight_depth)
        return page_depths(self.lanes * self.weight_bits, self.weight_depth)

    @property
    def mask_pages(self) -> tuple[int, ...]:
        """Rows of each page of a memory of masks, see `onespike.hw.memory.page_depths`."""
        return page_depths(self.word_chunks + self.weight_addr_bits, self.mask_depth)

    @property
    def spike_addr_bits(self) -> int:
        return max(1, (self.spike_depth - 1).bit_length())

    @property
    def weight_addr_bits(self) -> int:
        return max(1, (self.weight_depth - 1).bit_length())

    @property
    def mask_addr_bits(self) -> int:
        return max(1, (self.mask_depth - 1).bit_length())

    @property
    def row_addr_bits(self) -> int:
        """Bits of where a spike word's weights are said to be: of its mask's row, or else of its first weight row."""
        return self.mask_addr_bits if self.row_masks else self.weight_addr_bits

    @property
    def word_chunks(self) -> int:
        """Chunks of four bits of a spike word."""
        return self.word_bits // CHUNK

    @property
    def own_places(self) -> int:
        """Output columns of a depthwise job: the lanes that each value of a word has."""
        return self.lanes // self.word_chunks

    @property
    def walk_addr_bits(self) -> int:
        return max(1, (self.walk_depth - 1).bit_length())

    @property
    def channel_addr_bits(self) -> int:
        return max(1, (self.channel_depth - 1).bit_length())

    @property
    def program_addr_bits(self) -> int:
        return max(1, (self.program_depth - 1).bit_length())

    @property
    def count_bits(self) -> int:
        """Bits of a spike count before a sum pool."""
        return self.max_groups.bit_length()

    @property
    def code_bits(self) -> int:
        """Bits of a stored value, after a sum pool."""
        return max(self.max_code, self.max_groups).bit_length()

    @property
    def signed_values(self) -> bool:
        """Whether values between the count and the spike word have a sign: signed codes, or what a table says."""
        return self.signed_codes or self.tables > 0

    @property
    def table_rows(self) -> int:
        """Rows of all tables together."""
        return self.tables * self.table_codes

    @property
    def term_fields(self) -> int:
        """Digits of a table that have terms: 0..15, and where it may have more levels, those of an upper chunk."""
        return 1 << CHUNK + (self.table_codes > 1 << CHUNK and not self.multiplies)

    @property
    def shift_bits(self) -> int:
        """Bits of a channel's shift k: at most acc_bits - 1."""
        return (self.acc_bits - 1).bit_length()

    @property
    def channel_bits(self) -> int:
        """Bits of one channel's parameters: bias and shift."""
        return self.acc_bits + self.shift_bits
