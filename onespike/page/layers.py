# SPDX-License-Identifier: Apache-2.0
"""The section of the layers: where their cycles go, which values they have and what they cost in accuracy."""

from __future__ import annotations

from typing import Any

from ..tables import kernel
from .drawing import ACCENT, LINE, SERIES, Picture, grid, picture, tip
from .material import HERE, Material
from .parts import Section, Table, cells, number, percent, share, words

# Cause of `model/cost/cycles.py` -> what a lane does in such a cycle, and its colour in page.css.
CAUSES = {
    "useful": ("adds a weight", "c0"),
    "no_channel": ("has no channel", "c1"),
    "no_weight": ("has no weight in the row", "c2"),
    "empty": ("ends a job without a spike", "c3"),
    "waiting": ("waits for the drain", "c4"),
    "starting": ("waits for program and pipeline to fill", "c5"),
    "starved": ("finds no word with a spike", "c6"),
    "finished": ("has no job left", "c7"),
    "closing": ("sees the last sums drain and fire", "c8"),
    "stalled": ("waits for streamed weights", "c9"),
}


def section(material: Material) -> Section:
    """Cycles by cause, values in use, spikes and events, and what `eval` and `simulate` know of each layer."""
    cycles, hardware = material["cycles"], material["hardware"]
    array = hardware["banks"] * hardware["lanes"]
    worst = max(cycles["layers"], key=lambda layer: layer["predicted_cycles"])
    most = worst["predicted_cycles"] / cycles["predicted_cycles_per_image"]
    sentences = [f"Most cycles go into “{worst['name']}”: {worst['predicted_cycles']:,.0f} of "
                 f"{cycles['predicted_cycles_per_image']:,.0f}, {share(most)}."]  # fmt: skip
    pictures = [_causes(cycles, array)]
    tables = [_shapes(material), _cycles(material), _lane_cycles(cycles, array)]
    if material["values"]:
        pictures.append(_values(material["values"]))
        tables += [_rates(material), _bins(material["values"])]
    origins = [HERE]
    if (found := material.measured("layers")) is not None:
        tables.append(_losses(found))
        origins.append(material.origin("accuracy"))
    if material.measured("rtl") is not None:
        origins.append(material.origin("rtl"))
    return Section(
        name="layers", title="Layers", sentences=tuple(sentences), pictures=tuple(pictures), tables=tuple(tables),
        missing=material.missing("losses"), origins=tuple(dict.fromkeys(origins)),
    )  # fmt: skip


