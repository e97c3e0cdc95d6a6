# SPDX-License-Identifier: Apache-2.0
"""The sections of one image: its cycles, bank by bank, and its spikes, layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from .drawing import ACCENT, ACCENT_RGB, BELOW_RGB, INK, LINE, NARROW, QUIET, WIDE, Picture, picture
from .layers import short
from .material import HERE, Material
from .parts import Section, Table, cells, number, several, share

MOST_PANELS = 12  # of the raster: evenly chosen layers of deeper networks
LETTER, LINE_HEIGHT = 6.0, 11.0  # points that text takes, about


def timeline(material: Material) -> Section:
    """When each bank adds events, layer by layer."""
    layers = material["timeline"]
    total = layers[-1]["end"]
    rows = tuple(
        cells(
            layer["name"],
            layer["begin"],
            layer["end"],
            layer["jobs"],
            layer["event"],
            layer["waiting"],
            layer["stalled"],
        )
        for layer in layers
    )
    table = Table(
        name="timeline", caption="Layers of the first image in time", rows=rows,
        heads=("layer", "from cycle", "to cycle", "jobs", "events", "waiting", "stalled"),
        note="Jobs: output places x blocks of channels x banks that share one. Waiting: bank-cycles for the drain. "
        "Stalled: cycles before the layer, for its weights.",
    )  # fmt: skip
    sentence = (
        f"The first image takes {total:,} cycles. The trace, to be opened in Perfetto or chrome://tracing, has what "
        f"every bank does, job by job; a microsecond there is a cycle."
    )
    return Section(name="timeline", title="Timeline of one image", sentences=(sentence,), origins=(HERE,),
                   pictures=(_banks(material, layers, total),), tables=(table,))  # fmt: skip


def _banks(material: Material, layers: list[dict[str, Any]], total: int) -> Picture:
    busy = material.busy
    banks, bins = busy.shape
    edges = np.linspace(0, total, bins + 1)

    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for bank in range(banks):
            axes.axhline(bank, color=LINE, linewidth=0.6)
            shown, at = (busy[bank].reshape(-1, 2).mean(1), edges[::2]) if narrow else (busy[bank], edges)
            axes.stairs(bank - 0.9 * shown, at, baseline=bank, fill=True, color=ACCENT, linewidth=0)
        room = 72 * 0.86 * (NARROW if narrow else WIDE) / total  # points of a cycle
        wide = [layer for layer in layers if room * (layer["end"] - layer["begin"]) > LINE_HEIGHT]
        names = [short(layer["name"], True) for layer in wide]
        upright = any(LETTER * len(name) > room * (layer["end"] - layer["begin"])
                      for name, layer in zip(names, wide, strict=True))  # fmt: skip
        for layer in layers:
            axes.axvline(layer["end"], color=QUIET, linewidth=0.7, linestyle=(0, (3, 2)))
        for name, layer in zip(names, wide, strict=True):
            middle = (layer["begin"] + layer["end"]) / 2
            axes.annotate(name, (middle, -0.9), textcoords="offset points", xytext=(0, 3), ha="center", va="bottom",
                          color=INK, rotation=90 if upright else 0, annotation_clip=False)  # fmt: skip
        step = -(-banks // 8)
        axes.set_yticks(
            [bank - 0.45 for bank in range(0, banks, step)], [f"bank {bank}" for bank in range(0, banks, step)]
        )
        axes.set(xlabel="cycle", xlim=(0, total), ylim=(banks - 0.8, -0.95))
        axes.locator_params(axis="x", nbins=4 if narrow else 8)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)

    mean = busy.mean(1)
    alt = f"{several(mean, 'bank')} over {total:,} cycles; a bank adds events in {share(mean.min())} to "
    alt += f"{share(mean.max())} of them. Layers one after another: {', '.join(layer['name'] for layer in layers)}."
    longest = max(len(short(layer["name"], True)) for layer in layers)
    tall = min(6.5, 0.8 + (0.36 if banks <= 8 else 0.2) * banks) + LETTER * longest / 72
    return picture("timeline", "Share of the cycles in which each bank adds an event", alt, paint, (tall, tall))


def raster(material: Material) -> Section:
    """The spikes of all layers for one image."""
    first, names = material["image"], list(material.shades)
    step = max(1.0, (len(names) - 1) / (MOST_PANELS - 1))
    shown = names if len(names) <= MOST_PANELS else [names[round(i * step)] for i in range(MOST_PANELS)]
    sentence = "Every row is a channel, every column a place of the map; the stronger its colour, the more spikes."
    if len(shown) < len(names):
        sentence += f" {len(shown)} of {len(names)} layers are shown."
    sentences = [sentence]
    if "class" in first:
        label = f", and its label is {first['label']}" if "label" in first else ""
        sentences.append(f"The answer for this image is class {first['class']}{label}.")
    tables = [
        Table(
            name="raster", caption="Spikes of the first image",
            heads=("layer", "channels", "places", "not 0", "mean of its top"),
            rows=tuple(
                cells(name, *array.shape, number(float((array != 0).mean()), "{:.1f} %", 100),
                      number(float(np.abs(array).mean()), "{:.3f}"))
                for name, array in material.shades.items()
            ),
        )
    ]  # fmt: skip
    if "logits" in first:
        rows = tuple(cells(str(number_), score) for number_, score in enumerate(first["logits"]))
        tables.append(Table(name="logits", caption="Logits of the first image", heads=("class", "logit"), rows=rows))
    pictures = [_pixels(material.pixels)] if material.pixels is not None else []
    pictures.append(_raster(material, shown))
    return Section(name="raster", title="Spikes of one image", sentences=tuple(sentences), pictures=tuple(pictures),
                   tables=tuple(tables), origins=(HERE,))  # fmt: skip


def _pixels(pixels: np.ndarray) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="none", aspect="equal")
        axes.axis("off")
        axes.set_anchor("W")

    tall, wide = pixels.shape[:2]
    return picture("image", "The image", f"The first image of the data, {wide} x {tall} pixels.", paint, (1.4, 1.4))


def _raster(material: Material, shown: list[str]) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        columns = 1 if narrow else 2
        grid = figure.subplots(-(-len(shown) // columns), columns, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.axis("off")
        for axes, name in zip(grid.flat, shown, strict=False):
            array = material.shades[name]
            pixels = np.empty((*array.shape, 4))
            pixels[..., :3] = np.where(array[..., None] < 0, BELOW_RGB, ACCENT_RGB)
            pixels[..., 3] = np.abs(array)
            if array.shape[1] == 1:  # a row of channels
                pixels = pixels.transpose(1, 0, 2)
            axes.imshow(pixels, aspect="auto", interpolation="none")
            channels, places = array.shape
            axes.set_title(f"{short(name, narrow)}: {channels} x {places:,}", loc="left", fontsize=9)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=LINE)

    said = "; ".join(f"{name} {share((material.shades[name] != 0).mean())} not 0" for name in shown)
    caption = "Channels x places of each layer; below zero in the other colour"
    if all((material.shades[name] >= 0).all() for name in shown):
        caption = "Channels x places of each layer"
    rows = -(-len(shown) // 2)
    return picture("raster", caption, f"A panel for each layer: {said}.", paint, (1.1 * rows, 1.0 * len(shown)))
