# SPDX-License-Identifier: Apache-2.0
"""What `onespike compare` prints and draws."""

from __future__ import annotations

from collections.abc import Mapping as Map
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import tables
from ..beside import label


def show(result: Map[str, Any], console: Console) -> None:
    """Both tables, and the sentences below them."""
    console.print(costs(result))
    console.print(moved(result))
    for sentence in sentences(result):
        console.print(f"* {sentence}", soft_wrap=True)


def costs(result: Map[str, Any]) -> Table:
    """Accuracy beside what it takes."""
    images, engine, dense = result["images"], result["engine"], result["dense"]
    table = tables.titled(
        f"One trained network, {len(result['methods'])} methods: {engine['banks']} banks x {engine['lanes']} lanes",
        "method, what is counted, right, spikes, events per MAC, additions, cycles, of dense",
        f"Right: of {tables.big(images['judged'])} images; the float network {_percent(result['float'])}. Spikes: per "
        f"neuron, before a pool; a count is as many, a short level or a phase is one. Events: a multiple of one weight "
        f"into one channel; of 3 or 5 it is two additions ({tables.big(images['counted'])} images). Cycles: of the one "
        f"engine that holds every network that has hardware ({images['cycles']} images); in brackets, of a rival that "
        f"runs the T steps one after the other on such an engine with a memory for membranes. Of dense: "
        f"{macs(dense)}.",
    )
    table.columns[1].justify = "left"
    for row in result["methods"]:
        if row["refused"]:
            table.add_row(row["label"], row["stated"], *["-"] * 6)
            continue
        cycles = row["cycles"] or row["rival_cycles"]
        shown = (tables.big(cycles), tables.share(cycles, dense["cycles"]))
        table.add_row(
            row["label"],
            row["stated"],
            _percent(row["accuracy"]),
            f"{row['spikes_per_neuron']:.2f}",
            f"{row['events_per_mac']:.3f}",
            tables.big(row["additions"]),
            *(shown if row["cycles"] else (f"({text})" for text in shown)),
        )
    return table


def macs(dense: Map[str, Any]) -> str:
    return (
        f"cycles of an array of as many lanes that makes the {tables.big(dense['macs'])} dense MACs, "
        f"{tables.big(dense['cycles'])}"
    )


def moved(result: Map[str, Any]) -> Table:
    """Bits and energy, beside the quantised network that is worth the same."""
    named = result["tables"]
    table = tables.titled(
        "Moved and spent per image",
        "method, neurons, weights, activations, state, all, uJ, with memory, quantised, uJ, skipping",
        f"Neurons: thresholds evaluated, in thousands. Weights to all: kbit read and written; state: membranes and "
        f"kept currents; all: parameters and pools, too. uJ: {named['operations']}, and {named['memory']}. "
        f"Quantised: bits of the activations of the quantised network that is worth the same, and its uJ with "
        f"memory; skipping: with zeros skipped. The dense INT8 network: {_dense(result)} uJ with memory.",
    )
    for row in result["methods"]:
        if row["refused"]:
            table.add_row(row["label"], *["-"] * 10)
            continue
        bits, spent, quantised = row["bits"], row["energy"], row["quantised"]
        table.add_row(
            row["label"],
            tables.big(row["neuron_operations"] / 1000),
            *(tables.big(bits[name] / 1000) for name in ("weights", "activations", "state", "all")),
            f"{spent['operations_int8_uj']:.3f}",
            f"{spent['memory_uj']:.2f}",
            *([f"{quantised['bits']} bits", f"{quantised['memory_uj']:.2f}", f"{quantised['skipping_memory_uj']:.2f}"]
              if quantised else ["-"] * 3),
        )  # fmt: skip
    return table


def _dense(result: Map[str, Any]) -> str:
    known = [row["dense"] for row in result["methods"] if not row["refused"] and row["dense"]]
    return f"{known[0]['memory_uj']:.2f}" if known else "-"


def _percent(value: float) -> str:
    return tables.percent(value, 2)


def sentences(result: Map[str, Any]) -> list[str]:
    """What the tables do not say: who is equal, who has no hardware, who was refused."""
    rows, engine, found = result["methods"], result["engine"], []
    have = f"{engine['tables']} tables of {engine['table_codes']} levels" if engine["tables"] else "no tables"
    signs = "values with a sign" if engine["signed_codes"] else "no values with a sign"
    found.append(
        f"The engine: {engine['banks']} banks x {engine['lanes']} lanes, {engine['acc_bits']}-bit sums, {have}, "
        f"{signs}; each bank has {tables.big(engine['spike_depth'])} spike words and "
        f"{tables.big(engine['weight_depth'])} weight rows."
    )
    first: dict[str, str] = {}
    for row in rows:
        if row["refused"]:
            found.append(f"{row['label']} was refused: {row['refused']}")
            continue
        if row["hash"] in first:
            found.append(f"{row['label']} is the same integer network as {first[row['hash']]}, bit by bit.")
        first.setdefault(row["hash"], row["label"])
    without: dict[str, list[str]] = {}
    for row in rows:
        if not row["refused"] and row["without_hardware"]:
            without.setdefault(row["without_hardware"], []).append(row["label"])
    for why, labels in without.items():
        found.append(f"{', '.join(labels)}: no cycles of our own, {why.removeprefix('none').lstrip(':, ')}.")
    return found


def draw(result: Map[str, Any], axes: Any) -> None:
    """Accuracy over cycles: a filled mark for what runs on the engine, a hollow one for a T-step rival."""
    rows = [row for row in result["methods"] if not row["refused"]]
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        places = [(row["cycles"] or row["rival_cycles"], 100 * row["accuracy"]) for row in own]
        color = COLORS.get(name, "0.3")
        face, beside = (color, "") if own[0]["cycles"] else ("none", " (a rival's cycles)")
        shape, size = MARKS.get(name, ("o", 40))
        axes.scatter(*zip(*places, strict=True), s=size, marker=shape, edgecolors=color, facecolors=face,
                     linewidths=1.4, zorder=3, label=name + beside)  # fmt: skip
    axes.axhline(100 * result["float"], ls="--", lw=0.8, c="0.5")
    axes.annotate("float network", (0.995, 100 * result["float"]), xycoords=("axes fraction", "data"), fontsize=8,
                  ha="right", va="bottom", color="0.4", xytext=(0, 2), textcoords="offset points")  # fmt: skip
    axes.axvline(result["dense"]["cycles"], ls=":", lw=0.8, c="0.5")
    axes.annotate("dense array", (result["dense"]["cycles"], 0.01), xycoords=("data", "axes fraction"), fontsize=8,
                  rotation=90, ha="right", va="bottom", color="0.4")  # fmt: skip
    axes.set(xscale="log", xlabel="cycles per image", ylabel="right answers, %")
    axes.grid(True, which="major", lw=0.4, c="0.88")
    axes.set_axisbelow(True)
    axes.margins(0.14, 0.14)
    label(axes, [(row["label"], row["cycles"] or row["rival_cycles"], 100 * row["accuracy"]) for row in rows])
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)


# Of Okabe and Ito: told apart by colour-blind people, too; and every method has a mark of its own, with its area. That
# of ASG, which equals PSG, is seen inside the other.
COLORS = {"psg": "#0072B2", "phase": "#D55E00", "asg": "#F0E442", "if": "#CC79A7", "ctt": "#7A5195",
          "trained": "#009E73"}  # fmt: skip
MARKS = {"psg": ("o", 60), "phase": ("s", 40), "asg": ("D", 12), "if": ("^", 40), "ctt": ("v", 40),
         "trained": ("P", 50)}  # fmt: skip
