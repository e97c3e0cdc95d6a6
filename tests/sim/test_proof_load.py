# SPDX-License-Identifier: Apache-2.0
"""Load writes where, what and as often as the words say, and nothing of a row that has not come whole."""

import dataclasses

import pytest
from amaranth.hdl import Assert, Cat, Module, Mux, Signal

from mutant import mistakes, mutant
from onespike.hw.engine.load import TARGETS, Load, row_words
from onespike.sim.formal import ProofError, prove
from onespike.sim.inside import Inside
from onespike.sim.stream_rules import Property
from small_engine import SMALLEST

# Rows of one word, two and three, and all memories that an engine can have.
CONFIG = dataclasses.replace(
    SMALLEST, lanes=6, fire_lanes=2, weight_bits=16, acc_bits=20, tables=1, max_code=255, row_masks=True
)


class Blocks(Property):
    """Words counted as the format has them: a head, an address, then rows; a row is written as its last word has come.

    Nothing is written of a block for a memory that this engine has not; how many words it takes, is not said. Weights
    are passed on word by word, in the cycle after each has come.
    """

    def check(self, m: Module, inside: Inside) -> None:
        load, word = self.dut, self.dut.words.payload
        lengths = {TARGETS.index(name): row_words(width) for name, width in load.widths.items()}
        longest = max(lengths.values())
        place = Signal(range(3))  # of the next word: a head, an address, in a row
        target, bank, rows, address = Signal(8), Signal(8), Signal(17), Signal(24)  # rows, address: of the row to come
        length, come = Signal(range(longest + 1), init=1), Signal(range(longest + 1))
        row = [Signal(32, name=f"word{i}") for i in range(longest)]  # the words of this row
        written, whole = Signal(), Signal()
        m.d.sync += written.eq(whole)
        shifted, word_before = Signal(), Signal(32)
        m.d.sync += shifted.eq(load.words.valid & (place == 2) & (target == TARGETS.index("weights")))
        m.d.sync += word_before.eq(word)
        m.d.comb += Assert(load.shift == shifted)
        m.d.comb += Assert(~shifted | (load.data[-32:] == word_before))
        m.d.comb += [Assert(load.words.ready), whole.eq(load.words.valid & (place == 2) & (come + 1 == length))]
        with m.If(load.words.valid):
            with m.If(place == 0):
                m.d.sync += [place.eq(1), target.eq(word[:8]), bank.eq(word[8:16]), rows.eq(word[16:] + 1)]
                m.d.sync += length.eq(inside["per_row"] + 1)
                for index, count in lengths.items():
                    with m.If(word[:8] == index):
                        m.d.sync += length.eq(count)
            with m.If(place == 1):
                m.d.sync += [place.eq(2), come.eq(0), address.eq(word)]
            with m.If(place == 2):
                m.d.sync += come.eq(come + 1)
                for i, kept in enumerate(row):
                    with m.If(come == i):
                        m.d.sync += kept.eq(word)
                with m.If(whole):
                    m.d.sync += [come.eq(0), rows.eq(rows - 1), address.eq(address + 1)]
                    with m.If(rows == 1):
                        m.d.sync += place.eq(0)

        # What has been written: head and address of the row that was whole in the cycle before.
        kept = [Signal.like(signal, name=f"written_{signal.name}") for signal in (target, bank, address, length)]
        m.d.sync += [new.eq(old) for new, old in zip(kept, (target, bank, address, length), strict=True)]
        own_target, own_bank, own_address, own_length = kept
        own_row = [Signal(32, name=f"row{i}") for i in range(longest)]
        m.d.sync += [new.eq(Mux(come == i, word, old)) for i, (new, old) in enumerate(zip(own_row, row, strict=True))]
        for index in range(len(load.target)):
            m.d.comb += Assert(load.target[index] == (written & (own_target == index if index in lengths else 0)))
        m.d.comb += Assert(~load.target.any() | ((load.bank == own_bank) & (load.address == own_address)))
        for name, width in load.widths.items():
            if name == "weights":
                continue
            mine = load.target[TARGETS.index(name)]
            m.d.comb += Assert(~mine | (load.row(name) == Cat(own_row)[:width]))
        if self.rules_alone:
            return
        # How Load counts the same: down, one less, and its data as they come.
        head, words, per_row, collected = (inside[name] for name in ("head", "words", "per_row", "collected"))
        last = [collected.word_select(i, 32) for i in range(load.longest)]
        m.d.comb += [
            Assert(inside.state("Head") == (place == 0)),
            Assert(inside.state("Address") == (place == 1)),
            Assert(inside.state("Rows") == (place == 2)),
            Assert((length != 0) & (length <= longest) & ((place == 0) | (per_row + 1 == length))),
            Assert(per_row < longest),
            Assert((place == 0) | ((head.target == target) & (head.bank == bank) & (inside["rows"] + 1 == rows))),
            Assert((place == 2) | (come == 0)),
            Assert((place != 2) | ((words + come + 1 == length) & ((load.address + 1)[:24] == address))),
            Assert(~written | ((head.target == own_target) & (head.bank == own_bank))),
            Assert(~written | ((load.address == own_address) & (own_length != 0) & (own_length <= longest))),
        ]
        for count in range(1, load.longest + 1):
            of_row = [last[load.longest - count + i] == row[i] for i in range(count)]
            of_written = [last[load.longest - count + i] == own_row[i] for i in range(count)]
            m.d.comb += Assert((come != count) | Cat(of_row).all())
            m.d.comb += Assert(~written | (own_length != count) | Cat(of_written).all())
        for index, count in lengths.items():
            m.d.comb += Assert((place == 0) | (target != index) | (length == count))
            m.d.comb += Assert(~written | (own_target != index) | (own_length == count))


def test_writes_what_the_words_say():
    prove(Blocks(Load(CONFIG)), depth=3, induction=True)


@pytest.mark.parametrize(
    "right, wrong",
    mistakes(
        ("with m.If(rows == 0):", "with m.If(rows[1:] == 0):"),
        ("with m.If(words == 0):", "with m.If(words[1:] == 0):"),
        ("address.eq(self.words.payload - 1)", "address.eq(self.words.payload)"),
        ('"weights"))\n                    with', '"weights"))\n                with'),
        ("self.target[i].eq(head.target == i)", "self.target[i].eq(head.target[:3] == i)"),
        ('head.target == TARGETS.index("weights")', "head.target[0] == 0"),
    ),
)
def test_mistakes(right, wrong, tmp_path):
    with pytest.raises(ProofError, match="refuted"):
        prove(Blocks(mutant(Load, right, wrong, tmp_path)(CONFIG), rules_alone=True), depth=7)
