# SPDX-License-Identifier: Apache-2.0
"""Memories whose reads and writes never meet; deep ones in pages, with a register behind every block RAM."""

from __future__ import annotations

import functools
from typing import Any

from amaranth.hdl import Const, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib.memory import Memory

PAGE_BITS = {16384: 1, 8192: 2, 4096: 4, 2048: 9, 1024: 18, 512: 36}  # words of a block RAM of 18 Kbit -> their width
SINGLE_PORT_ROWS, SINGLE_PORT_BITS = 16384, 16  # of the single-port RAM of iCE40 UltraPlus, SB_SPRAM256KA
PAGES_IN_LINE = 32  # that are combined one after the other


def plain_memory(shape: ShapeLike, depth: int) -> Memory:
    """A memory without initial contents, of which no word is ever read in the cycle in which it is written.

    Where that holds (see each use: layers, buffers and jobs keep reads and writes apart), synthesis may map it to a
    block RAM as it is. Verilog would otherwise promise the old word, and Yosys would add a register, a comparator and a
    multiplexer as wide as the memory to keep that promise: 76 registers and 200 LUTs at each bank's spike memory.
    """
    return Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})


def single_port_depths(depth: int) -> tuple[int, ...]:
    """Words of each page of a memory in single-port RAM, the largest first."""
    whole, last = divmod(depth - 1, SINGLE_PORT_ROWS)
    return (SINGLE_PORT_ROWS,) * whole + (last + 1,)


