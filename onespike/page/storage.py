# SPDX-License-Identifier: Apache-2.0
"""The section of the memories: what lies where, when, and how full they are."""

from __future__ import annotations

import math
from typing import Any

from .drawing import ACCENT, INK, LINE, NARROW, WIDE, Picture, picture, tip
from .image import LINE_HEIGHT
from .layers import short
from .material import HERE, Material
from .parts import Section, Table, cells, number, percent, several, share


def section(material: Material) -> Section:
    """Fill of every memory, and the map of the spike memory over the layers."""
    memories = material["memories"]
    total = sum(memory["bits"] for memory in memories)
    rows = tuple(
        cells(memory["name"], memory["copies"], memory["depth"], memory["width"], memory["used"],
              percent(memory["fill"]), number(memory["bits"] / 8192, "{:,.2f}"))
        for memory in memories
    )  # fmt: skip
    fill = Table(name="memories", caption="Memories", rows=rows,
                 heads=("memory", "copies", "rows", "bits of a row", "rows in use", "fill", "KiB in all"),
                 note="Depths are rounded up, so that networks of nearly one size share an engine.")  # fmt: skip
    tensors, weights = memories[0]["regions"], memories[1]["regions"]
    tables = [fill, _tensors(tensors, material["network"]["layers"])]
    if weights:
        placed = tuple(cells(r["name"], r["begin"], r["end"], r["end"] - r["begin"]) for r in weights)
        tables.append(Table(name="weight-map", caption="Weight memory of each bank", rows=placed,
                            heads=("layer", "first row", "end", "rows")))  # fmt: skip
    names = [layer["name"] for layer in material["network"]["layers"]]
    return Section(
        name="memory",
        title="Memories",
        sentences=(f"{several(memories, 'memory', 'kinds of memory')} of {total / 8192:,.1f} KiB in all.",),
        pictures=(_fill(memories), _lives(memories[0], names)),
        tables=tuple(tables),
        origins=(HERE,),
    )


def _tensors(tensors: list[dict[str, Any]], layers: list[dict[str, Any]]) -> Table:
    names = [layer["name"] for layer in layers]
    rows = tuple(
        cells(region["name"], region["begin"], region["end"], region["end"] - region["begin"], region["slices"],
              "loaded before" if region["first"] < 0 else names[region["first"]], names[region["last"]])
        for region in tensors
    )  # fmt: skip
    return Table(name="spike-map", caption="Spike memory of each bank", rows=rows,
                 heads=("tensor", "first word", "end", "words", "slices", "made by", "lives until"),
                 note="The image has two buffers: the next one is loaded while this one is computed.")  # fmt: skip


def _fill(memories: list[dict[str, Any]]) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for at, memory in enumerate(memories):
            axes.barh(at, 100, 0.55, color=LINE, alpha=0.5)
            bar = axes.barh(at, 100 * memory["fill"], 0.55, color=ACCENT)[0]
            tip(bar, f"{memory['name']}: {memory['used']:,} of {memory['depth']:,} rows")
            text = (
                f"{share(memory['fill'])}"
                if narrow
                else f"{memory['used']:,} of {memory['depth']:,} ({share(memory['fill'])})"
            )
            axes.text(103, at, text, va="center", color=INK)
        axes.set(yticks=range(len(memories)), yticklabels=[memory["name"] for memory in memories])
        axes.set(xlim=(0, 122 if narrow else 140))
        axes.set_xticks([0, 50, 100], ["0", "50 %", "100 %"])
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    said = "; ".join(f"{memory['name']} {share(memory['fill'])}" for memory in memories)
    tall = 0.45 + 0.3 * len(memories)
    return picture("fill", "Rows in use of each memory", f"Bars of the share in use: {said}.", paint, (tall, tall))


def _lives(memory: dict[str, Any], names: list[str]) -> Picture:
    regions = memory["regions"]

    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        room = memory["depth"]
        place = 72 * 0.82 * (NARROW if narrow else WIDE) / len(names)  # points of a layer
        for region in regions:
            begin, width = max(0, region["first"]), region["last"] + 1 - max(0, region["first"])
            tall = region["end"] - region["begin"]
            bar = axes.bar(
                begin,
                tall,
                width,
                region["begin"],
                align="edge",
                color=ACCENT,
                alpha=0.35,
                edgecolor=ACCENT,
                linewidth=0.8,
            )
            tip(bar[0], f"{region['name']}: words {region['begin']:,} to {region['end'] - 1:,}")
            name = short(region["name"], True)
            if tall > 0.09 * room and 6 * len(name) < width * place:
                axes.text(begin + width / 2, region["begin"] + tall / 2, name, ha="center", va="center", color=INK)
        shown = [short(name, True) for name in names]
        upright = any(6 * len(name) > place for name in shown)
        step = max(1, math.ceil(LINE_HEIGHT / place)) if upright else 1
        axes.set_xticks([at + 0.5 for at in range(0, len(names), step)], shown[::step], rotation=90 if upright else 0)
        axes.set(xlim=(0, len(names)), ylim=(0, room), xlabel="while this layer runs", ylabel="word")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(length=0)

    said = "; ".join(f"{region['name']} at words {region['begin']:,} to {region['end'] - 1:,}" for region in regions)
    caption = "Spike memory of each bank: what lies where while each layer runs"
    return picture("lives", caption, f"Rectangles of address over layers: {said}.", paint, (3.0, 2.8))
