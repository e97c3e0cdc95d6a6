# SPDX-License-Identifier: Apache-2.0
"""Tables for people, made from the dictionaries of `figures`."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def titled(title: str, columns: str, caption: str = "") -> Table:
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


def shapes(figures: Map[str, Any]) -> Table:
    """One row per layer of a network without weights."""
    table = titled(
        f"{figures['network']}: layers",
        "layer, kernel, output, weights, dense MACs, cycles, bound by, slices",
        "Cycles are an estimate from one rate for all layers; exact ones need weights and images: onespike report.",
    )
    for layer in figures["layers"]:
        table.add_row(
            layer["name"],
            "x".join(map(str, layer["kernel"])),
            "x".join(map(str, layer["shape"])),
            big(layer["weights"]),
            big(layer["dense_macs"]),
            big(layer["estimated_cycles"]),
            layer["bound"],
            str(layer["slices"]),
        )
    return table


def values(layer: Map[str, Any]) -> str:
    """What a layer fires: g, low..g, or how many levels up to which."""
    if layer["levels"] is not None:
        return f"{len(layer['levels'])} levels, {layer['low']}..{layer['groups']}"
    return f"{layer['low']}..{layer['groups']}" if layer["low"] else str(layer["groups"] or "-")


def kernel(layer: Map[str, Any]) -> str:
    """The sides of the first source's kernel, and its groups where it has several."""
    groups = layer["kernel_groups"][0]
    return layer["kernel"] if groups == 1 else f"{layer['kernel']} / {groups}"


def network(figures: Map[str, Any]) -> Table:
    """One row per layer."""
    several = any(max(layer["kernel_groups"]) > 1 for layer in figures["layers"])
    grouped = " Kernel 3x3 / 8: in 8 groups; the zeros between them are no weights." if several else ""
    table = titled(
        f"Network {figures['hash'][:12]}: values up to g = {figures['groups']}, {figures['weight_bits']}-bit weights",
        "layer, kernel, pool, shape, weights, zero, g, shift",
        f"Accumulators: {figures['accumulator_bits']} bits, proven from the weights.{grouped}",
    )
    for layer in figures["layers"]:
        low, high = layer["shift"]
        table.add_row(
            layer["name"],
            kernel(layer),
            layer["pool"],
            "x".join(map(str, layer["shape"])),
            big(layer["weights"]),
            percent(layer["zero_weights"] / layer["weights"]),
            values(layer),
            str(low) if low == high else f"{low}..{high}",
        )
    return table


def layers(figures: Map[str, Any]) -> Table:
    """How full every layer's counts are and, beside the float network, what it costs."""
    compared = any("error" in layer for layer in figures["layers"])
    heads = "layer, g, zero, full, mean count"
    caption = f"Over {big(figures['images'])} images. Full: at the most that it can be."
    if compared:
        heads += ", error, alone, up to here"
        caption += (
            " Error: squared, against the float network. Alone: accuracy of the float network with this layer in "
            "counts. Up to here: accuracy with integers to this layer and the float network behind it."
        )
    table = titled("Layers", heads, caption)
    for layer in figures["layers"]:
        fires = "zero" in layer
        row = [layer["name"], str(layer["groups"]) if fires else "-"]
        row += [percent(layer[key]) if fires else "-" for key in ("zero", "saturated")]
        row.append(f"{layer['mean']:.2f}" if fires else "-")
        if compared:
            known = "error" in layer
            row += [percent(layer[key], 2) if known else "-" for key in ("error", "alone", "upto")]
        table.add_row(*row)
    return table


def operations(figures: Map[str, Any]) -> Table:
    """Dense MACs beside additions, per image."""
    table = titled(
        "Operations per image",
        "layer, dense MACs, not zero, events, additions, unary adds, firing",
        f"Counted over {big(figures['images'])} images. Not zero: MACs of a quantised network that skips "
        f"zeros. Events: a multiple of one weight into one channel, one or two additions. Unary: one spike into one "
        f"channel. Firing: outputs that are not 0.",
    )
    keys = ("macs", "macs_nonzero", "events_radix", "additions_radix", "additions_unary")
    for layer in figures["layers"]:
        last = layer is figures["layers"][-1]
        fired = "-" if last else percent(layer["neurons_fired"] / layer["neurons"])
        table.add_row(layer["name"], *(big(layer[key]) for key in keys), fired)
    table.add_section()
    totals = ("dense_macs", "macs_nonzero", "events_radix", "additions_radix", "additions_unary")
    table.add_row("all", *(big(figures[key]) for key in totals), percent(figures["spike_rate"]), style="bold")
    relative = (share(figures[key], figures["dense_macs"]) for key in totals)
    table.add_row("per dense MAC", *relative, "")
    return table