def short(name: str, narrow: bool) -> str:
    """A layer's name where there is little room: its end tells more than its beginning."""
    most = 12 if narrow else 24
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _named(axes: Any, names: list[str], narrow: bool) -> None:
    """Rows from the top down, with their names."""
    axes.set_yticks(range(len(names)), [short(name, narrow) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _causes(cycles: dict[str, Any], array: int) -> Picture:
    layers = cycles["layers"]
    shown = [cause for cause in CAUSES if any(layer["lane_cycles"][cause] for layer in layers)]

    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for at, layer in enumerate(layers):
            left = 0.0
            for cause in shown:
                width = layer["lane_cycles"][cause] / array
                what, colour = CAUSES[cause]
                bar = axes.barh(at, width, 0.7, left, color=SERIES[int(colour[1:])])[0]
                tip(bar, f"{layer['name']}: {width:,.1f} cycles in which a lane {what}")
                left += width
        _named(axes, [layer["name"] for layer in layers], narrow)
        axes.set_xlabel("cycles an image")
        axes.locator_params(axis="x", nbins=4 if narrow else 8)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        grid(axes)

    said = "; ".join(
        f"{layer['name']} {layer['predicted_cycles']:,.0f} cycles, {share(layer['utilisation'])} useful"
        for layer in layers
    )
    legend = tuple((CAUSES[cause][1], CAUSES[cause][0]) for cause in shown)
    tall = 0.65 + 0.3 * len(layers)
    caption = "Cycles of each layer, by what a lane does in them, the mean of all lanes"
    return picture("causes", caption, f"A bar for each layer: {said}.", paint, (tall, tall), legend)


def _values(values: list[dict[str, Any]]) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for at, layer in enumerate(values):
            left = 0.0
            for low, high, part in layer["bins"]:
                zero = low == high == 0
                depth = 0.2 + 0.8 * min(1.0, max(abs(low), abs(high)) / max(1, layer["top"]))
                bar = axes.barh(at, 100 * part, 0.7, left, color=LINE if zero else ACCENT, alpha=1 if zero else depth)
                tip(bar[0], f"{layer['name']}: {100 * part:.2f} % of the values are {_level(low, high)}")
                left += 100 * part
        _named(axes, [layer["name"] for layer in values], narrow)
        axes.set(xlabel="share of the values, %", xlim=(0, 100))
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)

    said = "; ".join(
        f"{layer['name']} uses {layer['used']:,} of {layer['levels']:,} levels, "
        f"{share(sum(part for low, high, part in layer['bins'] if low == high == 0))} are 0"
        for layer in values
    )
    tall = 0.65 + 0.3 * len(values)
    caption = "Values of each layer: no spike in grey, then from few spikes, faint, to most, strong"
    return picture("values", caption, f"A bar for each layer: {said}.", paint, (tall, tall))


def _level(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _shapes(material: Material) -> Table:
    rows = tuple(
        cells(layer["name"], kernel(layer), layer["pool"] or "-", "x".join(map(str, layer["shape"])), layer["weights"],
              percent(layer["zero_weights"] / layer["weights"]))
        for layer in material["network"]["layers"]
    )  # fmt: skip
    return Table(name="shapes", caption="Shapes and weights", rows=rows,
                 heads=("layer", "kernel", "pool", "output", "weights", "zero weights"))  # fmt: skip


def _cycles(material: Material) -> Table:
    rtl = material.measured("rtl")
    real = {layer["name"]: layer["cycles"] for layer in rtl["layers"]} if rtl is not None else {}
    rows = [
        cells(layer["name"], layer["slices"], number(layer["predicted_cycles"], "{:,.1f}"),
              number(real.get(layer["name"]), "{:,.1f}"), number(layer["events"], "{:,.1f}"),
              percent(layer["utilisation"]))
        for layer in material["cycles"]["layers"]
    ]  # fmt: skip
    note = "Slices: banks that share a pixel. Events: of all banks. "
    note += f"Predicted on {material['cycles']['images']} images"
    note += f", simulated on {rtl['images']}." if rtl is not None else "; nobody has simulated it."
    return Table(name="cycles", caption="Cycles an image", rows=tuple(rows), note=note,
                 heads=("layer", "slices", "predicted", "simulated", "events", "utilisation"))  # fmt: skip


def _lane_cycles(cycles: dict[str, Any], array: int) -> Table:
    shown = [cause for cause in CAUSES if cycles["lane_cycles"][cause]]
    rows = [
        cells(layer["name"], *(number(layer["lane_cycles"][cause], "{:,.1f}", 1 / array) for cause in shown))
        for layer in [*cycles["layers"], {"name": "all", "lane_cycles": cycles["lane_cycles"]}]
    ]
    note = f"In cycles of the array; the data hold lane-cycles, {array} in each cycle."
    return Table(name="causes", caption="Cycles by what a lane does in them", rows=tuple(rows), note=note,
                 heads=("layer", *(CAUSES[cause][0] for cause in shown)))  # fmt: skip


def _rates(material: Material) -> Table:
    operations = {layer["name"]: layer for layer in material["operations"]["layers"]}
    rows = []
    for layer in material["values"]:
        counted = operations[layer["name"]]
        neurons = counted["neurons"]
        rows.append(
            cells(layer["name"], neurons, percent(counted["neurons_fired"] / neurons),
                  number(counted["spikes_unary"] / neurons, "{:.3f}"), counted["events_radix"],
                  counted["additions_radix"], f"{layer['used']:,} of {layer['levels']:,}", layer["highest"])
        )  # fmt: skip
    note = (
        f"An image, the mean of {material['operations']['images']}. Events and additions: those that the layer makes "
    )
    note += "of what it reads, each into one output channel. Spikes of a neuron: after the pool, of all g."
    heads = ("layer", "neurons", "firing", "spikes of a neuron", "events", "additions", "levels in use", "highest")
    return Table(name="rates", caption="Spikes, events and levels", heads=heads, rows=tuple(rows), note=note)


def _bins(values: list[dict[str, Any]]) -> Table:
    rows = [cells(layer["name"], _level(low, high), percent(part, 2)) for layer in values
            for low, high, part in layer["bins"]]  # fmt: skip
    return Table(
        name="values", caption="How often each value occurs", heads=("layer", "value", "share"), rows=tuple(rows)
    )


def _losses(found: dict[str, Any]) -> Table:
    compared = any("error" in layer for layer in found["layers"])
    heads: tuple[str, ...] = ("layer", "zero", "at the top", "mean value")
    note = f"Over {found['images']:,} images."
    if compared:
        heads += ("error", "alone", "up to here")
        note += (
            " Error: squared, against the float network, relative. Alone: accuracy of the float network with "
            "this layer in integers. Up to here: with integers to this layer and the float network behind it."
        )
    rows = []
    for layer in found["layers"]:
        fires = "zero" in layer
        row = [words(layer["name"]), *(percent(layer[key]) if fires else words("-") for key in ("zero", "saturated"))]
        row.append(number(layer["mean"], "{:.2f}") if fires else words("-"))
        if compared:
            row += [percent(layer.get(key), 2) for key in ("error", "alone", "upto")]
        rows.append(tuple(row))
    return Table(name="losses", caption="Accuracy and error of each layer", heads=heads, rows=tuple(rows), note=note)
