# SPDX-License-Identifier: Apache-2.0
"""Tables for people, made from the dictionaries of `figures`."""

from __future__ import annotations

from collections.abc import Mapping as Map
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def _table(title: str, columns: str, caption: str = "") -> Table:
    """A table whose first column is text and whose others are numbers; `columns`: their heads, with commas."""
    table = Table(
        title=title,
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    for index, column in enumerate(columns.split(", ")):
        table.add_column(column, justify="right" if index else "left", no_wrap=index == 0)
    return table


def big(value: float) -> str:
    """A count with thousands separators."""
    return f"{value:,.0f}"


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def share(value: float, whole: float) -> str:
    """`value` as a multiple of `whole`."""
    return f"{value / whole:.2f}" if whole else "-"


def network(figures: Map[str, Any]) -> Table:
    """One row per layer."""
    table = _table(
        f"Network {figures['hash'][:12]}: g = {figures['groups']}, {figures['weight_bits']}-bit weights",
        "layer, kernel, pool, shape, weights, zero, g, shift",
        f"Accumulators: {figures['accumulator_bits']} bits, proven from the weights.",
    )
    for layer in figures["layers"]:
        low, high = layer["shift"]
        table.add_row(
            layer["name"],
            layer["kernel"],
            layer["pool"],
            "x".join(map(str, layer["shape"])),
            big(layer["weights"]),
            percent(layer["zero_weights"] / layer["weights"]),
            str(layer["groups"] or "-"),
            str(low) if low == high else f"{low}..{high}",
        )
    return table


def operations(figures: Map[str, Any]) -> Table:
    """Dense MACs beside additions, per image."""
    table = _table(
        "Operations per image",
        "layer, dense MACs, not zero, radix adds, unary adds, firing",
        f"Counted over {big(figures['images'])} images. Not zero: MACs of a quantised network that skips "
        f"zeros. Adds: one spike into one channel; pixels are binary in both columns. Firing: outputs that are not 0.",
    )
    keys = ("macs", "macs_nonzero", "additions_radix", "additions_unary")
    for layer in figures["layers"]:
        last = layer is figures["layers"][-1]
        fired = "-" if last else percent(layer["neurons_fired"] / layer["neurons"])
        table.add_row(layer["name"], *(big(layer[key]) for key in keys), fired)
    table.add_section()
    totals = ("dense_macs", "macs_nonzero", "additions_radix", "additions_unary")
    table.add_row("all", *(big(figures[key]) for key in totals), percent(figures["spike_rate"]), style="bold")
    relative = (share(figures[key], figures["dense_macs"]) for key in totals)
    table.add_row("per dense MAC", *relative, "")
    return table


def cycles(figures: Map[str, Any], banks: int, lanes: int) -> Table:
    """Predicted and simulated cycles by layer."""
    table = _table(
        f"Cycles per image, {banks} banks x {lanes} lanes",
        "layer, slices, predicted, simulated, events, waiting, use",
        "Slices: banks that share a pixel. Waiting: bank cycles spent on the drain. Use: useful additions per "
        "lane and cycle; 1 is the physical limit.",
    )
    streamed = "bound" in figures["layers"][0]
    if streamed:
        for column in ("parts", "fetch", "starved", "bound by"):
            table.add_column(column, justify="right")
        table.caption = (
            f"{table.caption} Fetch: cycles in which external memory delivers the layer's weights. Starved: cycles, "
            f"part of those predicted or simulated, in which it waits for them."
        )
    for layer in figures["layers"]:
        extra: tuple[str, ...] = ()
        if streamed:
            extra = (str(layer["parts"]), big(layer["fetch_cycles"]), big(layer["starved"]), layer["bound"])
        table.add_row(
            layer["name"],
            str(layer["slices"]),
            big(layer["predicted_cycles"]),
            big(layer["cycles"]) if "cycles" in layer else "-",
            big(layer["events"]),
            big(layer["waiting"]),
            f"{layer['utilisation']:.3f}",
            *extra,
        )
    table.add_section()
    simulated = big(figures["cycles_per_image"]) if "cycles_per_image" in figures else "-"
    table.add_row(
        "all",
        "",
        big(figures["predicted_cycles_per_image"]),
        simulated,
        "",
        "",
        f"{figures['utilisation']:.3f}",
        *(
            ["", *(big(sum(layer[key] for layer in figures["layers"])) for key in ("fetch_cycles", "starved")), ""]
            if streamed
            else []
        ),
        style="bold",
    )
    return table


def energy(figures: Map[str, Any]) -> Table:
    """Both cost tables side by side, per image."""
    table = _table(
        "Energy per image, first estimate (uJ)",
        "system, operations, FP32, INT8, memory, weights",
        "Operations: MACs or additions. FP32, INT8: " + figures["tables"]["operations"] + ". Memory, of which "
        "weights: " + figures["tables"]["memory"] + ".",
    )
    for system in figures["systems"]:
        fp32 = system["operations_fp32_uj"]
        table.add_row(
            system["label"],
            big(system["operations"]),
            "-" if fp32 is None else f"{fp32:.3f}",
            f"{system['operations_int8_uj']:.3f}",
            f"{system['memory_uj']:.3f}",
            f"{system['memory_parts_uj']['weights']:.3f}",
            style="bold" if system["name"] == "onespike" else "",
        )
    return table


def facts(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values, one a line; long values such as paths are not broken."""
    console.print(f"[bold]{escape(title)}[/]\n")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"  {name:{width}}   {escape(value)}", soft_wrap=True)
    console.print()
