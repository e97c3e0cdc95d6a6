# SPDX-License-Identifier: Apache-2.0
"""What `onespike bench` prints."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Map
from typing import Any

from rich.console import Console
from rich.table import Table

from .. import tables, versions
from .peers import FEWER_CYCLES, FRAMES_PER_CELL

LONG = 50_000  # simulated cycles that make starting the simulator negligible
SAME = {"64-32-10": "mlp64", "784-128-10": "mlp"}  # the workload of a peer's network


def show(result: Map[str, Any], console: Console) -> None:
    """All tables, the fairest comparison first."""
    measured = result["workloads"]
    console.print(rivals(measured, result["groups"]))
    console.print(tables.lane_cycles({"layers": measured}))
    console.print(stepped(measured))
    if any("speed" in w or w["rtl"] for w in measured):
        console.print(speed(measured))
    console.print(peers(result))
    tables.facts(console, "Published by others, not measured by us", published(result))
    for sentence in sentences(result):
        console.print(f"* {sentence}", soft_wrap=True)
    console.print(f"\nMeasured {versions.sentence(result['versions'])}.", soft_wrap=True)


def rivals(measured: Iterable[Map[str, Any]], groups: int) -> Table:
    """Cycles per image, ours and as a share of each rival's."""
    table = tables.titled(
        "Cycles per image, and their share of each rival's",
        "workload, engine, cycles, use, dense, unary, groups, T-step",
        f"Cycles: counted in RTL and as predicted, or (m) the cycle model's alone. Use: useful additions per lane and "
        f"cycle. Below 1 ours are fewer than those of: a dense MAC array of as many lanes, every one busy in every "
        f"cycle; the same engine with unary spikes; g = {groups} arrays side by side, one a group, with {groups} times "
        f"the adders and weight memories; the integrate-and-fire network with T = {groups} steps. Of a workload that "
        f"says another g, so many; levels that are no counts have none of these three.",
    )
    for w in measured:
        table.add_row(
            w["name"],
            f"{w['engine']['banks']}x{w['engine']['lanes']}",
            tables.big(w["cycles"]) + (" (m)" if w["cycles_from"] == "model" else ""),
            f"{w['utilisation']:.3f}",
            *(_or_dash(w[f"{name}_ratio"], "{:.2f}") for name in ("dense", "unary", "parallel", "if")),
        )
    return table


def stepped(measured: Iterable[Map[str, Any]]) -> Table:
    """The T-step network's cost beside ours."""
    table = tables.titled(
        "Integrate and fire in T steps, the same weights",
        "workload, weights, cycles, membranes, kbit moved, right, ours",
        "Kbit: membranes and stored currents, read and written, for an image; ours keeps none. Right: images of up to "
        "500, where weights are trained; biases and thresholds are ours, not tuned for T steps.",
    )
    for w in measured:
        right, rival = w["accuracy"] or {}, w["if"]
        costs = ("-",) * 3 if rival is None else map(
            tables.big, (rival["cycles"], rival["neurons"], rival["state_bits"] / 1000)
        )  # fmt: skip
        shares = (right.get(key) for key in ("if", "golden"))
        table.add_row(
            w["name"], w["weights"], *costs, *("-" if share is None else tables.percent(share) for share in shares)
        )
    return table


def speed(measured: Iterable[Map[str, Any]]) -> Table:
    """How fast the tool is."""
    table = tables.titled(
        "Tool speed",
        "workload, RTL, stock, Verilog, golden, PyTorch, ratio, golden all, PyTorch all, ratio all",
        f"RTL: simulated cycles per second, with Python asleep (runs of at least {LONG:,} cycles). Stock: as cocotb's "
        f"own runner does it, one Python step per cycle (--stock). Verilog: seconds from the integer network. Golden, "
        f"PyTorch (float): images per second, batches of 256, on one thread each, and on all cores.",
    )
    for w in measured:
        rtl, found = w["rtl"] or {}, w.get("speed", {})
        rate = rtl["cycles_per_second"] if rtl.get("simulated_cycles", 0) >= LONG else None
        table.add_row(
            w["name"],
            _or_dash(rate),
            _or_dash(rtl.get("stock_cycles_per_second")),
            _or_dash(found.get("verilog_seconds"), "{:.1f}"),
            *(
                _or_dash(found.get(name), "{:.2f}" if name.startswith("ratio") else "{:,.0f}")
                for cores in ("", "_all")
                for name in (f"golden{cores}_images_per_second", f"torch{cores}_images_per_second", f"ratio{cores}")
            ),
        )
    return table


