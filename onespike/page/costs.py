# SPDX-License-Identifier: Apache-2.0
"""The sections of energy and of other engines."""

from __future__ import annotations

from typing import Any

from . import defended
from .drawing import ACCENT, INK, LINE, NARROW, QUIET, SERIES, WIDE, Picture, grid, picture, tip
from .material import HERE, Material
from .parts import Section, Table, cells, number, words

PURPOSES = {"arithmetic": "c0", "weights": "c4", "activations": "c3", "parameters": "c6", "state": "c7"}
FAR = 6  # times as many cycles as the fastest engine: from here on both axes are logarithmic
POINTS_HEIGHT = 3.2  # inches of their picture
KNOWN = ("operations_fp32_uj", "operations_int8_uj", "memory_uj")


def energy(material: Material) -> Section:
    """Energy from counted events, always with the name of the table that it rests on, and of cells where measured."""
    found = material["energy"]
    systems, tables = found["systems"], found["tables"]
    ours, rival = (next(s for s in systems if s["name"] == name) for name in ("onespike", "quantised_skip"))
    memory, bare = (ours[key] / rival[key] for key in ("memory_uj", "operations_int8_uj"))
    sentences = [
        f"Against the honest rival, “{rival['label']}”, ours takes {memory:.2f} of its energy in the table with memory "
        f"and {bare:.2f} in the table of operations only."
    ]
    cells_ = material.measured("asic")
    shown = [_systems(systems, found), _ratios(systems, ours), _parts(systems), *defended.tables(material, cells_)]
    facts, origins = defended.at_the_wall(material), [HERE]
    if cells_ is not None:
        facts = [*defended.of_cells(cells_), *facts]
        origins.append(material.origin("asic"))
    note = (
        "Both tables charge counted events at published costs; neither has a clock, control, wires or leakage, which "
        "cells have, as far as they are measured."
    )
    said = (note, *sentences, *defended.sentences(found))
    return Section(name="energy", title="Energy", sentences=said, facts=tuple(facts),
                   pictures=(_bars(systems, tables["memory"]),), tables=tuple(shown),
                   missing=material.missing("asic"), origins=tuple(origins))  # fmt: skip


def _systems(systems: list[dict[str, Any]], found: dict[str, Any]) -> Table:
    more = [
        key for key in systems[0] if key.endswith("_uj") and key not in KNOWN and isinstance(systems[0][key], float)
    ]
    heads = ("system", "MACs or additions", "FP32, operations only", "INT8, operations only", "with memory")
    rows = tuple(
        cells(system["label"], system["operations"], *(number(system.get(key), "{:.3f}") for key in (*KNOWN, *more)))
        for system in systems
    )
    note = f"uJ an image, {found['images']} images. {'; '.join(found['tables'].values())}."
    return Table(name="energy", caption="Energy of an image in each table", rows=rows, note=note, shown=True,
                 heads=(*heads, *(key.removesuffix("_uj").replace("_", " ") for key in more)))  # fmt: skip


def _ratios(systems: list[dict[str, Any]], ours: dict[str, Any]) -> Table:
    rows = tuple(
        cells(f"ours / {system['label']}", *(number(ours[key] / system[key], "{:.2f}") for key in reversed(KNOWN[1:])))
        for system in systems
        if system is not ours
    )
    return Table(name="energy-ratios", caption="Our energy as a share of each rival's", rows=rows,
                 heads=("share", "with memory", "INT8, operations only"))  # fmt: skip


def _parts(systems: list[dict[str, Any]]) -> Table:
    purposes = list(dict.fromkeys(name for system in systems for name in system["memory_parts_uj"]))
    rows = tuple(
        cells(system["label"], *(number(system["memory_parts_uj"].get(name), "{:.3f}") for name in purposes))
        for system in systems
    )
    return Table(name="energy-parts", caption="Energy with memory, by what it is for", rows=rows,
                 heads=("system", *purposes), note="uJ an image.")  # fmt: skip


def _bars(systems: list[dict[str, Any]], table: str) -> Picture:
    purposes = list(dict.fromkeys(name for system in systems for name in system["memory_parts_uj"]))
    colours = {name: PURPOSES.get(name, f"c{number_ % 10}") for number_, name in enumerate(purposes)}

    def paint(figure: Any, narrow: bool) -> None:
        axes = figure.subplots()
        for at, system in enumerate(systems):
            left = 0.0
            for name in purposes:
                width = system["memory_parts_uj"].get(name, 0.0)
                bar = axes.barh(at, width, 0.65, left, color=SERIES[int(colours[name][1:])])[0]
                tip(bar, f"{system['label']}: {width:.3f} uJ for {name}")
                left += width
            axes.annotate(
                f"{system['memory_uj']:.2f}", (left, at), textcoords="offset points", xytext=(4, 0), va="center"
            )
        labels = [system["label"].replace(", ", ",\n") if narrow else system["label"] for system in systems]
        axes.set_yticks(range(len(systems)), labels)
        axes.set(xlabel="uJ an image", xlim=(0, 1.12 * max(system["memory_uj"] for system in systems)))
        axes.locator_params(axis="x", nbins=4 if narrow else 8)
        axes.invert_yaxis()
        grid(axes)

    said = "; ".join(f"{system['label']} {system['memory_uj']:.3f} uJ" for system in systems)
    tall = 0.65 + 0.32 * len(systems)
    meaning = table.partition(" (")[0]
    caption = f"Energy of an image, estimated {meaning}, by what it is for"
    return picture("energy", caption, f"A bar for each system: {said}.", paint,
                   (tall, tall + 0.5), tuple((colours[name], name) for name in purposes))  # fmt: skip


