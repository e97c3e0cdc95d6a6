# SPDX-License-Identifier: Apache-2.0
"""What the section of energy adds to counted events: cells, the wall, rivals that reuse weights, prices, NeuroBench."""

from __future__ import annotations

from typing import Any

from ..model.cost.neurobench import standard
from .material import Material
from .parts import Fact, Table, cells, number, words

PARTS = {
    "clock": "clock pins and gating cells",
    "clock_net": "the clock's own load",
    "registers": "flip-flops' data",
    "gates": "all other cells",
    "leakage": "leakage",
}


def of_cells(found: dict[str, Any]) -> list[Fact]:
    """What `asic` measured. Files of older versions know neither gating nor parts."""
    power, gated = found["power_mw"], found.get("gating_cells", 0)
    gating = "no clock gating"
    if gated:
        gating = f"clocks gated by {gated:,} cells, the mean one ticks in {found['ticking']:.0%} of the cycles"
    return [
        Fact(name="Cells", cell=number(found["area_um2"], "{:.3f} mm²", 1e-6), note=f"of {found['library']}"),
        Fact(name="Power of logic", cell=number(power["total"], "{:.2f} mW"),
             note=f"at {found['clock_mhz']:g} MHz, clock pins included, {gating}"),
        Fact(name="Energy of logic", cell=number(found["logic_uj"], "{:.3f} uJ"), note="an image, by activity in RTL"),
        Fact(name="Energy of memory", cell=number(found["memory_uj"], "{:.3f} uJ"), note=found["memory_source"]),
    ]  # fmt: skip


def at_the_wall(material: Material) -> list[Fact]:
    """What an image costs at the socket, where clock and watts are known."""
    found = material.figures.get("wall")
    if found is None:
        return []
    note = f"an image: {found['watts']:.3g} W over {found['images_per_second']:,.0f} images a second; {found['source']}"
    return [Fact(name="At the wall", cell=number(found["joules"], "{:.3f} mJ", 1e3), note=note)]


def sentences(found: dict[str, Any]) -> list[str]:
    """Rivals at the reuse of weights that suits them best, and the prices of memory at which order changes."""
    labels = {system["name"]: system["label"] for system in found["systems"]}
    best = {one["rival"]: one for one in sorted(found.get("reuse", ()), key=lambda one: -one["total_uj"])}
    said = [
        f"Where “{labels[name]}” uses each weight for {best[name]['pixels']} pixels, ours takes "
        f"{best[name]['ours_share']:.2f} of its energy in the table with memory."
        for name in labels
        if name in best
    ]
    for flip in found.get("sensitivity", ()):
        if flip["flips_at"] is not None:
            side = "less" if flip["wins"] == (flip["flips_at"] > flip["ratio"]) else "more"
            said.append(
                f"Ours takes less than “{labels[flip['rival']]}” where a byte of weights costs {side} than "
                f"{flip['flips_at']:.1f} additions; it costs {flip['ratio']:.1f} in the table with memory."
            )
    return said


def tables(material: Material, asic: dict[str, Any] | None) -> list[Table]:
    """Cells by what takes their energy, rivals that reuse weights, prices, and NeuroBench's terms."""
    found = material["energy"]
    labels = {system["name"]: system["label"] for system in found["systems"]}
    totals = {system["name"]: system["memory_uj"] for system in found["systems"]}
    shown = []
    if asic is not None and "logic_parts_uj" in asic:
        parts = asic["logic_parts_uj"]
        rows = [cells(what, number(parts[name], "{:.3f}")) for name, what in PARTS.items()]
        rows += [
            cells(f"memory of {memory['name']}", number(memory["uj"], "{:.3f}"))
            for memory in asic["memories"]
            if memory["reads"] + memory["writes"]
        ]
        note = f"{asic['library']} at {asic['clock_mhz']:g} MHz; {asic['memory_source']}."
        shown.append(Table(name="energy-cells", caption="Energy of an image in standard cells", rows=tuple(rows),
                           heads=("what takes it", "uJ"), shown=True, note=note))  # fmt: skip
    if "reuse" in found:
        rows = [
            cells(labels[one["rival"]], one["pixels"], number(one["total_uj"], "{:.3f}"),
                  number(one["weights_uj"], "{:.3f}"), number(one["file_uj"], "{:.3f}"),
                  number(one["ours_share"], "{:.2f}"))
            for one in found["reuse"]
        ]  # fmt: skip
        shown.append(Table(name="energy-reuse", caption="Rivals that use each weight for several pixels",
                           rows=tuple(rows), note="uJ an image, in the table with memory.",
                           heads=("system", "pixels", "all", "weights", "register file", "ours / it")))  # fmt: skip
    if "sensitivity" in found:
        rows = [
            cells(labels[flip["rival"]], number(flip["ratio"], "{:.1f}"),
                  number(totals["onespike"] / totals[flip["rival"]], "{:.2f}"), number(flip["flips_at"], "{:.1f}"))
            for flip in found["sensitivity"]
        ]  # fmt: skip
        note = "A byte of weights read, in additions at the accumulator's width; -: at no price."
        shown.append(Table(name="energy-prices", caption="Price of memory at which ours and the rival take the same",
                           rows=tuple(rows), note=note,
                           heads=("rival", "price in the table", "ours / it there", "equal at")))  # fmt: skip
    if (terms := material.figures.get("neurobench")) is not None:
        rows = [cells(name, words(value)) for name, value in standard(terms)]
        shown.append(Table(name="neurobench", caption="NeuroBench terms", rows=tuple(rows), heads=("term", "value")))
    return shown
