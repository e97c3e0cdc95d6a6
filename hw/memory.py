# SPDX-License-Identifier: Apache-2.0
"""Memories whose reads and writes never meet."""

from __future__ import annotations

from amaranth.hdl import ShapeLike
from amaranth.lib.memory import Memory


def plain_memory(shape: ShapeLike, depth: int) -> Memory:
    """A memory without initial contents, of which no word is ever read in the cycle in which it is written.

    Where that holds (see each use: layers, buffers and jobs keep reads and writes apart), synthesis may map it to a
    block RAM as it is. Verilog would otherwise promise the old word, and Yosys would add a register, a comparator and a
    multiplexer as wide as the memory to keep that promise: 76 registers and 200 LUTs at each bank's spike memory.
    """
    return Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