def choices(material: Material) -> Section:
    """Engines that would be next: those that `explore` found worth having, or those one step from this one."""
    front = material.measured("front")
    if front is not None:
        target = material["measured"]["front_of"]["target"]
        rows = [
            {"banks": p["config"]["banks"], "lanes": p["config"]["lanes"], "fire_lanes": p["config"]["fire_lanes"],
             "cycles": p["cycles"], "area": p["area"], "refused": "", "this": _is_this(p["config"], material)}
            for p in front
        ]  # fmt: skip
        sentence = f"Engines on {target} that no other one beats in cycles, LUTs, block RAMs and accuracy together."
        origin = material.origin("front")
    else:
        rows, origin, target = material["alternatives"], HERE, material["area"]["target"]
        sentence = f"This engine, and those with half and twice the banks and lanes, on {target}."
    missing = material.missing("front")
    if not rows:
        sentence = "No other engine has been compared."
        return Section(name="choices", title="Alternatives", sentences=(sentence,), missing=missing)
    table = Table(
        name="choices", caption=f"Engines on {target}",
        heads=("banks x lanes", "fire lanes", "cycles", "LUTs", "flip-flops", "block RAMs", "remark"),
        rows=tuple(
            cells(f"{row['banks']} x {row['lanes']}", row["fire_lanes"], number(row["cycles"]),
                  *(number((row["area"] or {}).get(name)) for name in ("luts", "flip_flops", "block_rams")),
                  words("this engine" if row["this"] else row["refused"] or "-"))
            for row in rows
        ),
        note="Cycles by the exact model on one image; area estimated, of the engine without a front.",
    )  # fmt: skip
    drawn = [row for row in rows if row["cycles"] and row["area"]]
    pictures = (_points(drawn, target),) if len(drawn) > 1 else ()
    return Section(name="choices", title="Alternatives", sentences=(sentence,), pictures=pictures, tables=(table,),
                   missing=missing, origins=(origin,))  # fmt: skip


def _is_this(config: dict[str, Any], material: Material) -> bool:
    own = material["hardware"]
    return all(config[name] == own[name] for name in ("banks", "lanes", "fire_lanes", "word_bits"))


def _points(rows: list[dict[str, Any]], target: str) -> Picture:
    def paint(figure: Any, narrow: bool) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        axes = figure.subplots()
        most_cycles, most_luts = max(row["cycles"] for row in rows), max(row["area"]["luts"] for row in rows)
        scale = "log" if most_cycles > FAR * min(row["cycles"] for row in rows) else "linear"
        axes.set(xlabel=f"LUTs of {target}, estimated", ylabel="cycles an image", xscale=scale, yscale=scale)
        for row in rows:
            refused = bool(row["refused"])
            (point,) = axes.plot(row["area"]["luts"], row["cycles"], "o", ms=9 if row["this"] else 6, mew=1.4,
                                 mec=QUIET if refused else ACCENT, mfc="none" if refused else ACCENT)  # fmt: skip
            tip(point, f"{_size(row)}: {row['cycles']:,.0f} cycles, {row['area']['luts']:,} LUTs")
        if scale == "linear":
            axes.set(xlim=(0, 1.2 * most_luts), ylim=(0, 1.15 * most_cycles))
            axes.locator_params(nbins=4 if narrow else 6)
        else:
            axes.margins(0.12)
        _label(axes, rows, 72 * (NARROW if narrow else WIDE))
        for axis in (axes.xaxis, axes.yaxis):
            if scale == "log":
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_minor_locator(NullLocator())
            axis.set_major_formatter("{x:,.0f}")
        axes.grid(color=LINE)
        axes.tick_params(length=0)

    said = "; ".join(f"{_size(row)} {row['cycles']:,.0f} cycles and {row['area']['luts']:,} LUTs"
                     for row in rows)  # fmt: skip
    caption = "Cycles over LUTs of each engine; bold: this one"
    if any(row["refused"] for row in rows):
        caption += f"; a ring: {target} does not take it"
    return picture("choices", caption, f"Points: {said}.", paint, (POINTS_HEIGHT, POINTS_HEIGHT))


def _size(row: dict[str, Any]) -> str:
    return f"{row['banks']} x {row['lanes']}"


def _label(axes: Any, rows: list[dict[str, Any]], width: float) -> None:
    """Names beside the points, where there is room for one; this engine's first. width: of the picture, in points."""
    taken: list[tuple[float, float, float, float]] = []
    wide, tall = 0.85 * width, 0.75 * 72 * POINTS_HEIGHT  # of the axes, about
    places = [(row, axes.transAxes.inverted().transform(axes.transData.transform((row["area"]["luts"], row["cycles"]))))
              for row in rows]  # fmt: skip
    boxes = [(x * wide - 5, y * tall - 5, x * wide + 5, y * tall + 5) for _, (x, y) in places]
    for (row, (x, y)), own in sorted(zip(places, boxes, strict=True), key=lambda item: not item[0][0]["this"]):
        name = _size(row)
        long = 6.0 * len(name)
        for right, below in ((False, False), (True, False), (False, True), (True, True)):
            left, low = x * wide + (-7 - long if right else 7), y * tall + (-14 if below else 5)
            box = (left, low, left + long, low + 9)
            if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3]
                   for b in (*taken, *(other for other in boxes if other is not own))):  # fmt: skip
                continue
            taken.append(box)
            axes.annotate(
                name, (row["area"]["luts"], row["cycles"]), textcoords="offset points",
                xytext=(-7 if right else 7, -14 if below else 5), ha="right" if right else "left",
                color=QUIET if row["refused"] else INK, fontweight="bold" if row["this"] else "normal",
            )  # fmt: skip
            break