def cycles(figures: Map[str, Any], banks: int, lanes: int) -> Table:
    """Predicted and simulated cycles by layer."""
    table = titled(
        f"Cycles per image, {banks} banks x {lanes} lanes",
        "layer, slices, predicted, simulated, events, waiting, use",
        "Slices: banks that share a pixel. Waiting: bank cycles spent on the drain. Use: useful additions per "
        "lane and cycle; 1 is the physical limit." + _with_zeros(figures),
    )
    for layer in figures["layers"]:
        table.add_row(
            layer["name"],
            str(layer["slices"]),
            big(layer["predicted_cycles"]),
            big(layer["cycles"]) if "cycles" in layer else "-",
            big(layer["events"]),
            big(layer["waiting"]),
            f"{layer['utilisation']:.3f}",
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
        style="bold",
    )
    return table


def streamed(figures: Map[str, Any]) -> Table:
    """What streamed weights cost, by layer."""
    table = titled(
        "Streamed weights per image",
        "layer, parts, computing, fetching, stalled, bound by",
        "Fetching: cycles in which external memory delivers the layer's weights. Stalled: cycles in which it waits for "
        "nothing else.",
    )
    keys = ("compute_cycles", "fetch_cycles", "stalled")
    for layer in figures["layers"]:
        table.add_row(layer["name"], str(layer["parts"]), *(big(layer[key]) for key in keys), layer["bound"])
    table.add_section()
    table.add_row("all", "", *(big(sum(layer[key] for layer in figures["layers"])) for key in keys), "", style="bold")
    return table


def _with_zeros(figures: Map[str, Any]) -> str:
    """What the utilisation would be if additions of zeros between a kernel's groups, or of pruned rows, counted."""
    before = figures.get("utilisation_with_zeros", figures["utilisation"])
    if abs(before - figures["utilisation"]) < 0.0005:
        return ""
    return f" Not useful: weight rows of zeros, and other groups' channels; with these it would be {before:.3f}."


LANE_CYCLES = (
    "Use: an addition. Spare: lanes beyond the layer's channels. Empty: a job without a spike ends. Drain: the sums "
    "before are not read yet. Start: the program and the pipeline fill. Starve: no word with a spike is there. Early: "
    "a bank has no job left. End: the last sums drain and fire."
)


def lane_cycles(figures: Map[str, Any]) -> Table:
    """Where the cycles of all lanes go, in percent, by layer or network; their sum where the figures hold one."""
    heads, caption = "layer, use, spare, empty, drain, start, starve, early, end", LANE_CYCLES
    stalls, others = (
        any(layer["lane_cycles"][cause] for layer in figures["layers"]) for cause in ("stalled", "no_weight")
    )
    if others:
        heads = heads.replace("spare, ", "spare, other, ")
        caption += (
            " Other: lanes whose channel has no weight in the row: of another group, or all zero; where lanes take "
            "values of their own, also those whose value is 0 or takes fewer events."
        )
    if stalls:
        heads += ", stall"
        caption += " Stall: the layer's weights have not come."
    table = titled("Lane-cycles by cause, %", heads, caption)
    if stalls or others:
        table.padding = (0, 0)  # or it would not fit into 80 columns
    hidden = {name for name, shown in (("stalled", stalls), ("no_weight", others)) if not shown}

    def row(name: str, causes: Map[str, float], style: str = "") -> None:
        whole = sum(causes.values())
        shown = [value for cause, value in causes.items() if cause not in hidden]
        table.add_row(name, *(f"{100 * value / whole:.1f}" for value in shown), style=style)

    for layer in figures["layers"]:
        row(layer["name"], layer["lane_cycles"])
    if "lane_cycles" in figures:
        table.add_section()
        row("all", figures["lane_cycles"], "bold")
    return table


def energy(figures: Map[str, Any]) -> Table:
    """Both cost tables side by side, per image."""
    table = titled(
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


def reuse(figures: Sequence[Map[str, Any]], labels: Map[str, str]) -> Table:
    """Rivals that use a weight for one pixel and for as many as suit them best."""
    table = titled(
        "Rivals that use each weight for R pixels, energy with memory (uJ)",
        "system, R, all, weights, file, ours / it",
        "R = 1, and the R that costs least. file: of the R sums of every lane, read and written with each addition.",
    )
    for one in figures:
        table.add_row(
            labels[one["rival"]], str(one["pixels"]), f"{one['total_uj']:.3f}", f"{one['weights_uj']:.3f}",
            f"{one['file_uj']:.3f}", f"{one['ours_share']:.2f}",
        )  # fmt: skip
    return table


def units(figures: Map[str, Map[str, float]], most: int = 10) -> Table:
    """Units of a design whose flip-flops take the most energy."""
    note = "Clock pins, as often as they tick, and data."
    table = titled("Flip-flops by unit", "unit, flip-flops, uJ per image", note)
    for name, unit in list(figures.items())[:most]:
        table.add_row(name, big(unit["flip_flops"]), f"{unit['uj']:.3f}")
    rest = list(figures.values())[most:]
    if rest:
        table.add_row("others", big(sum(u["flip_flops"] for u in rest)), f"{sum(u['uj'] for u in rest):.3f}")
    return table


def facts(console: Console, title: str, rows: list[tuple[str, str]]) -> None:
    """Print names and values, one a line; long values such as paths are not broken."""
    console.print(f"{title}\n", style="bold")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(f"  {name:{width}}   {value}", soft_wrap=True)
    console.print()
