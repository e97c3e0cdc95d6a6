# SPDX-License-Identifier: Apache-2.0
"""Table and plot of the engines that `onespike explore` found worth having."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from .. import tables
from ..beside import label
from ..model.cost.explore import Point
from ..model.targets import Target
from . import plotting

# Parameter of an engine, head of its column, and how a sentence names it where it is the same for all.
CHOICES = (
    ("fire_lanes", "fire", "{} fire lanes"),
    ("drain_banks", "drain", "banks drained {} at a time"),
    ("word_bits", "word", "spike words of {} bits"),
    ("weight_bits", "weight", "weights of {} bits"),
    ("multiples", "times", "events of {} times a weight"),
)
MOST_SPACED = 9  # columns that have room for three blanks between them


def letters(paths: Sequence[str]) -> dict[str, str]:
    """A letter for each network's path: a, b .. z, aa, ab .."""
    names = [*string.ascii_lowercase, *(one + two for one in string.ascii_lowercase for two in string.ascii_lowercase)]
    return dict(zip(paths, names, strict=False))


def told_apart(configs: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Parameters, with heads, by which engines differ; and sentences' parts of those that are the same for all."""
    differ, same = [], []
    for name, head, words in CHOICES:
        values = {_shown(config[name]) for config in configs}
        if len(values) > 1:
            differ.append((name, head))
        else:
            same.append(words.format(*values))
    return differ, same


def _shown(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def table(points: Sequence[Mapping[str, Any]], target: Target, networks: Sequence[str]) -> Table:
    """One row an engine, as `explore.figures` gives them, and another one for what place and route found of it.

    Columns that would say the same of all engines are said once, below: it is for terminals of 80 columns.
    """
    differ, same = told_apart([point["config"] for point in points])
    several, judged = len(networks) > 1, any(point["accuracy"] is not None for point in points)
    placed = any("synthesis" in point for point in points)
    heads = ["engine", *(["net"] if several else []), *(head for _, head in differ)]
    heads += ["cycles", "use", "LUTs", "FFs", "RAMs"]
    heads += [*(["right"] if judged else []), *(["MHz"] if placed else [])]
    caption = f"Engine: banks x lanes, all with {', '.join(same)}. " if same else "Engine: banks x lanes. "
    caption += "Use: useful additions per lane and cycle. LUTs, flip-flops (FFs) and block RAMs: estimated"
    caption += "; placed: after place and route." if placed else "."
    names = letters(networks)
    if several:
        caption += "".join(f"\n{name}: {path}" for path, name in names.items())
    made = tables.titled(f"Engines on {target.name} that no other one beats", ", ".join(heads), caption)
    if len(heads) > MOST_SPACED:
        made.padding = (0, 0, 0, 0)
    for point in points:
        config, area = point["config"], point["area"]
        row = [f"{config['banks']} x {config['lanes']}", *([names[point["net"]]] if several else [])]
        row += [_shown(config[name]) for name, _ in differ]
        row += [tables.big(point["cycles"]), f"{point['utilisation']:.2f}"]
        row += [tables.big(area[name]) for name in ("luts", "flip_flops", "block_rams")]
        if judged:
            row.append("-" if point["accuracy"] is None else tables.percent(point["accuracy"]))
        made.add_row(*row, *(["-"] if placed and "synthesis" not in point else []))
        if (real := point.get("synthesis")) is not None:
            found = [tables.big(real[name]) for name in ("luts", "flip_flops", "block_rams")]
            blank = [""] * (len(heads) - 5 - judged)
            made.add_row("  placed", *blank, *found, *([""] if judged else []), f"{real['fmax_mhz']:.1f}")
    return made


def plot(points: Sequence[Point], front: Sequence[Point], target: Target, path: Path) -> None:
    """Cycles against LUTs, logarithmic, the front as a line; the format follows the file's name."""
    figure, axes = plotting.figure(7, 5)
    fitting = [point for point in points if not point.refused and point.area is not None]
    axes.scatter([p.area.luts for p in fitting if p.area], [p.cycles for p in fitting], s=14, c="0.7", label="fits")
    line = sorted((p.area.luts, p.cycles) for p in front if p.area)
    axes.plot(*zip(*line, strict=True), "o-", label="Pareto front (cycles, LUTs, block RAMs)")
    axes.axvline(target.luts, ls=":", c="0.5", label=f"all LUTs of {target.name}")
    axes.set(xscale="log", yscale="log", xlabel=f"LUTs of {target.name}, estimated", ylabel="cycles per image")
    axes.legend()
    axes.margins(0.1, 0.1)
    fastest: dict[str, Point] = {}  # of each array; the others differ little, and lie beside it
    for point in front:
        fastest.setdefault(f"{point.config.banks}x{point.config.lanes}", point)
    marks = [(p.area.luts, p.cycles) for p in fitting if p.area is not None]
    label(axes, [(name, p.area.luts, p.cycles) for name, p in fastest.items() if p.area is not None], marks)
    plotting.save(figure, path)
