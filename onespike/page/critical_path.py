# SPDX-License-Identifier: Apache-2.0
"""The critical path of a routed design in words of the design: which units it crosses, and what its time goes into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .parts import share

STEP = re.compile(r"([\d.]+) ns (\S+) (\S+) -> (\S+)")
# Units of the engine -> what they do.
UNITS = {
    "fetch": "fetch, which reads spike words",
    "extract": "extract, which finds events in spike words",
    "lanes": "the lanes, which add weights",
    "shadows": "the shadow sums, which wait for the drain",
    "weight_memory": "the weight memory",
    "mask_memory": "the memory of row masks",
    "spike_memory": "the spike memory",
    "word_fifo": "the queue of spike words",
    "command_fifo": "the queue of commands",
    "drain": "drain, which collects sums",
    "fire": "fire, which makes spikes of sums",
    "pack": "pack, which makes spike words",
    "image": "image, which takes pixels",
    "sequencer": "the sequencer, which runs the layer program",
    "walk": "the walk, which goes over output places",
    "counters": "the counters",
    "load": "load, which fills memories",
    "logits": "logits, which gives answers",
    "prefetch": "prefetch, which takes streamed weights",
    "axi_read": "the AXI4 reader",
    "front": "the front, which talks to the host",
}


def unit(cell: str) -> str:
    """The unit that a cell of the flat netlist belongs to, in words; banks are told apart."""
    parts = re.sub(r"_(LUT4|PFUMX|L6MUX21|CCU2C|TRELLIS|SB|DFF)_.*", "", cell).split(".")
    bank = next((found[1] for part in parts if (found := re.fullmatch(r"bank(\d+)", part))), None)
    # The deepest name that says something; memories have a number of their own.
    names = [re.sub(r"\d+$", "", part) for part in parts]
    memory = [name for name in names if name.endswith("_memory") and name in UNITS]
    known = [name for name in names if name in UNITS]
    name = memory[0] if memory else next((name for name in reversed(known) if name != "front"), "")
    if not name:
        name = "front" if "front" in known and "engine" not in names else ""
    where = f" of bank {bank}" if bank is not None else ""
    if name:
        what, _, does = UNITS[name].partition(",")
        return f"{what}{where}{f',{does}' if does else ''}"
    return f"logic{where}" if where else "logic whose name synthesis has lost"


def described(path: Sequence[str]) -> dict[str, Any] | None:
    """Time of the path and of its wires, its steps with their units, and all of it in a sentence; None without one."""
    found = [STEP.match(step) for step in path]
    steps: list[dict[str, Any]] = [
        {"ns": float(step[1]), "kind": step[2], "from": unit(step[3]), "to": unit(step[4]), "cells": [step[3], step[4]]}
        for step in found
        if step is not None
    ]
    if not steps:
        return None
    total = sum(step["ns"] for step in steps)
    wires = sum(step["ns"] for step in steps if step["kind"] == "routing")
    levels = sum(step["kind"] == "logic" for step in steps)
    begin, end = steps[0]["from"], steps[-1]["to"]
    between = list(dict.fromkeys(step["to"] for step in steps if step["to"] not in (begin, end)))
    named = begin.partition(",")[0]
    crossed = f" by way of {'; '.join(between)};" if between else ""
    goes = f"from {begin}," if end != begin else f"inside {begin},"
    goes += f"{crossed} to {end}" if end != begin else crossed.rstrip(";")
    cells = "no logic cell" if not levels else "1 logic cell" if levels == 1 else f"{levels} logic cells"
    sentence = (
        f"The critical path goes {goes.rstrip(',')}. It takes {total:.2f} ns, {wires:.2f} ns of it "
        f"({share(wires / total)}) in wires, and passes {cells}."
    )
    advice = (
        f"More than half of it is wire: what helps is a placement nearer to {named} (another seed, fewer banks, "
        f"less of the part in use), not less logic."
        if wires > total / 2
        else "More than half of it is logic: narrower words, fewer lanes or another register in that unit would help."
    )
    return {"ns": total, "wires_ns": wires, "logic_cells": levels, "sentence": sentence, "advice": advice,
            "steps": steps}  # fmt: skip
