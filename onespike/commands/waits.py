# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a phase-coded network whose neurons decide early, over the wait w (Hwang and Kung, Table VIII)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from .. import tables
from ..model.cost.phase_energy import TABLE, phase_energy
from ..model.network import operations, streamed
from ..model.network.judge import judge_of
from ..model.network.spec import SpikeNet
from ..model.training.data import Dataset

COUNTED = 64  # images that operations are counted on


def check(net: SpikeNet, waits: Sequence[int]) -> None:
    """OneSpikeError, before any work, where the network has no streaming form or a wait is none of it."""
    if waits:
        total = streamed.phases_of(net)
        for wait in waits:
            streamed.check_wait(wait, total)


def measure(net: SpikeNet, data: Dataset, waits: Sequence[int]) -> dict[str, Any]:
    """Accuracy, shares of late and false spikes and latency for every wait; waits: as `check` takes them."""
    total, rows = streamed.phases_of(net), []
    for wait in waits:
        found = streamed.run(net, data.images, wait)
        neurons = sum(found.neurons.values())
        rows.append(
            {
                "wait": wait,
                "accuracy": judge_of(net, data.labels, repr(data.name)).share(found.logits),
                "late": sum(found.late.values()) / neurons,
                "false": sum(found.false.values()) / neurons,
                "latency": found.latency(),
                "phases_per_image": found.latency(2) - found.latency(),
            }
        )
    counted = operations.count(net, data.images[:COUNTED])
    energy = phase_energy(net, counted, total)
    return {
        "phases": total,
        "images": len(data),
        "waits": rows,
        "energy": asdict(energy) | {"gain": energy.gain, "streaming_gain": energy.streaming_gain, "table": TABLE},
    }


def energy(figures: dict[str, Any]) -> str:
    """What equation 6 says, and what it leaves out."""
    found = figures["energy"]
    return (
        f"By {found['table']}: {found['dense_uj']:.2f} uJ dense, {found['spiking_uj']:.2f} spiking, a gain of "
        f"{found['gain']:.1f}; the streaming form's multiplications by the base, which it leaves out, take "
        f"{found['scaling_uj']:.2f} uJ more: {found['streaming_gain']:.1f}."
    )


def table(figures: dict[str, Any]) -> Table:
    """One row per wait."""
    made = tables.titled(
        f"Streaming form, T = {figures['phases']}, {figures['images']} images",
        "wait w, accuracy, late spikes, false spikes, phases of an image, of each more",
        "Pipelined: N images take N (T + w) + w (L - 1) phases. A reference model: the engine decides at w = T.",
    )
    for row in figures["waits"]:
        made.add_row(
            str(row["wait"]), tables.percent(row["accuracy"], 2), tables.percent(row["late"], 2),
            tables.percent(row["false"], 2), str(row["latency"]), str(row["phases_per_image"]),
        )  # fmt: skip
    return made