def peers(result: Map[str, Any]) -> Table:
    """Ours and alkaid's live figures beside what was measured of other systems before."""
    table = tables.titled(
        "Peers",
        "system, how, cycles, LUTs, cells, DSPs, MHz",
        "LUTs: Xilinx, yosys. Cells: ECP5 (nextpnr; alkaid live: LUT4s after yosys). Measured: on another day with "
        "random weights and open tools; live: now, with the weights above. Sources and notes: --json.",
    )
    for network in dict.fromkeys(p["network"] for p in result["peers"] if p["kind"] == "measured"):
        table.add_section()
        table.add_row(network, style="bold")
        for w in result["workloads"]:
            if w["name"].removesuffix("-4bit") != SAME.get(network):
                continue
            made, alkaid = w.get("synthesis", {}), w.get("alkaid")
            bits = ", 4 bits" if w["name"].endswith("-4bit") else ""
            cost = (made.get(key) for key in ("luts", "multipliers", "fmax_mhz"))
            engine = f"OneSpike {w['engine']['banks']}x{w['engine']['lanes']}{bits}"
            _peer(table, engine, "live", w["cycles"], None, *cost, style="green")
            if alkaid:
                cells = alkaid.get("ecp5_luts")
                _peer(table, f"alkaid {alkaid['version']}{bits}", "live", alkaid["stages"], None, cells, 0, None)
        for p in result["peers"]:
            if p["network"] == network and p["kind"] == "measured":
                keys = ("cycles", "luts", "ecp5_cells", "dsps", "mhz")
                _peer(table, p["system"], p["kind"], *(p[key] for key in keys))
    return table


def published(result: Map[str, Any]) -> list[tuple[str, str]]:
    """What the peers' papers say, as names and values."""
    return [
        (f"{p['system']}, {p['network']}", f"{p['note']} ({p['source']})")
        for p in result["peers"]
        if p["kind"] == "published"
    ]


def _peer(table: Table, system: str, how: str, *numbers: float | None, style: str = "") -> None:
    table.add_row(f"  {system}", how, *(_or_dash(value) for value in numbers), style=style)


def _or_dash(value: float | None, form: str = "{:,.0f}") -> str:
    return "-" if value is None else form.format(value)


def sentences(result: Map[str, Any]) -> list[str]:
    """Where we win and where we lose, from these figures only."""
    found = []
    spiker = result["spiker"]
    if spiker is not None:
        text = f"784-128-10 against Spiker+ (T = 10): {spiker['cycles_ratio']:.1f} times fewer cycles"
        if spiker["cells"] is None:
            text += "; cells and clock are measured with --synth."
        else:
            text += (
                f", {spiker['cells_ratio']:.2f} times fewer cells ({tables.big(spiker['cells'])}), "
                f"{spiker['multipliers']} DSPs, {spiker['frames_per_second_per_cell_ratio']:.1f} times the images per "
                f"second and cell. Goals ({FEWER_CYCLES} times fewer cycles, fewer cells, no DSP, {FRAMES_PER_CELL} "
                f"times the images): {'all' if spiker['reached'] else 'not all'} reached."
            )
        found.append(text)
    for w in result["workloads"]:
        if "alkaid" in w:
            a, lanes = w["alkaid"], w["engine"]["banks"] * w["engine"]["lanes"]
            text = (
                f"{w['name']}: alkaid's unrolled logic has the lower latency, {a['stages']} cycles and a new image in "
                f"every one, against our {w['cycles']:,.0f}; it takes {tables.big(a['lut_estimate'])} LUTs by its own "
                f"estimate"
            )
            if "ecp5_luts" in a:
                text += f", {tables.big(a['ecp5_luts'])} on ECP5 (yosys)"
            found.append(f"{text}; ours is an engine of {lanes} lanes that any network can be loaded into.")
    if not result["unrolled_installed"]:
        found.append("alkaid is not installed, so it was not run; `pip install onespike[bench]` brings it.")
    return found
