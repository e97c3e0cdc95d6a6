# SPDX-License-Identifier: Apache-2.0
"""Flips: every bit that an engine's Verilog keeps, and a test bench that turns single ones over while images run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..hw.config import EngineConfig
from ..hw.engine.counters import counter_stride, layer_depth
from ..hw.engine.engine import TOP
from ..hw.engine.faults import FAULTS, WATCHDOG

HARNESS = Path(__file__).with_name("flips.v")
TRIAL = 8  # words of trials.hex for each trial
KINDS = {  # what a memory's name begins with -> what is damaged
    "weight": "weights",
    "spike": "spikes",
    "program": "program",
    "row": "walk tables",
    "column": "walk tables",
    "channel": "channels",
    "mask": "masks",
    "table": "levels",
}
OTHERS = "queues and sums"  # memories that hold something for a short time only
REGISTERS = "registers"
DECLARATION = r"(?m)^  (?:output )?reg (?:\[(\d+):0\] )?(\S+?) ?(?:\[(\d+):0\] ?)?(?: = [^;,]+)?[;,]?$"
INSTANCE = r"(?m)^  (\S+) +(?:#\((?:\n.*?)*?\n?  \) )?(\S+) \($"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A register or a memory: its path in the design, bits of a row, rows (0: a register)."""

    path: tuple[str, ...]
    width: int
    rows: int

    @property
    def kind(self) -> str:
        if not self.rows:
            return REGISTERS
        found = re.match(r"([a-z]+)_memory(\d*)$", self.path[-1])
        return KINDS.get(found[1], OTHERS) if found else OTHERS

    @property
    def bank(self) -> int | None:
        """The bank that it lies in."""
        return next((int(part[4:]) for part in self.path if re.fullmatch(r"bank\d+", part)), None)

    @property
    def reference(self) -> str:
        """Its hierarchical name in Verilog, below the engine's instance."""
        return ".".join(part + " " * part.startswith("\\") for part in self.path)


def kept_bits(verilog: str) -> list[Kept]:
    """All that an engine's Verilog (`to_verilog`) keeps from a cycle to the next, in the order of its text."""
    modules = dict(re.findall(r"(?ms)^module (\S+) ?(.*?)^endmodule", verilog))
    found: list[Kept] = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        text = modules[module]
        clocked = set(re.findall(r"(?m)^\s+([^\s\[]+) ?(?:\[[^;]*\] )?<= ", text))
        for width, name, rows in re.findall(DECLARATION, text):
            if name in clocked:
                found.append(Kept(path=(*path, name), width=int(width or 0) + 1, rows=int(rows) + 1 if rows else 0))
        for inner, name in re.findall(INSTANCE, text):
            if inner in modules:
                visit(inner, (*path, name))

    visit(TOP, ())
    return found


def harness_text(config: EngineConfig, kept: list[Kept], words: int, beats: int, trials: int) -> str:
    """The test bench: `flips.v` with the engine's instance, its widths, and a branch for every register and memory."""
    flips = []
    for number, each in enumerate(kept):
        place = f"dut.{each.reference}" + ("[row]" if each.rows else "") + ("[bit_]" if each.width > 1 else "")
        flips.append(f"      {number}: {place} <= ~{place};")
    counter_bits = (counter_stride(config) * layer_depth(config) - 1).bit_length()
    dut = f"""onespike dut (
      .clk(clk), .rst(rst), .enable(enable),
      .load__payload(load[loaded]), .load__valid(load_valid), .load__ready(),
      .image__payload(image[place]), .image__valid(image_valid), .image__ready(image_ready),
      .logits__payload(logits), .logits__valid(logits_valid), .logits__ready(1'b1),
      .counter({counter_bits}'d0), .count(){", .faults(faults)" if config.notes_faults else ""},
      .write__enable(), .write__address(), .write__data(), .write__slice(), .write__layer()
  );
  {"" if config.notes_faults else "assign faults = 0;"}"""
    text = HARNESS.read_text().replace("`FLIPS_DUT", dut).replace("`FLIPS", "\n".join(flips))
    values = {"W": config.word_bits, "ACC": config.acc_bits, "LOADS": words, "BEATS": beats, "TRIALS": trials,
              "FAULTS": len(FAULTS), "WATCHDOG": WATCHDOG}  # fmt: skip
    for name, value in values.items():
        text, number = re.subn(rf"parameter {name} = \d+", f"parameter {name} = {value}", text)
        assert number == 1
    return text