@functools.cache
def page_depths(width: int, depth: int) -> tuple[int, ...]:
    """Words of each page of a deep memory, the largest first: as few block RAMs as can be, then as few pages.

    A page is as deep as the block RAMs that lie side by side in it, so nothing is chosen inside a page. All but the
    last hold a power of two of words, so that every page begins at a multiple of its size.
    """

    def best(left: int, sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        found = []
        for index, words in enumerate(sizes):
            rams = -(-width // PAGE_BITS[words])
            whole, last = divmod(left - 1, words)
            found.append(((whole + 1) * rams, (words,) * whole + (last + 1,)))
            smaller = sizes[index + 1 :]
            if whole and smaller:
                rest, pages = best(last + 1, smaller)
                found.append((whole * rams + rest, (words,) * whole + pages))
        return min(found, key=lambda pages: (pages[0], len(pages[1])))

    return best(depth, tuple(PAGE_BITS))[1]


class PagedMemory:
    """A `plain_memory` whose words arrive two cycles after their address: from block RAM, from a register behind it.

    A memory deeper than its block RAMs is cut into pages (`page_depths`). Each has its own register, which the tools
    can take into the block RAM, and the multiplexer that chooses the page lies behind them: in one cycle together, the
    two would set the clock of a large engine.

    Parameters
    ----------
    m : the module that the pages join, as submodules: `name` where there is one, else `name` with a number.
    spare : further bits of a row, for which the pages do not change: parity.
    single_port : the pages are single-port RAMs: a write takes the port, and a read in the same cycle is lost.
    """

    def __init__(self, m: Module, name: str, width: int, depth: int, spare: int = 0, *, single_port: bool = False):
        self.name, self.width, self.single_port = name, width + spare, single_port
        depths = single_port_depths(depth) if single_port else page_depths(width, depth)
        self.pages = [plain_memory(self.width, words) for words in depths]
        if single_port:
            for page in self.pages:
                page.attrs["ram_style"] = "huge"
        self._writes: dict[Memory, tuple[Any, Value]] = {}  # port and address of the writes, for the only port
        for page, memory in zip(self.names, self.pages, strict=True):
            m.submodules[page] = memory

    @property
    def names(self) -> list[str]:
        """Name of every page."""
        return page_names(self.name, len(self.pages))

    def _lies_in(self, address: Value) -> list[Value]:
        """For each page, whether the address lies in it."""
        found, first = [], 0
        for page in self.pages:
            bits = (page.depth - 1).bit_length()
            found.append(address[bits:] == first >> bits)
            first += page.depth
        return found if len(found) > 1 else [Const(1)]

    def write(self, m: Module, *, enable: Value, address: Value, data: Value, hop: bool = False) -> None:
        """Connect the write port; hop: where there are pages, a word is written one cycle later, as in `read`."""
        hops = hop and len(self.pages) > 1
        if hops:
            later = Signal(self.width, name=f"{self.name}_later", reset_less=True)
            m.d.sync += later.eq(data)
            data = later
        for name, page, here in zip(self.names, self.pages, self._lies_in(address), strict=True):
            port = page.write_port()
            place = port.addr
            if self.single_port:
                place = Signal.like(port.addr, name=f"{name}_written", reset_less=True)
                self._writes[page] = port, place
            m.d.comb += port.data.eq(data)
            if hops:
                m.d.sync += port.en.eq(enable & here)
                with m.If(enable & here):
                    m.d.sync += place.eq(address)
            else:
                m.d.comb += [port.en.eq(enable & here), place.eq(address)]

    def read(
        self, m: Module, address: Value, *, first: Value | None = None, second: Value | None = None, hop: bool = False
    ) -> Value:
        """The word at `address`, two cycles later; first, second: whether the first and the second step are taken.

        A step that is not taken leaves the word as it is, if it is so from the first step on. hop: where there are
        pages, each gets a register of its own for the address and `first`, one cycle earlier: one register
        would be slow to reach all of a deep memory's block RAMs. Only the page that is read takes the address.
        """
        first, second = Const(1) if first is None else first, Const(1) if second is None else second
        words = []
        for name, page, here in zip(self.names, self.pages, self._lies_in(address), strict=True):
            port = page.read_port()
            place: Value = address
            enable, begun = first, first
            if hop and len(self.pages) > 1:
                place = Signal(len(port.addr), name=f"{name}_place", reset_less=True)
                with m.If(here):
                    m.d.sync += place.eq(address)
                reached = Signal(name=f"{name}_reached", reset_less=True)
                m.d.sync += reached.eq(here)
                own, asked = (Signal(name=f"{name}_{n}", reset_less=True) for n in ("own", "asked"))
                m.d.sync += [own.eq(first & here), asked.eq(first)]
                here, enable, begun = reached, own, asked
            word = Signal(self.width, name=f"{name}_word", reset_less=True)
            if self.single_port:
                enable, place = self._share(m, name, page, enable, place)
            m.d.comb += [port.addr.eq(place), port.en.eq(enable)]
            with m.If(second):
                m.d.sync += word.eq(port.data)
            if len(self.pages) > 1:
                read, chosen = (Signal(name=f"{name}_{n}", reset_less=True) for n in ("read", "chosen"))
                with m.If(begun):
                    m.d.sync += read.eq(here)
                with m.If(second):
                    m.d.sync += chosen.eq(read)
                word = word & chosen.replicate(self.width)
            words.append(word)
        while len(words) > 1:  # in groups: a chain of hundreds is deeper than Python's stack
            parts = [words[at : at + PAGES_IN_LINE] for at in range(0, len(words), PAGES_IN_LINE)]
            words = [functools.reduce(lambda a, b: a | b, part) for part in parts]
        return words[0]

    def _share(self, m: Module, name: str, page: Memory, enable: Value, place: Value) -> tuple[Value, Value]:
        """Enable and address of the read of a page whose only port its writes take first."""
        port, written = self._writes[page]
        shared = Signal(range(page.depth), name=f"{name}_shared")
        m.d.comb += [shared.eq(Mux(port.en, written, place)), port.addr.eq(shared)]
        return enable & ~port.en, shared


def page_names(name: str, pages: int) -> list[str]:
    """Names of the pages of a memory."""
    return [name] if pages == 1 else [f"{name}{page}" for page in range(pages)]
